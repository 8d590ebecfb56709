"""What the chosen setup of a sweep, or the model of a fit, takes for what, with clips to listen to."""

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
"""From the sound of a clip, its sample rate and a class to what a page shows of the class's relevance."""

MOST_CLASSES = 40
"""Classes of a confusion matrix that are shown, those with most mistakes."""

MOST_PAIRS = 12
MOST_CLIPS = 8
LONGEST_SECONDS = 5.0
HIGHEST_RATE = 16_000
"""Hertz. With this, the clips of a board take at most 2 MB, even if nothing about the sound can be compressed."""


@dataclass(frozen=True)
class Confusion:
    """The predictions of several trials on their test parts, together.

    Attributes:
        classes: in the order of the labels.
        counts: predictions of each class (rows) as each (columns).
        trials: number of trials.
        clips: number of different clips; where it is lower than that of predictions, clips were tested repeatedly.
        predictions: ``path``, ``start_seconds``, ``end_seconds``, ``label``, ``predicted``, the probability of that as
            ``certainty``, and the ``folder`` of the trial.
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
        """Label, what it was taken for, how often, and the share of the label's clips; the most frequent first."""
        off = self.counts * ~np.eye(len(self.classes), dtype=bool)
        total = self.counts.sum(axis=1)
        cells = sorted(zip(*np.nonzero(off)), key=lambda cell: (-off[cell], *cell))
        return [
            (self.classes[row], self.classes[column], int(off[row, column]), float(off[row, column] / total[row]))
            for row, column in cells[:MOST_PAIRS]
        ]

    def shown(self) -> list[int]:
        """Positions of the classes to show: all, or those that are part of most mistakes."""
        off = self.counts * ~np.eye(len(self.classes), dtype=bool)
        worst = np.argsort(-(off.sum(axis=0) + off.sum(axis=1)), kind="stable")
        return sorted(worst[:MOST_CLASSES].tolist())


def confusion(folders: Sequence[RunFolder]) -> Confusion | None:
    """The predictions of trials, pooled; None where there are none, or where clips have several labels."""
    tables, classes = [], dict[str, None]()
    for folder in folders:
        if not (folder.predictions.is_file() and folder.per_class.is_file()):
            continue
        try:
            per_class, table = folder.read_per_class(), _predictions(folder)
        except FileError:  # the figures of the others stand
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
    """Predictions of one label a clip, with the probability of the predicted class as ``certainty``.

    Raises:
        FileError: there is no column with that probability.
    """
    places = {name.removeprefix("probability "): place for place, name in enumerate(table.columns)}
    if unknown := set(table["predicted"]) - places.keys():
        raise FileError(f"{file} is damaged: no column has the probability of {shortened(unknown.pop())}")
    columns = table["predicted"].map(places)
    certainty = table.to_numpy()[np.arange(len(table)), columns.to_numpy(dtype=int)].astype(float)
    return table.assign(certainty=certainty)


def clips_heard(found: Confusion) -> tuple[list[dict[str, Any]], str | None]:
    """Some clips that were taken for something else: of each of the most frequent pairs that with most certainty.

    Returns:
        See :func:`to_hear`.
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
    return to_hear(order.head(MOST_CLIPS))


def to_hear(rows: pd.DataFrame, explain: Explain | None = None) -> tuple[list[dict[str, Any]], str | None]:
    """Clips with their sound and picture.

    Args:
        rows: ``path``, ``start_seconds``, ``end_seconds`` (NaN: to the end), ``certainty``, ``title``, and the
            ``folder`` of a run whose configuration says where the recordings are; where there is ``explain``, also
            ``explained``, the class to explain.
        explain: gives what else is shown of a clip.

    Returns:
        The clips, without sound (None) where the recording cannot be read, and why one cannot, if any cannot.
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
    """The data of a trial, of which nothing is read yet; it knows where a path leads."""
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
