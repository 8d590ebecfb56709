"""Relevance maps of explained predictions."""

import io
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from audio_lightning.figures.evaluation import legible, set_title

DECIBELS = 80.0
"""Dynamic range of the spectrogram in dB, below its maximum."""

TICKS_HZ = (100, 300, 1000, 3000, 10_000)

DIMMED = 0.35
"""Brightness of the cells of a small picture that are not marked."""


def draw_relevance(
    levels: Float[np.ndarray, "bands frames"],
    relevance: Float[np.ndarray, "bands frames"],
    marked: Bool[np.ndarray, "bands frames"],
    edges: Float[np.ndarray, "edges"],
    seconds: float,
    title: str,
) -> Figure:
    """Draw the relevance map above the spectrogram, with the marked cells outlined in both.

    Args:
        levels: levels in dB.
        relevance: relevance of each cell for the class; positive values, drawn in red, are evidence for it.
        marked: cells to outline.
        edges: edges of the bands in Hz.
        seconds: length of the clip in seconds.
        title: title of the figure.
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
    set_title(figure, legible(title), size=9)
    return figure


def relevance_picture(
    levels: Float[np.ndarray, "bands frames"],
    marked: Bool[np.ndarray, "bands frames"],
    *,
    width: int = 240,
    height: int = 100,
) -> bytes:
    """Draw a small spectrogram with all cells dimmed except the marked ones; return the content of a PNG file.

    Args:
        levels: levels in dB.
        marked: cells to show at full brightness.
        width: width of the picture in pixels.
        height: height of the picture in pixels.
    """
    from matplotlib import colormaps
    from PIL import Image

    shares = (1 + (levels - levels.max()) / DECIBELS).clip(0, 1)
    colours = colormaps["magma"](shares)[..., :3] * np.where(marked, 1.0, DIMMED)[..., None]
    image = Image.fromarray(np.ascontiguousarray(np.rint(255 * colours[::-1]).astype(np.uint8)))
    content = io.BytesIO()
    image.resize((width, height), Image.Resampling.NEAREST).save(content, "PNG", optimize=True)
    return content.getvalue()
