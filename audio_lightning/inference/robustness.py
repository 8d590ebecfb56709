"""Robustness benchmark: the metric of a classifier on corrupted test clips, with intervals and paired differences."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from audio_lightning.classifier.base import Classifier
from audio_lightning.config import trusting, user_extensions
from audio_lightning.core.errors import CheckpointError, ConfigError, DataError
from audio_lightning.core.files import write_bytes, write_csv, write_json
from audio_lightning.core.progress import Progress
from audio_lightning.core.task import metric_names
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST
from audio_lightning.figures.evaluation import png
from audio_lightning.figures.robustness import draw_robustness
from audio_lightning.inference.corruptions import Condition, conditions
from audio_lightning.inference.evaluate import labelled_clips
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.windows import BATCH_SIZE
from audio_lightning.metrics.multilabel import average_precision
from audio_lightning.training.intervals import (
    Interval,
    accuracy_interval,
    difference_interval,
    jackknife_interval,
)
from audio_lightning.training.results import groups_of, targets_of

CLEAN = "none"
"""Name of the condition without corruption."""

FILES = ("robustness.csv", "robustness.json", "robustness.png")
"""Files of :func:`write_robustness`."""


@dataclass(frozen=True)
class ConditionResult:
    """The metric of a classifier under one condition.

    Intervals are 95 % confidence intervals over groups of clips; None for fewer than two groups.

    Attributes:
        model: path of the classifier, as given.
        corruption: kind of corruption, or :data:`CLEAN`.
        condition: corruption and strength as text.
        series: name of the conditions that differ only in strength.
        value: the strength; None if the corruption has only one.
        unit: unit of the strength.
        metric: ``accuracy``; ``mean_average_precision`` for multi-label tasks.
        score: value of the metric.
        low, high: interval of ``score``.
        difference: difference to the score on clean clips, paired by clip.
        difference_low, difference_high: interval of ``difference``.
        num_clips: number of tested clips.
        num_groups: number of their groups.
        difference_to_first: difference to the score of the first classifier under this condition, paired by clip; None
            for the first classifier.
        difference_to_first_low, difference_to_first_high: interval of ``difference_to_first``.
    """

    model: str
    corruption: str
    condition: str
    series: str
    value: float | None
    unit: str
    metric: str
    score: float
    low: float | None
    high: float | None
    difference: float
    difference_low: float | None
    difference_high: float | None
    num_clips: int
    num_groups: int
    difference_to_first: float | None = None
    difference_to_first_low: float | None = None
    difference_to_first_high: float | None = None


@dataclass(frozen=True)
class _Chosen:
    """A classifier and its test clips.

    Attributes:
        path: checkpoint or run folder.
        classifier: the classifier.
        datamodule: its data.
        position: positions of the chosen clips among all test clips.
        keys: keys that identify the same clips in other data, see :func:`_keys`.
    """

    path: Path
    classifier: Classifier
    datamodule: AudioDataModule
    position: Int64[np.ndarray, "clips"]
    keys: list[tuple[Any, ...]]


@dataclass(frozen=True)
class _Tested:
    """Predictions of a classifier under every condition.

    Attributes:
        model: path of the classifier.
        conditions: all conditions; the first one, None, is the clean one.
        probabilities: probabilities under each condition.
        targets: targets of the clips.
        group: group of every clip.
        multilabel: whether clips may have several labels.
    """

    model: str
    conditions: list[Condition | None]
    probabilities: list[Float[Tensor, "clips classes"]]
    targets: Tensor
    group: Shaped[np.ndarray, "clips"]
    multilabel: bool


def robustness(
    path: Path,
    overrides: Iterable[str] = (),
    *,
    against: Path | None = None,
    only: Iterable[str] = (),
    clips: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    trust: str | Iterable[str] | None = None,
    config_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> list[ConditionResult]:
    """Test a classifier on clean and on corrupted clips.

    Clips are loaded once, and each is corrupted under every condition. A corruption changes the sound before its
    padding, except time shifts, which move the padded clip. Random values depend on ``seed``, the condition and the
    position of the clip.

    Args:
        path: checkpoint or run folder.
        overrides: data to test on, see :func:`audio_lightning.inference.evaluate.evaluate`.
        against: another classifier, which is tested on the same clips.
        only: kinds of corruption (:data:`audio_lightning.inference.corruptions.CORRUPTIONS`); empty for all.
        clips: largest number of test clips, drawn with ``seed``; None for all.
        seed: seed of all random values.
        device: torch device, such as ``"cuda"``.
        trust: modules of the user's own whose classes the checkpoints may name.
        config_dir: folder with the user's own YAML files.
        progress: callback with the numbers of finished and of all clips.

    Returns:
        The result on clean clips, then on every condition; then the same for the other classifier.

    Raises:
        CheckpointError, ConfigError, DataError: see :func:`audio_lightning.inference.evaluate.evaluate`; also an
            unknown kind of corruption, or different test clips of the other classifier.
    """
    overrides, only = list(overrides), list(only)
    if against == path:
        raise ConfigError(f"--against {against}: the same classifier; name another one, or leave it out")
    with user_extensions(overrides, config_dir), trusting(trust):
        chosen = [_choose(one, overrides, clips, seed, device) for one in (path, against) if one is not None]
        if len(chosen) == 2:
            _require_same_clips(*chosen)
        found = [_tested(one, only, seed, progress) for one in chosen]
    first = _results(found[0])
    return first + [row for other in found[1:] for row in _compared(_results(other), other, found[0])]


def _choose(path: Path, overrides: list[str], clips: int | None, seed: int, device: str) -> _Chosen:
    """Load a classifier, and choose its test clips."""
    classifier = load_classifier(path, device)
    datamodule = labelled_clips(classifier, overrides).datamodule
    number = datamodule.numbers(TEST)
    if not len(number):
        raise DataError(f"{datamodule.root}: no test clips; name other recordings with data=NAME data.root=DIR")
    position = np.arange(len(number))
    if clips is not None and clips < len(position):
        position = np.sort(np.random.default_rng(seed).permutation(position)[:clips])
    return _Chosen(path, classifier, datamodule, position, _keys(datamodule, number[position]))


def _tested(chosen: _Chosen, only: list[str], seed: int, progress: Progress | None) -> _Tested:
    """Predict the chosen clips under every condition."""
    classifier, datamodule, position = chosen.classifier, chosen.datamodule, chosen.position
    every: list[Condition | None] = [None, *conditions(classifier.task.sample_rate, only)]
    predicted: list[list[Tensor]] = [[] for _ in every]
    with torch.random.fork_rng(devices=[]):
        for start in range(0, len(position), BATCH_SIZE):
            some = position[start : start + BATCH_SIZE]
            for place, corrupted in enumerate(_corrupted(datamodule, some, every, seed)):
                predicted[place].append(classifier.probabilities(corrupted).cpu())
            if progress is not None:
                progress(start + len(some), len(position))
    probabilities = [torch.cat(parts) for parts in predicted]
    _require_finite(chosen.path, every, probabilities)
    number = datamodule.numbers(TEST)[position]
    return _Tested(
        str(chosen.path),
        every,
        probabilities,
        targets_of(datamodule, torch.from_numpy(number)),
        groups_of(datamodule)[datamodule.clips.row[number]],
        classifier.task.multilabel,
    )


def _corrupted(
    datamodule: AudioDataModule,
    position: Int64[np.ndarray, "batch"],
    every: Sequence[Condition | None],
    seed: int,
) -> Iterable[Float[Tensor, "batch samples"]]:
    """Yield a batch of test clips under every condition."""
    batch = datamodule.batch(TEST, position)
    for condition in every:
        if condition is None:
            yield batch["waveform"]
            continue
        yield torch.stack(
            [
                condition.apply(waveform, length, datamodule.task, (seed, place))
                for waveform, length, place in zip(batch["waveform"], batch["length"].tolist(), position.tolist())
            ]
        )


def _require_finite(path: Path, every: Sequence[Condition | None], probabilities: Sequence[Tensor]) -> None:
    for condition, values in zip(every, probabilities):
        if not bool(values.isfinite().all()):
            what = "clean clips" if condition is None else f"clips with {condition.name}"
            raise CheckpointError(
                f"{path}: the probabilities of {what} hold NaN or infinite values; the checkpoint may be damaged, "
                "restore it or train again"
            )


def _keys(datamodule: AudioDataModule, number: Int64[np.ndarray, "clips"]) -> list[tuple[Any, ...]]:
    """Return the content hash of the recording, the start in milliseconds and the label of each clip."""
    clips = datamodule.clips.select(number)
    start = np.rint(1000 * clips.offset / datamodule.sample_rate).astype(np.int64)
    labels = datamodule.manifest.table["label"].to_numpy()[clips.row]
    return [(content.tobytes(), *rest) for content, *rest in zip(datamodule.hashes[clips.row], start.tolist(), labels)]


def _require_same_clips(first: _Chosen, other: _Chosen) -> None:
    tasks = [one.classifier.task for one in (first, other)]
    if tasks[0].multilabel != tasks[1].multilabel:
        raise DataError(
            f"--against {other.path}: of it and {first.path}, one has a single label for each clip, the other several; "
            "name a classifier of the same kind"
        )
    if first.keys != other.keys:
        common = len({*first.keys} & {*other.keys})
        raise DataError(
            f"--against {other.path}: its {len(other.keys):,} test clips are not the {len(first.keys):,} of "
            f"{first.path} ({common:,} in common); name the same data for both with data=NAME data.root=DIR"
        )


def _results(found: _Tested) -> list[ConditionResult]:
    clean = found.probabilities[0]
    rows = []
    for condition, probabilities in zip(found.conditions, found.probabilities):
        score, interval = _score(found, probabilities)
        difference, of_difference = _difference(found, probabilities, clean)
        rows.append(
            ConditionResult(
                model=found.model,
                corruption=CLEAN if condition is None else condition.corruption,
                condition="clean" if condition is None else condition.name,
                series="clean" if condition is None else condition.series,
                value=None if condition is None else condition.value,
                unit="" if condition is None else condition.unit,
                metric=metric_names(multilabel=found.multilabel)[0],
                score=score,
                low=_end(interval, "low"),
                high=_end(interval, "high"),
                difference=difference,
                # The difference of the clean clips to themselves is exactly 0.
                difference_low=0.0 if condition is None else _end(of_difference, "low"),
                difference_high=0.0 if condition is None else _end(of_difference, "high"),
                num_clips=len(found.group),
                num_groups=len(np.unique(found.group)),
            )
        )
    return rows


def _compared(rows: list[ConditionResult], other: _Tested, first: _Tested) -> list[ConditionResult]:
    """Add the differences to the first classifier, for the conditions that both have."""
    known = {condition and condition.name: place for place, condition in enumerate(first.conditions)}
    compared = []
    for row, condition, probabilities in zip(rows, other.conditions, other.probabilities):
        place = known.get(condition and condition.name)
        if place is not None:
            difference, interval = _difference(other, probabilities, first.probabilities[place], first)
            row = replace(
                row,
                difference_to_first=difference,
                difference_to_first_low=_end(interval, "low"),
                difference_to_first_high=_end(interval, "high"),
            )
        compared.append(row)
    return compared


def _score(found: _Tested, probabilities: Float[Tensor, "clips classes"]) -> tuple[float, Interval | None]:
    if found.multilabel:
        precision = _mean_average_precision(probabilities, found.targets)
        return precision(np.arange(len(found.group))), jackknife_interval(precision, found.group)
    correct = _correct(probabilities, found.targets)
    return float(correct.mean()), accuracy_interval(correct, found.group)


def _difference(
    found: _Tested, probabilities: Tensor, others: Tensor, of_others: _Tested | None = None
) -> tuple[float, Interval | None]:
    """Difference of the metric between two sets of probabilities of the same clips, with its interval."""
    targets = (of_others or found).targets
    if found.multilabel:
        own = _mean_average_precision(probabilities, found.targets)
        other = _mean_average_precision(others, targets)

        def gained(some: Int64[np.ndarray, "some"]) -> float:
            return own(some) - other(some)

        return gained(np.arange(len(found.group))), jackknife_interval(gained, found.group)
    difference = _correct(probabilities, found.targets).astype(float) - _correct(others, targets)
    return float(difference.mean()), difference_interval(difference, found.group)


def _correct(probabilities: Float[Tensor, "clips classes"], targets: Tensor) -> np.ndarray:
    return (probabilities.argmax(dim=1) == targets).numpy()


def _mean_average_precision(
    probabilities: Float[Tensor, "clips classes"], targets: Tensor
) -> Callable[[Int64[np.ndarray, "some"]], float]:
    """Return a function from positions of clips to their mean average precision over the classes that occur."""
    labelled = targets > 0.5

    def of_some(some: Int64[np.ndarray, "some"]) -> float:
        place = torch.from_numpy(some)
        pairs = zip(probabilities[place].T, labelled[place].T)
        return float(torch.stack([average_precision(*pair) for pair in pairs]).nanmean())

    return of_some


def as_table(rows: Sequence[ConditionResult]) -> pd.DataFrame:
    """Return a table with one row per condition and classifier; columns are attributes of :class:`ConditionResult`."""
    return pd.DataFrame([asdict(row) for row in rows])


def write_robustness(folder: Path, rows: Sequence[ConditionResult]) -> list[Path]:
    """Write the results as CSV, JSON (a list of rows) and a figure; return the paths."""
    files = [folder / name for name in FILES]
    plain = [asdict(row) for row in rows]
    write_csv(files[0], list(plain[0]), ([_cell(value) for value in row.values()] for row in plain))
    write_json(files[1], plain)
    write_bytes(files[2], png(draw_robustness(as_table(rows))))
    return files


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _end(interval: Interval | None, name: Literal["low", "high"]) -> float | None:
    return None if interval is None else getattr(interval, name)
