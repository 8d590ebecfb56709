"""Figure of a robustness evaluation."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from audio_lightning.figures.evaluation import BLUE, GREY, ORANGE

PER_ROW = 4
"""Number of panels in a row."""

APART = 0.08
"""Horizontal offset between two series, relative to the distance between two strengths."""

STYLES = ("-o", "--s", ":^")
"""Line styles and markers of the series of a panel."""


def draw_robustness(rows: pd.DataFrame) -> Figure:
    """Draw the metric against the strength of each corruption, with confidence intervals.

    Horizontal lines are the values of the clean clips.

    Args:
        rows: results of one or two classifiers in the order of the axes, with ``model``, ``corruption`` (``none``:
            clean clips), ``series``, ``value``, ``unit``, ``metric``, ``score``, ``low``, ``high`` and ``num_clips``.
    """
    models = list(dict.fromkeys(rows["model"]))
    kinds = [kind for kind in dict.fromkeys(rows["corruption"]) if kind != "none"]
    across = min(PER_ROW, len(kinds))
    down = -(-len(kinds) // across)
    figure = Figure(figsize=(0.6 + 3.1 * across, 0.9 + 2.6 * down), dpi=110, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes in grid.flat[len(kinds) :]:
        axes.set_visible(False)
    for axes, kind in zip(grid.flat, kinds):
        _draw_kind(axes, rows, kind, models)
    for axes in grid[:, 0]:
        axes.set_ylabel(rows["metric"].iloc[0].replace("_", " "), fontsize=8)
    lines = [axes.plot([], [], color=colour)[0] for colour, _ in zip((BLUE, ORANGE), models)]
    figure.legend(
        lines, [model.replace("$", r"\$") for model in models], loc="outside upper left", frameon=False, fontsize=8
    )
    figure.suptitle(f"{rows['num_clips'].iloc[0]:,} test clips, 95 % intervals", fontsize=9, ha="right", x=0.99)
    return figure


def _draw_kind(axes: Axes, rows: pd.DataFrame, kind: str, models: list[str]) -> None:
    own = rows[rows["corruption"] == kind]
    own = own.assign(tick=["" if np.isnan(value) else f"{value:g}" for value in own["value"].astype(float)])
    places = {tick: place for place, tick in enumerate(dict.fromkeys(own["tick"]))}
    series = list(dict.fromkeys(own["series"]))
    for model, colour in zip(models, (BLUE, ORANGE)):
        clean = rows[(rows["model"] == model) & (rows["corruption"] == "none")].iloc[0]
        axes.axhline(clean["score"], color=colour if len(models) > 1 else GREY, linewidth=0.8, alpha=0.6)
        for number, (name, style) in enumerate(zip(series, STYLES)):
            line = own[(own["model"] == model) & (own["series"] == name)]
            score = line["score"].to_numpy(dtype=float)
            ends = np.stack([score - line["low"].to_numpy(dtype=float), line["high"].to_numpy(dtype=float) - score])
            axes.errorbar(
                [places[tick] + APART * number for tick in line["tick"]],
                score,
                None if np.isnan(ends).any() else ends.clip(0),
                fmt=style,
                color=colour,
                markersize=4,
                linewidth=1.2,
                elinewidth=0.7,
                capsize=2,
                label=name if model == models[0] else None,
            )
    axes.set_xticks(range(len(places)), list(places), fontsize=8)
    axes.set_xlim(-0.4, len(places) - 0.6)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(kind.replace("_", " "), fontsize=9)
    axes.set_xlabel(own["unit"].iloc[0], fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(fontsize=7, frameon=False, loc="lower left")
