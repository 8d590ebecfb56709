"""Charts of the sweep report: main effects, cost and learning curves."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audio_lightning.core.errors import FileError
from audio_lightning.core.files import read_frame
from audio_lightning.core.task import lower_is_better
from audio_lightning.report.effects import Effect
from audio_lightning.report.svg import SHARES, Chart, Scale, clipped, short
from audio_lightning.run_folder import RunFolder

if TYPE_CHECKING:
    from audio_lightning.compare.board import Row

MOST_DOTS = 40
"""Largest number of setups drawn per value, evenly spaced from worst to best."""

MOST_POINTS = 120
"""Largest number of epochs drawn per learning curve."""

MOST_CURVES = 4
MOST_TRIALS = 10
"""Largest numbers of setups, and of trials per setup, whose learning curves are drawn."""

MOST_NAMES = 40
"""Largest number of setups named in the cost chart, Pareto-optimal setups first."""

LETTERS = 22
"""Largest number of characters of a value in a chart of main effects."""


def metric_scale(values: Iterable[float], metric: str, *, log: bool = False, margin: float = 0.05) -> Scale:
    """Return a scale around the values of a metric; its margin ends at 1, the best value, unless lower is better."""
    return Scale.around(values, log=log, margin=margin, within=None if lower_is_better(metric) else SHARES)


def effect_charts(effects: Sequence[Effect], metric: str) -> list[tuple[Effect, Chart]]:
    """Draw the main effects, one chart per axis, on a common scale.

    The values of an axis are rows. Each setup is a small dot, and the mean of a value is a large dot.
    """
    levels = [value for effect in effects for _, _, values in effect.levels for value in values]
    levels += [value for effect in effects for _, value in effect.numeric or []]
    if not levels:
        return []
    scale = metric_scale(levels, metric)
    return [(effect, _searched(effect, scale, metric) if effect.numeric else _levels(effect, scale, metric))
            for effect in effects if effect.numeric or effect.levels]  # fmt: skip


def _levels(effect: Effect, scale: Scale, metric: str) -> Chart:
    count = len(effect.levels)
    words = [clipped(name, LETTERS) for name, _, _ in effect.levels]
    chart = Chart(
        f"Mean of {metric} by {effect.axis}: "
        + ", ".join(f"{clipped(name, 40)} {mean:.3f}" for name, mean, _ in effect.levels),
        scale,
        Scale(count - 0.5, -0.5),
        size=(400, 54 + 26 * count),
        left=20 + 7 * max(map(len, words)),
        x_label=metric,
        rows=list(enumerate(words)),
    )
    for row, (name, mean, values) in enumerate(effect.levels):
        for value in _thinned(sorted(values), MOST_DOTS):
            chart.dot((value, row), "faint", radius=3.5)
        chart.dot((mean, row), "c0", f"{name}: mean {mean:.4f} of {len(values)}", radius=6)
    return chart


def _searched(effect: Effect, scale: Scale, metric: str) -> Chart:
    points = effect.numeric or []
    numbers = [x for x, _ in points]
    log = min(numbers) > 0 and max(numbers) / min(numbers) > 30
    chart = Chart(
        f"{metric} against {effect.axis}",
        Scale.around(numbers, log=log),
        scale,
        size=(400, 230),
        x_label=f"{effect.axis} (log scale)" if log else effect.axis,
        y_label=metric,
    )
    for point in points:
        chart.dot(point, "c0 see", f"{effect.axis} = {point[0]:.4g}: {point[1]:.4f}", radius=3.5)
    return chart


def cost_charts(rows: Sequence["Row"], metric: str) -> dict[str, Chart] | None:
    """Draw the validation metric against multiply-accumulates, with the Pareto front.

    Returns:
        The chart for ``wide`` and ``narrow`` windows; None if fewer than two different costs are known.
    """
    known = [(row, row.macs) for row in rows if row.macs and math.isfinite(row.validation.mean)]
    if len({macs for _, macs in known}) < 2:
        return None
    ends = [value for row, _ in known for value in (row.validation.mean, row.validation.low, row.validation.high)]
    lowest, highest = min(row.validation.mean for row, _ in known), max(row.validation.mean for row, _ in known)
    room = 0.35 * ((highest - lowest) or 0.1)
    inside = [value for value in ends if value is not None and lowest - room <= value <= highest + room]
    x = Scale.around((macs for _, macs in known), log=True, margin=0.12)
    y = metric_scale(inside, metric, margin=0.1)
    sizes = {"wide": ((1000, 430), 34), "narrow": ((340, 360), 22)}
    return {name: _cost_chart(known, metric, x, y, size, letters) for name, (size, letters) in sizes.items()}


def _cost_chart(
    known: Sequence[tuple["Row", float]], metric: str, x: Scale, y: Scale, size: tuple[int, int], letters: int
) -> Chart:
    chart = Chart(
        f"{metric} against multiply-accumulates per clip, for {len(known)} setups, as in the table",
        x,
        y,
        size=size,
        x_label="multiply-accumulates per clip (log scale)",
        y_label=metric,
    )
    front = sorted(((macs, row.validation.mean, row) for row, macs in known if row.pareto), key=lambda point: point[0])
    chart.line([(macs, mean) for macs, mean, _ in front], "front")
    for row, macs in known:
        title = f"{row.name}: {row.validation.mean:.4f}, {short(macs)} MACs"
        if row.pareto and row.validation.low is not None and row.validation.high is not None:
            chart.interval(macs, max(row.validation.low, y.low), min(row.validation.high, y.high), "whisker")
        chart.dot((macs, row.validation.mean), "c1" if row.pareto else "c0 see", title, radius=6 if row.pareto else 5)
    named = sorted(known, key=lambda entry: not entry[0].pareto)[:MOST_NAMES]
    chart.label([((macs, row.validation.mean), row.name) for row, macs in named], most=letters)
    return chart


def learning_curves(runs: Sequence[tuple["Row", Sequence[RunFolder]]], metrics: Iterable[str]) -> list[Chart]:
    """Draw learning curves, one chart per metric: the mean over the trials of each setup, and a thin line per trial.

    Args:
        runs: setups with the folders of their trials, best first.
        metrics: columns of ``history.csv``; a column that no trial has is left out.
    """
    charts = []
    read = [[history for folder in folders[:MOST_TRIALS] if (history := _history(folder)) is not None]
            for _, folders in runs[:MOST_CURVES]]  # fmt: skip
    for metric in metrics:
        curves = [[history.set_index("epoch")[metric] for history in group if metric in history] for group in read]
        values = [value for group in curves for curve in group for value in curve if math.isfinite(value)]
        if not values:
            continue
        log = metric.endswith("loss") and min(values) > 0  # on a linear scale the first epochs dominate
        epochs = [epoch for group in curves for curve in group for epoch in curve.index]
        chart = Chart(
            f"{metric} over the epochs of the best setups",
            Scale(min(epochs), max(epochs), whole=True),
            metric_scale(values, metric, log=log),
            size=(380, 260),
            x_label="epoch",
            y_label=f"{metric} (log scale)" if log else metric,
        )
        for number, group in reversed(list(enumerate(curves))):
            name = runs[number][0].name
            if len(group) > 1:
                for curve in group:
                    chart.line(_thinned(list(curve.items()), MOST_POINTS), f"s{number} each")
            if group:
                mean = pd.concat(group, axis=1).dropna().mean(axis=1)  # up to the last epoch of all trials
                points = _thinned(list(mean.items()), MOST_POINTS)
                chart.line(points, f"s{number}", f"{name}, mean of {len(group)}" if len(group) > 1 else name)
                if len(points) == 1:
                    chart.dot(points[0], f"c{number}", name)
        charts.append(chart)
    return charts


def _history(folder: RunFolder) -> pd.DataFrame | None:
    if not folder.history.is_file():
        return None
    try:
        history = read_frame(folder.history, required=["epoch"])
    except FileError:  # the curves of the other trials are drawn; damaged trials have a section of their own
        return None
    if history.empty:
        return None
    return history.drop_duplicates("epoch", keep="last")


def _thinned(values: Sequence[Any], most: int) -> list[Any]:
    """At most ``most`` evenly spaced values, including the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[place] for place in np.linspace(0, len(values) - 1, most).round().astype(int)]
