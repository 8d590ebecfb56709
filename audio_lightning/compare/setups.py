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
    """The trials of a setup.

    Attributes:
        name: for people.
        repetitions: trials by repetition; several seeds may share one.
        redrawn: parts of the data that overlap from one repetition to the next, so that the correction for overlapping
            training parts applies to their metrics.
        clips: influence of groups of clips on the metrics of all trials.
    """

    name: str
    repetitions: dict[str, pd.DataFrame]
    redrawn: Redrawn
    clips: ClipResults

    def over(self, repetitions: Sequence[str]) -> "Setup":
        """The same on some of the repetitions, in their order."""
        return replace(self, repetitions={key: self.repetitions[key] for key in repetitions})

    @cached_property
    def trials(self) -> pd.DataFrame:
        """All of them."""
        return pd.concat(self.repetitions.values())

    def averages(self, column: str) -> Float[np.ndarray, "n"]:
        """A metric, averaged within every repetition; NaN where a trial lacks it."""
        return np.array([numbers(trials, column).mean() for trials in self.repetitions.values()])

    def means(self, column: str) -> Float[np.ndarray, "n"] | None:
        """The same as :meth:`averages`; None where any trial lacks the metric."""
        found = self.averages(column)
        return found if np.isfinite(found).all() else None

    def influence(self, column: str) -> list[Sparse] | None:
        """Influence of the groups of clips on the metric of every repetition; None where it is not known."""
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
        """Mean and interval of a metric; None where a trial lacks it."""
        values = self.means(column)
        return None if values is None else spread_of(column, values, self.influence(column), self.ratio(column))

    def ratio(self, column: str) -> float:
        """Clips of the part that the metric is of / clips trained on; 0.0 where repetitions share no correction."""
        if part_of(column) not in self.redrawn:
            return 0.0
        trials = self.trials
        return float(np.mean(numbers(trials, f"num_clips/{part_of(column)}") / numbers(trials, "num_clips/train")))

    def lower_is_better(self, column: str) -> bool:
        """Whether a smaller value of a metric is the better one, as the trials recorded it."""
        recorded = {name for cell in column_of(self.trials, "lower_is_better") for name in str(cell or "").split()}
        return lower_is_better(column, recorded)

    @property
    def validation_redrawn(self) -> bool:
        """Whether trials that are tested on the same clips differ in those for training and validation."""
        return "test" not in self.redrawn and len(set(self.trials["division"])) > 1

    def median(self, column: str) -> float | None:
        """Of the trials that have it."""
        known = numbers(self.trials, column)
        known = known[np.isfinite(known)]
        return float(np.median(known)) if len(known) else None


def spread_of(column: str, values: Float[np.ndarray, "n"], influence: list[Sparse] | None, ratio: float) -> Spread:
    """Mean and interval of a metric: losses have no upper end, and those that a configuration adds have no end."""
    name = column.rpartition("/")[2].removeprefix("recording_")
    lowest, highest = (0.0, 1.0) if name in METRICS + MULTILABEL_METRICS else (-math.inf, math.inf)
    known = None if influence is None else matrices(influence)[0]
    return spread(values, known, ratio=ratio, lowest=lowest, highest=math.inf if name == "loss" else highest)


def make_setups(trials: pd.DataFrame, axes: list[str], redrawn: Redrawn, clips: ClipResults) -> dict[str, Setup]:
    """The setups among trials, which have the columns ``setup`` and ``repetition``."""
    by_setup = {str(setup): found for setup, found in trials.groupby("setup", sort=False)}
    names = row_names(by_setup, axes)
    return {
        setup: Setup(
            names[setup], {str(key): same for key, same in found.groupby("repetition", sort=False)}, redrawn, clips
        )
        for setup, found in by_setup.items()
    }


def on_common(setups: dict[str, Setup], unit: Unit, notes: list[str]) -> tuple[dict[str, Setup], bool]:
    """The setups on the repetitions that they share, and whether there are such; what is amiss goes into ``notes``."""
    most = max(len(setup.repetitions) for setup in setups.values())
    kept = {key: setup for key, setup in setups.items() if 2 * len(setup.repetitions) >= most}
    if few := [setup for key, setup in setups.items() if key not in kept]:
        named = ", ".join(f"{setup.name} ({len(setup.repetitions)} of {most})" for setup in few)
        notes.append(f"Left out, because they have fewer than half as many finished {unit} as another row: {named}.")
    everything = dict.fromkeys(key for setup in kept.values() for key in setup.repetitions)
    common = [key for key in everything if all(key in setup.repetitions for setup in kept.values())]
    if not common:
        notes.append(
            f"The rows have no {unit} in common, so each stands for itself and none is tested against another."
        )
        return kept, False
    if lacking := [setup for setup in kept.values() if len(setup.repetitions) < len(everything)]:
        named = ", ".join(f"{setup.name} ({len(setup.repetitions)} of {len(everything)})" for setup in lacking)
        shared = f"the {len(common)} that all rows have" if len(common) > 1 else "the only one that all rows have"
        notes.append(f"Of the {unit}, only {shared} are compared; incomplete: {named}.")
    kept = {key: setup.over(common) for key, setup in kept.items()}
    return _on_common_seeds(kept, unit, notes), True


def _on_common_seeds(setups: dict[str, Setup], unit: Unit, notes: list[str]) -> dict[str, Setup]:
    """The setups with the seeds that all of them have within a repetition, where they have such in common."""
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
    """Name of a repetition for people."""
    folds = {int(fold) for fold in column_of(trials, "test_fold") if fold is not None}
    return f"fold {folds.pop()}" if unit == "folds" and len(folds) == 1 else f"one {unit[:-1]}"


def part_of(metric: str) -> str:
    """The part of the data that a metric is of."""
    return metric.partition("/")[0]


def column_of(trials: pd.DataFrame, name: str) -> list[Any]:
    """A column; None for all where there is none."""
    return trials[name].tolist() if name in trials else [None] * len(trials)


def numbers(trials: pd.DataFrame, column: str) -> Float[np.ndarray, "trials"]:
    """A column; NaN for what is not known."""
    return (
        trials[column].to_numpy(dtype=float, na_value=math.nan) if column in trials else np.full(len(trials), math.nan)
    )
