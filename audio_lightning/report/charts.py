"""The charts of the sweep page: effects, costs, and learning curves."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audio_lightning.core.errors import FileError
from audio_lightning.core.files import read_frame
from audio_lightning.report.effects import Effect
from audio_lightning.report.svg import Chart, Scale, clipped, short
from audio_lightning.run_folder import RunFolder

if TYPE_CHECKING:
    from audio_lightning.compare.board import Row

MOST_DOTS = 40
"""Setups of a value that are drawn, evenly chosen from worst to best."""

MOST_POINTS = 120
"""Epochs of a learning curve that are drawn."""

MOST_CURVES = 4
MOST_TRIALS = 10
"""Trials of a setup whose curves are drawn."""

MOST_NAMES = 40
"""Setups that are named in the cost chart, those of the Pareto front first."""

LETTERS = 22


def effect_charts(effects: Sequence[Effect], metric: str) -> list[tuple[Effect, Chart]]:
    """A chart for each axis, on one scale: its values one below the other, every setup a dot, the mean a larger one."""
    levels = [value for effect in effects for _, _, values in effect.levels for value in values]
    levels += [value for effect in effects for _, value in effect.numeric or []]
    if not levels:
        return []
    scale = Scale.around(levels)
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
    """The metric that rows are ordered by against multiply-accumulates, with the Pareto front.

    Returns:
        The same chart for ``wide`` and ``narrow`` windows; None where the costs of fewer than two rows are known.
    """
    known = [(row, row.macs) for row in rows if row.macs and math.isfinite(row.validation.mean)]
    if len({macs for _, macs in known}) < 2:
        return None
    ends = [value for row, _ in known for value in (row.validation.mean, row.validation.low, row.validation.high)]
    lowest, highest = min(row.validation.mean for row, _ in known), max(row.validation.mean for row, _ in known)
    room = 0.35 * ((highest - lowest) or 0.1)
    inside = [value for value in ends if value is not None and lowest - room <= value <= highest + room]
    x = Scale.around((macs for _, macs in known), log=True, margin=0.12)
    y = Scale.around(inside, margin=0.1)
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
    """A chart for each metric of the validation: the mean over the trials of each setup, and each of them faintly.

    Args:
        runs: the setups with the folders of their trials, best first.
        metrics: columns of ``history.csv``; one that no trial has is left out.
    """
    charts = []
    read = [[history for folder in folders[:MOST_TRIALS] if (history := _history(folder)) is not None]
            for _, folders in runs[:MOST_CURVES]]  # fmt: skip
    for metric in metrics:
        curves = [[history.set_index("epoch")[metric] for history in group if metric in history] for group in read]
        values = [value for group in curves for curve in group for value in curve if math.isfinite(value)]
        if not values:
            continue
        log = metric.endswith("loss") and min(values) > 0  # the first epochs would flatten all others
        epochs = [epoch for group in curves for curve in group for epoch in curve.index]
        chart = Chart(
            f"{metric} over the epochs of the best setups",
            Scale(min(epochs), max(epochs), whole=True),
            Scale.around(values, log=log),
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
                mean = pd.concat(group, axis=1).dropna().mean(axis=1)  # as far as all of them go
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
    except FileError:  # other trials have curves, and what is damaged is named elsewhere
        return None
    if history.empty:
        return None
    return history.drop_duplicates("epoch", keep="last")


def _thinned(values: Sequence[Any], most: int) -> list[Any]:
    """Some values evenly, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[place] for place in np.linspace(0, len(values) - 1, most).round().astype(int)]
