"""Per-clip results of trials: the influence of each group of clips on a metric.

A group is the unit that splits never divide: the group of clips in the manifest, or the file of clips without one. Its
influence on a metric is computed by the delete-one-group jackknife, which is exact for means over clips: ``(value -
value without the group) * share of the remaining clips``. (Efron and Stein, "The Jackknife Estimate of Variance",
Annals of Statistics 9, 1981.)
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from audio_lightning.compare.statistics import Influence
from audio_lightning.run_folder import RunFolder

AGREES = 1e-4
"""Maximum difference between a metric recomputed from the predictions and its value in ``metrics.json``."""

Counts = Float[np.ndarray, "groups 3 classes"]
"""Counts by class: correctly predicted clips, clips of the class, clips predicted as the class."""


Sparse = tuple[Int64[np.ndarray, "groups"], Float[np.ndarray, "groups"]]
"""Indices of groups, and the influence of each; the influences of a repeated index are summed."""


class ClipResults:
    """Influence of groups of clips on the metrics of trials, read lazily from the predictions.

    Args:
        folders: folder of each trial, by its position in the results.
    """

    def __init__(self, folders: Mapping[int, Path]) -> None:
        self._folders = folders
        self._numbers: dict[str, int] = {}
        self._known: dict[tuple[int, str], tuple[float, Sparse] | None] = {}

    def influence(self, trial: int, column: str, value: float) -> Sparse | None:
        """Return the influence of each test group of a trial.

        Args:
            trial: position in the results.
            column: name of the metric, such as ``test/accuracy`` or ``test/recording_accuracy``.
            value: value of the metric in ``metrics.json``.

        Returns:
            None if unknown: there are no predictions, the metric cannot be computed from them, or the result differs
            from ``value`` by more than :data:`AGREES`.
        """
        if (trial, column) not in self._known:
            self._known[trial, column] = self._read(trial, column)
        found = self._known[trial, column]
        return None if found is None or not abs(found[0] - value) <= AGREES else found[1]

    def _read(self, trial: int, column: str) -> tuple[float, Sparse] | None:
        part, _, metric = column.partition("/")
        if part != "test":
            return None
        folder = RunFolder(self._folders[trial])
        whole = metric.startswith("recording_") and folder.recordings.is_file()
        found = _influence(folder.recordings if whole else folder.predictions, metric.removeprefix("recording_"))
        if found is None:
            return None
        value, names, influence = found
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in names]
        return value, (np.array(numbers), influence)


def mean_of(trials: Sequence[Sparse]) -> Sparse:
    """Return the influence on the mean metric of several trials."""
    return (
        np.concatenate([numbers for numbers, _ in trials]),
        np.concatenate([influence for _, influence in trials]) / len(trials),
    )


def matrices(*setups: Sequence[Sparse]) -> list[Influence]:
    """Return one influence matrix per setup: repetitions in rows, all groups of all setups in columns."""
    groups = np.unique(np.concatenate([numbers for repetitions in setups for numbers, _ in repetitions]))
    found = []
    for repetitions in setups:
        columns = [np.searchsorted(groups, numbers) for numbers, _ in repetitions]
        rows = [np.bincount(place, row[1], len(groups)) for place, row in zip(columns, repetitions)]
        found.append(np.stack(rows))
    return found


_Found = tuple[float, list[str], Float[np.ndarray, "groups"]]


def _influence(path: Path, metric: str) -> _Found | None:
    """Compute a metric from a table of predictions; return it with the names and the influence of the groups."""
    if metric not in ("accuracy", "loss", *METRICS) or not path.is_file():
        return None
    try:
        text = dict.fromkeys(("path", "group", "label", "predicted"), str)
        wanted = None if metric == "loss" else text.__contains__
        table = pd.read_csv(path, dtype=text, keep_default_na=False, usecols=wanted)
        if not len(table) or not text.keys() - {"group"} <= set(table):
            return None
        by = table["path"].where(table["group"] == "", table["group"]) if "group" in table else table["path"]
        groups, unique = pd.factorize(by)
        names = list(unique)
        if metric == "loss":
            chosen = [table.columns.get_loc(f"probability {label}") for label in table["label"]]
            right = table.to_numpy()[np.arange(len(table)), np.array(chosen, dtype=int)].astype(float)
            return _of_mean(-np.log(np.maximum(right, 1e-12)), groups, names)
        if metric == "accuracy":
            return _of_mean((table["label"] == table["predicted"]).to_numpy(dtype=float), groups, names)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a damaged or different table; the metric itself is in metrics.json
    counts = _counts(table, groups, len(names))
    total, function = counts.sum(axis=0), METRICS[metric]
    clips = counts[:, 1].sum(axis=1)
    value = function(total[None])[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        without = function(total - counts)
    left = 1 - clips / clips.sum()
    influence = np.where(left > 0, (value - np.nan_to_num(without)) * left, 0.0)
    return float(value), names, influence - influence.mean()


def _of_mean(values: Float[np.ndarray, "clips"], groups: np.ndarray, names: list[str]) -> _Found | None:
    if not len(values):
        return None
    mean = float(values.mean())
    return mean, names, np.bincount(groups, values - mean, len(names)) / len(values)


def _counts(table: pd.DataFrame, groups: np.ndarray, number: int) -> Counts:
    classes = pd.Index(pd.unique(pd.concat([table["label"], table["predicted"]])))
    label, predicted = (classes.get_indexer(table[name]) for name in ("label", "predicted"))
    hit = label == predicted
    kinds = ((groups[hit], label[hit]), (groups, label), (groups, predicted))
    flat = [np.bincount(group * len(classes) + of, minlength=number * len(classes)) for group, of in kinds]
    return np.stack(flat, axis=1).reshape(number, len(classes), 3).transpose(0, 2, 1).astype(float)


def _balanced_accuracy(counts: Counts) -> Float[np.ndarray, "groups"]:
    hits, targets = counts[:, 0], counts[:, 1]
    return _mean_where(hits / np.maximum(targets, 1), targets > 0)


def _f1_macro(counts: Counts) -> Float[np.ndarray, "groups"]:
    hits, either = counts[:, 0], counts[:, 1] + counts[:, 2]
    return _mean_where(2 * hits / np.maximum(either, 1), either > 0)


def _mean_where(values: Float[np.ndarray, "groups classes"], there: np.ndarray) -> Float[np.ndarray, "groups"]:
    return (values * there).sum(axis=1) / there.sum(axis=1)


METRICS: dict[str, Callable[[Counts], Float[np.ndarray, "groups"]]] = {
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
}
"""Metrics computed from counts; ``accuracy`` and ``loss`` are means over clips."""
