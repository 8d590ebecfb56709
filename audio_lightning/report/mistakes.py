"""Confusion matrix and wrong predictions with audio, of the best setup of a sweep or the model of a fit."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from audio_lightning.audio import resample, select_channels, to_mono
from audio_lightning.core.errors import FileError, UserError
from audio_lightning.core.files import shortened
from audio_lightning.report.pages import as_base64, flac, log_mel
from audio_lightning.run_folder import RunFolder

if TYPE_CHECKING:
    from audio_lightning.data.datamodule import AudioDataModule

Explain = Callable[[Float[np.ndarray, "samples"], int, str], dict[str, Any]]
"""Function from a waveform, its sample rate in Hz and a class name to the relevance map for the page."""

MOST_CLASSES = 40
"""Largest number of classes of a confusion matrix, those with most mistakes."""

MOST_PAIRS = 12
"""Largest number of pairs of confused classes listed."""

MOST_CLIPS = 8
LONGEST_SECONDS = 5.0
HIGHEST_RATE = 16_000
"""Largest number, length in seconds and sample rate in Hz of the clips of a board, at most 2 MB together."""


@dataclass(frozen=True)
class Confusion:
    """Pooled test predictions of several trials.

    Attributes:
        classes: class names in the order of the labels.
        counts: confusion matrix: number of predictions by label (rows) and prediction (columns).
        trials: number of trials.
        clips: number of different clips; lower than the number of predictions if clips were tested repeatedly.
        predictions: table with ``path``, ``start_seconds``, ``end_seconds``, ``label``, ``predicted``, the probability
            of the prediction as ``certainty``, and the ``folder`` of the trial.
    """

    classes: list[str]
    counts: Int64[np.ndarray, "classes classes"]
    trials: int
    clips: int
    predictions: pd.DataFrame

    @property
    def wrong(self) -> int:
        """Number of wrong predictions."""
        return int(self.counts.sum() - self.counts.trace())

    def pairs(self) -> list[tuple[str, str, int, float]]:
        """Return confused pairs, most frequent first: label, prediction, count, and share of the clips of the label."""
        off = self.counts * ~np.eye(len(self.classes), dtype=bool)
        total = self.counts.sum(axis=1)
        cells = sorted(zip(*np.nonzero(off)), key=lambda cell: (-off[cell], *cell))
        return [
            (self.classes[row], self.classes[column], int(off[row, column]), float(off[row, column] / total[row]))
            for row, column in cells[:MOST_PAIRS]
        ]

    def shown(self) -> list[int]:
        """Return the indices of the classes to show: all, or the :data:`MOST_CLASSES` with most mistakes."""
        off = self.counts * ~np.eye(len(self.classes), dtype=bool)
        worst = np.argsort(-(off.sum(axis=0) + off.sum(axis=1)), kind="stable")
        return sorted(worst[:MOST_CLASSES].tolist())


def confusion(folders: Sequence[RunFolder]) -> Confusion | None:
    """Pool the test predictions of trials; None if there are none, and for multi-label clips."""
    tables, classes = [], dict[str, None]()
    for folder in folders:
        if not (folder.predictions.is_file() and folder.per_class.is_file()):
            continue
        try:
            per_class, table = folder.read_per_class(), _predictions(folder)
        except FileError:  # the other trials are used
            continue
        if "average_precision" in per_class:
            return None
        classes |= dict.fromkeys(per_class["class"])
        tables.append(table)
    if not tables:
        return None
    predictions = pd.concat(tables, ignore_index=True)
    index = {name: position for position, name in enumerate(classes)}
    counts = np.zeros((len(index), len(index)), dtype=np.int64)
    np.add.at(counts, (predictions["label"].map(index), predictions["predicted"].map(index)), 1)
    clips = len(predictions[["path", "start_seconds"]].drop_duplicates())
    return Confusion(list(index), counts, len(tables), clips, predictions)


def _predictions(folder: RunFolder) -> pd.DataFrame:
    table = with_certainty(folder.read_predictions(folder.predictions), folder.predictions)
    kept = ["path", "start_seconds", "end_seconds", "label", "predicted", "certainty"]
    return table[kept].assign(folder=str(folder.path))


def with_certainty(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Add the probability of the predicted class as the column ``certainty`` to single-label predictions.

    Raises:
        FileError: the column with that probability is missing.
    """
    places = {name.removeprefix("probability "): place for place, name in enumerate(table.columns)}
    if unknown := set(table["predicted"]) - places.keys():
        raise FileError(f"{file}: damaged, no column 'probability {shortened(unknown.pop())}'; run the training again")
    columns = table["predicted"].map(places)
    certainty = table.to_numpy()[np.arange(len(table)), columns.to_numpy(dtype=int)].astype(float)
    return table.assign(certainty=certainty)


def mistaken_clips(found: Confusion) -> tuple[list[dict[str, Any]], str | None]:
    """Find wrong predictions to play: the most confident ones of the most frequently confused pairs of classes.

    Returns:
        See :func:`playable_clips`.
    """
    wrong = found.predictions[found.predictions["label"] != found.predictions["predicted"]]
    wrong = wrong.sort_values("certainty", ascending=False, kind="stable").drop_duplicates(["path", "start_seconds"])
    pair = wrong.groupby(["label", "predicted"])["path"]
    wrong = wrong.assign(
        rank=pair.cumcount(),
        often=pair.transform("size"),
        title=wrong["label"] + " predicted as " + wrong["predicted"],
    )
    order = wrong.sort_values(["rank", "often"], ascending=[True, False], kind="stable")
    return playable_clips(order.head(MOST_CLIPS))


def playable_clips(rows: pd.DataFrame, explain: Explain | None = None) -> tuple[list[dict[str, Any]], str | None]:
    """Return clips with their audio and log-mel spectrogram.

    Args:
        rows: table with ``path``, ``start_seconds``, ``end_seconds`` (NaN: to the end), ``certainty``, ``title``, and
            the ``folder`` of a run whose configuration has the folder of the recordings. With ``explain``, also
            ``explained``, the class to explain.
        explain: function that computes the relevance map of a clip.

    Returns:
        The clips, with None instead of audio if a recording cannot be read, and the first reason for that.
    """
    source = cache(_source)
    clips, reason = [], None
    for clip in rows.to_dict("records"):
        known = {name: clip[name] for name in ("path", "certainty", "title")} | {"start": clip["start_seconds"]}
        try:
            clips.append(known | _sound(clip, source(clip["folder"]), explain))
        except (UserError, OSError) as error:
            clips.append(known | {"seconds": None, "mel": None, "audio": None, "relevance": None})
            reason = reason or str(error).splitlines()[0]
    return clips, reason


def _source(folder: str) -> "AudioDataModule":
    """Data module of a trial, which resolves paths of recordings; nothing is read yet."""
    from audio_lightning.config import build
    from audio_lightning.data.datamodule import AudioDataModule

    return build(RunFolder(Path(folder)).read_config().data, AudioDataModule, where="data")


def _sound(clip: Mapping[Hashable, Any], source: "AudioDataModule", explain: Explain | None) -> dict[str, Any]:
    decoded = source.recordings([clip["path"]]).decode(0)
    start = round(clip["start_seconds"] * decoded.sample_rate)
    ends = clip["end_seconds"]
    stop = len(decoded.samples) if math.isnan(ends) else round(ends * decoded.sample_rate)
    channel = "mean" if source.clip_settings.channel == "each" else source.clip_settings.channel
    used = select_channels(decoded.samples, channel, clip["path"])
    whole = used[min(start, len(used) - 1) : max(stop, start + 1)]
    part = to_mono(whole[: round(LONGEST_SECONDS * decoded.sample_rate)])
    rate = min(decoded.sample_rate, source.sample_rate, HIGHEST_RATE)
    samples = resample(part, decoded.sample_rate, rate)
    return {
        "seconds": len(samples) / rate,
        "mel": as_base64(log_mel(samples, rate)),
        "audio": as_base64(flac(samples, rate)),
        "relevance": None if explain is None else explain(to_mono(whole), decoded.sample_rate, clip["explained"]),
    }
