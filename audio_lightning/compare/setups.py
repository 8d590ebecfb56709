"""Setups: the trials that share a configuration, by repetition, and their metrics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from audio_lightning.compare.board import Unit
from audio_lightning.compare.clip_results import ClipResults, Sparse, matrices, mean_of
from audio_lightning.compare.names import row_names
from audio_lightning.compare.repetitions import Redrawn, seeds_of
from audio_lightning.compare.statistics import Spread, spread
from audio_lightning.core.task import METRICS, MULTILABEL_METRICS, lower_is_better


@dataclass(frozen=True)
class Setup:
    """Trials of one setup.

    Attributes:
        name: short name of the setup.
        repetitions: trials by repetition; several seeds may share one repetition.
        redrawn: splits that differ between repetitions; the correction for overlapping training sets applies to their
            metrics.
        clips: influence of groups of clips on the metrics of all trials.
    """

    name: str
    repetitions: dict[str, pd.DataFrame]
    redrawn: Redrawn
    clips: ClipResults

    def over(self, repetitions: Sequence[str]) -> "Setup":
        """Return the setup with some of its repetitions, in the given order."""
        return replace(self, repetitions={key: self.repetitions[key] for key in repetitions})

    @cached_property
    def trials(self) -> pd.DataFrame:
        """All trials of the setup."""
        return pd.concat(self.repetitions.values())

    def averages(self, column: str) -> Float[np.ndarray, "n"]:
        """Return the mean of a metric within every repetition; NaN if a trial lacks it."""
        return np.array([numbers(trials, column).mean() for trials in self.repetitions.values()])

    def means(self, column: str) -> Float[np.ndarray, "n"] | None:
        """Return :meth:`averages`, or None if any trial lacks the metric."""
        found = self.averages(column)
        return found if np.isfinite(found).all() else None

    def influence(self, column: str) -> list[Sparse] | None:
        """Return the influence of the groups of clips on the metric of every repetition; None if unknown."""
        found = []
        for trials in self.repetitions.values():
            each = [
                self.clips.influence(*trial) for trial in zip(trials.index, repeat(column), numbers(trials, column))
            ]
            known = [one for one in each if one is not None]
            if len(known) < len(each):
                return None
            found.append(mean_of(known))
        return found

    def spread(self, column: str) -> Spread | None:
        """Return the mean and interval of a metric; None if a trial lacks it."""
        values = self.means(column)
        return None if values is None else spread_of(column, values, self.influence(column), self.ratio(column))

    def ratio(self, column: str) -> float:
        """Return the ratio of evaluated clips to training clips; 0.0 if the overlap correction does not apply."""
        if part_of(column) not in self.redrawn:
            return 0.0
        trials = self.trials
        return float(np.mean(numbers(trials, f"num_clips/{part_of(column)}") / numbers(trials, "num_clips/train")))

    def lower_is_better(self, column: str) -> bool:
        """Return whether lower is better for a metric, as recorded by the trials."""
        recorded = {name for cell in column_of(self.trials, "lower_is_better") for name in str(cell or "").split()}
        return lower_is_better(column, recorded)

    @property
    def validation_redrawn(self) -> bool:
        """Whether trials share the test clips but differ in training and validation clips."""
        return "test" not in self.redrawn and len(set(self.trials["division"])) > 1

    def median(self, column: str) -> float | None:
        """Return the median of a column over the trials that have it."""
        known = numbers(self.trials, column)
        known = known[np.isfinite(known)]
        return float(np.median(known)) if len(known) else None


def spread_of(column: str, values: Float[np.ndarray, "n"], influence: list[Sparse] | None, ratio: float) -> Spread:
    """Return the mean and interval of a metric; a loss has no upper bound, a configured metric has no bounds."""
    name = column.rpartition("/")[2].removeprefix("recording_")
    lowest, highest = (0.0, 1.0) if name in METRICS + MULTILABEL_METRICS else (-math.inf, math.inf)
    known = None if influence is None else matrices(influence)[0]
    return spread(values, known, ratio=ratio, lowest=lowest, highest=math.inf if name == "loss" else highest)


def make_setups(trials: pd.DataFrame, axes: list[str], redrawn: Redrawn, clips: ClipResults) -> dict[str, Setup]:
    """Group trials into setups, by their columns ``setup`` and ``repetition``."""
    by_setup = {str(setup): found for setup, found in trials.groupby("setup", sort=False)}
    names = row_names(by_setup, axes)
    return {
        setup: Setup(
            names[setup], {str(key): same for key, same in found.groupby("repetition", sort=False)}, redrawn, clips
        )
        for setup, found in by_setup.items()
    }


def on_common(setups: dict[str, Setup], unit: Unit, notes: list[str]) -> tuple[dict[str, Setup], bool]:
    """Restrict setups to their common repetitions, and append problems to ``notes``.

    Returns:
        The setups, and whether they have repetitions in common.
    """
    most = max(len(setup.repetitions) for setup in setups.values())
    kept = {key: setup for key, setup in setups.items() if 2 * len(setup.repetitions) >= most}
    if few := [setup for key, setup in setups.items() if key not in kept]:
        named = ", ".join(f"{setup.name} ({len(setup.repetitions)} of {most})" for setup in few)
        notes.append(f"Left out, because they have fewer than half as many finished {unit} as another row: {named}.")
    everything = dict.fromkeys(key for setup in kept.values() for key in setup.repetitions)
    common = [key for key in everything if all(key in setup.repetitions for setup in kept.values())]
    if not common:
        notes.append(f"The rows have no {unit} in common, so they are not tested against each other.")
        return kept, False
    if lacking := [setup for setup in kept.values() if len(setup.repetitions) < len(everything)]:
        named = ", ".join(f"{setup.name} ({len(setup.repetitions)} of {len(everything)})" for setup in lacking)
        shared = f"the {len(common)} that all rows have" if len(common) > 1 else "the only one that all rows have"
        notes.append(f"Of the {unit}, only {shared} are compared; incomplete: {named}.")
    kept = {key: setup.over(common) for key, setup in kept.items()}
    return _on_common_seeds(kept, unit, notes), True


def _on_common_seeds(setups: dict[str, Setup], unit: Unit, notes: list[str]) -> dict[str, Setup]:
    """Restrict the trials of every repetition to the seeds that all setups have there, if there are any."""
    seeds = {
        key: {name: list(seeds_of(trials)) for name, trials in setup.repetitions.items()}
        for key, setup in setups.items()
    }
    most = max(len(found) for row in seeds.values() for found in row.values())
    lacking: dict[str, list[str]] = {}
    for key, row in seeds.items():
        for name, found in row.items():
            if len(found) < most:
                place = _label(setups[key].repetitions[name], unit)
                lacking.setdefault(key, []).append(f"{place}: {len(found)} of {most}")
    if not lacking:
        return setups
    common = {
        name: set.intersection(*(set(row[name]) for row in seeds.values())) for name in next(iter(seeds.values()))
    }
    named = "; ".join(f"{setups[key].name} ({', '.join(places)})" for key, places in lacking.items())
    dropped = any(common[name] and set(found) > common[name] for row in seeds.values() for name, found in row.items())
    notes.append(
        f"Seeds are missing within {unit}: {named}."
        + (" Rows are compared on the seeds that all of them have there." if dropped else "")
    )
    return {
        key: replace(
            setup,
            repetitions={
                name: trials[seeds_of(trials).isin(common[name])] if common[name] else trials
                for name, trials in setup.repetitions.items()
            },
        )
        for key, setup in setups.items()
    }


def _label(trials: pd.DataFrame, unit: Unit) -> str:
    """Return a readable name of a repetition."""
    folds = {int(fold) for fold in column_of(trials, "test_fold") if fold is not None}
    return f"fold {folds.pop()}" if unit == "folds" and len(folds) == 1 else f"one {unit[:-1]}"


def part_of(metric: str) -> str:
    """Return the split of a metric, such as ``test`` for ``test/accuracy``."""
    return metric.partition("/")[0]


def column_of(trials: pd.DataFrame, name: str) -> list[Any]:
    """Return a column; None for every trial if there is no such column."""
    return trials[name].tolist() if name in trials else [None] * len(trials)


def numbers(trials: pd.DataFrame, column: str) -> Float[np.ndarray, "trials"]:
    """Return a numeric column; NaN for unknown values."""
    return (
        trials[column].to_numpy(dtype=float, na_value=math.nan) if column in trials else np.full(len(trials), math.nan)
    )
