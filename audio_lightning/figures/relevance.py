"""Figures of what a classifier decided by."""

import io
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from audio_lightning.figures.evaluation import legible

DECIBELS = 80.0
"""Range of levels that is drawn, below the loudest."""

TICKS_HZ = (100, 300, 1000, 3000, 10_000)

DIMMED = 0.35
"""Brightness of what is not marked in a small picture."""


def draw_relevance(
    levels: Float[np.ndarray, "bands frames"],
    relevance: Float[np.ndarray, "bands frames"],
    marked: Bool[np.ndarray, "bands frames"],
    edges: Float[np.ndarray, "edges"],
    seconds: float,
    title: str,
) -> Figure:
    """The relevance of every cell above the spectrogram, the marked cells outlined in both.

    Args:
        levels: in decibels.
        relevance: what speaks for the class is positive, and drawn in red.
        marked: cells to outline.
        edges: of the bands in hertz.
        seconds: length of the clip.
        title: above.
    """
    figure = Figure(figsize=(7.4, 5.0), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    extent = (0.0, seconds, 0.0, float(len(levels)))
    strongest = float(np.abs(relevance).max()) or 1.0
    shown: dict[str, Any] = {"origin": "lower", "aspect": "auto", "extent": extent, "interpolation": "nearest"}
    image = upper.imshow(relevance, cmap="RdBu_r", vmin=-strongest, vmax=strongest, **shown)
    figure.colorbar(image, ax=upper, label="relevance", pad=0.01)
    image = lower.imshow(levels, cmap="magma", vmin=levels.max() - DECIBELS, **shown)
    figure.colorbar(image, ax=lower, label="dB", pad=0.01)
    x = (np.arange(levels.shape[1]) + 0.5) * seconds / levels.shape[1]
    places = np.interp([hertz for hertz in TICKS_HZ if hertz < edges[-1]], edges, np.arange(len(edges)))
    for axes, colour in ((upper, "black"), (lower, "white")):
        if min(marked.shape) > 1 and marked.any() and not marked.all():
            axes.contour(x, np.arange(len(levels)) + 0.5, marked.astype(float), [0.5], colors=colour, linewidths=0.9)
        axes.set_yticks(places, [f"{hertz:,}" for hertz in TICKS_HZ if hertz < edges[-1]], fontsize=8)
        axes.set_ylabel("Hz", fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
    lower.set_xlabel("s", fontsize=8)
    figure.suptitle(legible(title), fontsize=9)
    return figure


def relevance_picture(
    levels: Float[np.ndarray, "bands frames"],
    marked: Bool[np.ndarray, "bands frames"],
    *,
    width: int = 240,
    height: int = 100,
) -> bytes:
    """A small spectrogram as a PNG, in which all but the marked cells is dimmed."""
    from matplotlib import colormaps
    from PIL import Image

    shares = (1 + (levels - levels.max()) / DECIBELS).clip(0, 1)
    colours = colormaps["magma"](shares)[..., :3] * np.where(marked, 1.0, DIMMED)[..., None]
    image = Image.fromarray(np.ascontiguousarray(np.rint(255 * colours[::-1]).astype(np.uint8)))
    content = io.BytesIO()
    image.resize((width, height), Image.Resampling.NEAREST).save(content, "PNG", optimize=True)
    return content.getvalue()
