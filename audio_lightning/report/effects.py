"""Main effects and interactions of the axes of a sweep."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

VALUE = "value"
"""Column with the mean of the metric in a table of setups; the other columns are axes."""

MOST_LEVELS = 24
"""Largest number of values of a categorical axis; axes with more values are numeric."""


@dataclass(frozen=True)
class Effect:
    """Main effect of an axis.

    Attributes:
        axis: key of the configuration.
        levels: name, mean and individual results of each value.
        used: number of setups compared.
        setups: number of all setups.
        balanced: whether each value was combined with the same settings of the other axes.
        numeric: (value, result) of each setup of a numeric axis.
    """

    axis: str
    levels: list[tuple[str, float, list[float]]]
    used: int
    setups: int
    balanced: bool
    numeric: list[tuple[float, float]] | None = None

    @property
    def span(self) -> float:
        """Range of the means."""
        means = [mean for _, mean, _ in self.levels]
        return max(means) - min(means) if means else math.nan


@dataclass(frozen=True)
class Interaction:
    """Interaction of two axes, from the residuals of their two-way table after both main effects.

    Attributes:
        axes: keys of the two axes.
        size: root mean square of the residuals.
        shape: number of values of each axis.
        left_out: number of values left out because of empty cells.
        largest: residual with the largest magnitude.
        cell: values of the two axes at the largest residual.
    """

    axes: tuple[str, str]
    size: float
    shape: tuple[int, int]
    left_out: int
    largest: float
    cell: tuple[str, str]


def named(value: Any) -> str:
    """Return the name of a value of an axis; equal for ``1`` and ``1.0``, which CSV files do not distinguish."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "none"
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, (int, float, np.number)) else str(value)


def ordered(values: Sequence[Any], means: "pd.Series[float]") -> list[str]:
    """Return the names of values: numbers ascending, other values by descending mean."""
    names = dict.fromkeys(named(value) for value in values)
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names, key=lambda name: (-means.get(name, -math.inf), name))


def varying(setups: pd.DataFrame) -> list[str]:
    """Return the axes with several values, in the order of the columns."""
    return [axis for axis in setups.columns if axis != VALUE and len(setups[axis].unique()) > 1]


def main_effects(setups: pd.DataFrame) -> list[Effect]:
    """Compute the mean of each value of each axis, axes with the largest range first.

    If possible, only settings of the other axes that were tried with every value are used. Otherwise a value that was
    combined with better models would have a better mean.

    Args:
        setups: table with one row per setup: the names of its values, and :data:`VALUE`.
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
    """Compute the interactions of all pairs of axes, largest first.

    The residual of a cell is cell mean - row mean - column mean + grand mean. Rows and columns with most empty cells
    are left out first, until no cell is empty.
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
    """Drop the rows and columns with most missing cells, until no cell is missing."""
    while table.size and table.isna().any(axis=None):
        rows, columns = table.isna().mean(axis=1), table.isna().mean(axis=0)
        if rows.max() >= columns.max():
            table = table.drop(index=rows.idxmax())
        else:
            table = table.drop(columns=columns.idxmax())
    return table


def heat_axes(setups: pd.DataFrame, tried: pd.DataFrame) -> tuple[str, str] | None:
    """Choose the axes of a heat map: feature and model, otherwise the two categorical axes with most values.

    Args:
        setups: setups with a result.
        tried: names of the values of all trials, including those without a result.
    """
    counts = {axis: tried[axis].nunique() for axis in tried.columns if axis in setups.columns}
    shown = [axis for axis, count in counts.items() if 1 < count <= MOST_LEVELS]
    if {"feature", "model"} <= set(shown):
        return "feature", "model"
    most = sorted(shown, key=lambda axis: -counts[axis])[:2]
    return (most[1], most[0]) if len(most) == 2 else None
