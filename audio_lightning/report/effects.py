"""What each choice of a sweep does to the result, and which choices depend on one another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

VALUE = "value"
"""Column of a table of setups that holds the mean of the metric; the others are axes."""

MOST_LEVELS = 24
"""Values up to which an axis is one of separate choices, rather than a number to be searched."""


@dataclass(frozen=True)
class Effect:
    """What an axis does by itself.

    Attributes:
        axis: its key.
        levels: of each value: its name, the mean, and the setups that it was the mean of.
        used: number of setups that were compared.
        setups: number of all setups.
        balanced: whether the same settings of the other axes stand behind each value.
        numeric: values as numbers, where there are too many of them for a mean of each.
    """

    axis: str
    levels: list[tuple[str, float, list[float]]]
    used: int
    setups: int
    balanced: bool
    numeric: list[tuple[float, float]] | None = None

    @property
    def span(self) -> float:
        """From the lowest mean to the highest."""
        means = [mean for _, mean, _ in self.levels]
        return max(means) - min(means) if means else math.nan


@dataclass(frozen=True)
class Interaction:
    """How far two axes depend on each other.

    Attributes:
        axes: the two keys.
        size: root mean square, over the cells, of what is left of them after both main effects.
        shape: number of values of each axis.
        left_out: number of values that were left out, so that no cell is empty.
        largest: what is left in the cell where that is most.
        cell: the two values there.
    """

    axes: tuple[str, str]
    size: float
    shape: tuple[int, int]
    left_out: int
    largest: float
    cell: tuple[str, str]


def named(value: Any) -> str:
    """A value of an axis in words; ``1`` and ``1.0`` are the same, as tables mix them up."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "none"
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, (int, float, np.number)) else str(value)


def ordered(values: Sequence[Any], means: "pd.Series[float]") -> list[str]:
    """Names of values: numbers by size, all others with the highest mean first."""
    names = dict.fromkeys(named(value) for value in values)
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names, key=lambda name: (-means.get(name, -math.inf), name))


def varying(setups: pd.DataFrame) -> list[str]:
    """The axes with several values, in the order of the columns."""
    return [axis for axis in setups.columns if axis != VALUE and len(setups[axis].unique()) > 1]


def main_effects(setups: pd.DataFrame) -> list[Effect]:
    """The mean of every value of every axis, those that matter most first.

    Where it can be, only such settings of the other axes are used as every value was tried with; a value that happened
    to meet the better models would be flattered otherwise.

    Args:
        setups: a row a setup; names of values, and :data:`VALUE`.
    """
    axes = varying(setups)
    effects = [_effect(setups, axis, [other for other in axes if other != axis]) for axis in axes]
    return sorted(effects, key=lambda effect: -np.nan_to_num(effect.span, nan=-1.0))


def _effect(setups: pd.DataFrame, axis: str, others: list[str]) -> Effect:
    if setups[axis].nunique() > MOST_LEVELS:
        numbers = pd.to_numeric(setups[axis], errors="coerce")
        points = [(float(x), float(y)) for x, y in zip(numbers, setups[VALUE]) if math.isfinite(x)]
        return Effect(axis, [], len(points), len(setups), False, points)
    settings = setups.groupby(others).ngroup() if others else pd.Series(0, index=setups.index)
    complete = setups.groupby(settings)[axis].nunique() == setups[axis].nunique()
    compared = setups[settings.map(complete)]
    balanced = bool(len(compared))
    compared = compared if balanced else setups
    means = compared.groupby(axis)[VALUE].mean()
    levels = [
        (name, float(means[name]), compared.loc[compared[axis] == name, VALUE].tolist())
        for name in ordered(list(means.index), means)
    ]
    return Effect(axis, levels, len(compared), len(setups), balanced)


def interactions(setups: pd.DataFrame) -> list[Interaction]:
    """How far every two axes depend on each other, the largest first.

    The means of the cells, without the means of their row and of their column and with the mean of all: what neither
    axis explains by itself. Rows and columns are left out, those with most gaps first, until no cell is empty.
    """
    found = []
    for one, other in combinations([axis for axis in varying(setups) if setups[axis].nunique() <= MOST_LEVELS], 2):
        table = setups.pivot_table(VALUE, one, other, aggfunc="mean")
        full = balanced_part(table)
        if min(full.shape) < 2:
            continue
        cells = full.to_numpy()
        left = cells - cells.mean(axis=1, keepdims=True) - cells.mean(axis=0, keepdims=True) + cells.mean()
        row, column = np.unravel_index(np.abs(left).argmax(), left.shape)
        found.append(
            Interaction(
                (one, other),
                float(np.sqrt((left**2).mean())),
                full.shape,
                sum(table.shape) - sum(full.shape),
                float(left[row, column]),
                (str(full.index[row]), str(full.columns[column])),
            )
        )
    return sorted(found, key=lambda interaction: -interaction.size)


def balanced_part(table: pd.DataFrame) -> pd.DataFrame:
    """A table without the rows and columns with most gaps, so that it has none."""
    while table.size and table.isna().any(axis=None):
        rows, columns = table.isna().mean(axis=1), table.isna().mean(axis=0)
        if rows.max() >= columns.max():
            table = table.drop(index=rows.idxmax())
        else:
            table = table.drop(columns=columns.idxmax())
    return table


def heat_axes(setups: pd.DataFrame, tried: pd.DataFrame) -> tuple[str, str] | None:
    """The two axes of a heat map: feature and model, or else the two with most values that can be shown.

    Args:
        setups: with a result.
        tried: names of values of all trials, those without a result included.
    """
    counts = {axis: tried[axis].nunique() for axis in tried.columns if axis in setups.columns}
    shown = [axis for axis, count in counts.items() if 1 < count <= MOST_LEVELS]
    if {"feature", "model"} <= set(shown):
        return "feature", "model"
    most = sorted(shown, key=lambda axis: -counts[axis])[:2]
    return (most[1], most[0]) if len(most) == 2 else None
