"""Matplotlib figures for dashboards and run folders."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from audio_lightning.figures.colours import text_on
from audio_lightning.metrics.calibration import Reliability

BLUE, ORANGE, GREY = "#2563a6", "#d9730d", "#6b7280"

MOST_CELLS_WITH_NUMBERS = 35
"""Classes up to which a confusion matrix says its numbers in figures, too."""

PER_ROW = 4
"""Spectrograms side by side on a sheet."""


def png(figure: Figure) -> bytes:
    """The file of a figure."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box stands for it
        FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()


def legible(name: str) -> str:
    """The name of a class as it is shown; what stands between two dollar signs would be taken for a formula."""
    return name.replace("_", " ").replace("$", r"\$")


def draw_confusion(counts: Int64[np.ndarray, "classes classes"], classes: Sequence[str], part: str) -> Figure:
    """Which class is taken for which: shares of each row as colour, clips as numbers.

    Args:
        counts: clips of each class (rows) that were taken for each (columns).
        classes: in the order of the axes.
        part: that the clips are of, such as ``test``.
    """
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = min(16.0, 3.2 + 0.45 * len(classes))
    figure = Figure(figsize=(side + 0.8, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the class's clips", shrink=0.8)
    names = [legible(name) for name in classes]
    size = 9 if len(classes) <= MOST_CELLS_WITH_NUMBERS else 5
    axes.set_xticks(range(len(classes)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(len(classes)), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="label")
    if len(classes) <= MOST_CELLS_WITH_NUMBERS:
        for row, column in zip(*np.nonzero(counts)):
            colour = text_on(image.cmap(float(shares[row, column]))[:3])
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    correct = counts.trace() / max(1, counts.sum())
    axes.set_title(f"{counts.sum()} {part} clips, accuracy {correct:.3f}", fontsize=10)
    return figure


def draw_reliability(found: Reliability, title: str) -> Figure:
    """Share of correct predictions against their probability, with the number of predictions as bars below.

    Args:
        found: in bins; a calibrated classifier lies on the diagonal.
        title: above.
    """
    figure = Figure(figsize=(5.0, 5.6), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="calibrated")
    upper.plot(found.confidence, found.frequency, "o-", color=BLUE, markersize=5, label="these predictions")
    upper.set(ylabel="share that is correct", xlim=(0, 1), ylim=(0, 1.02))
    upper.set_title(title, fontsize=10)
    upper.legend(loc="upper left", frameon=False, fontsize=8)
    lower.bar(found.confidence, found.clips, width=0.06, color=BLUE)
    lower.set(xlabel="probability of the prediction", ylabel="clips")
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def curves(
    lines: Sequence[tuple[str, Float[np.ndarray, "points"], Float[np.ndarray, "points"]]],
    labels: Sequence[str],
    axes_names: tuple[str, str],
    title: str,
    *,
    diagonal: bool,
) -> Figure:
    """Curves in the unit square.

    Args:
        lines: name, x and y of each; those without a label are drawn in grey, behind the others.
        labels: what the legend says of the first of them.
        axes_names: of x and y.
        title: above.
        diagonal: draw the line of a guess.
    """
    figure = Figure(figsize=(7.4, 5.0), dpi=110, layout="constrained")
    axes = figure.subplots()
    if diagonal:
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    for _, x, y in lines[len(labels) :]:
        axes.plot(x, y, color=GREY, alpha=0.3, linewidth=0.8)
    from matplotlib import colormaps

    palette = colormaps["tab20" if len(labels) > 10 else "tab10"]
    for place, ((_, x, y), label) in enumerate(zip(lines, labels)):
        axes.plot(x, y, color=palette(place), linewidth=1.5, label=label)
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1], xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def sheet(
    pictures: Sequence[Sequence[Float[np.ndarray, "..."]]],
    captions: Sequence[str],
    seconds: float,
    title: str,
    names: Sequence[str] = ("",),
) -> Figure:
    """Spectrograms side by side.

    Args:
        pictures: of every clip one or more, which stand one above the other: ``[bins, frames]`` with low frequencies
            first, or waveforms ``[samples]``.
        captions: of every clip; may have several lines.
        seconds: length of a clip.
        title: above all.
        names: of the pictures of a clip.
    """
    across, kinds = min(PER_ROW, len(pictures)), len(names)
    rows = -(-len(pictures) // across)
    figure = Figure(figsize=(0.5 + 2.9 * across, 0.5 + (1.1 + 1.1 * kinds) * rows), dpi=100, layout="constrained")
    grid = figure.subplots(rows * kinds, across, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for place, (kept, caption) in enumerate(zip(pictures, captions)):
        row, column = divmod(place, across)
        for kind, picture in enumerate(kept):
            axes = grid[row * kinds + kind, column]
            axes.set_visible(True)
            draw(axes, picture, seconds)
            if kind == 0:
                axes.set_title(caption, fontsize=8)
            if column == 0 and names[kind]:
                axes.set_ylabel(names[kind], fontsize=8)
            if kind == kinds - 1:
                axes.set_xlabel("s", fontsize=7, labelpad=1)
            else:
                axes.set_xticks([])
    figure.suptitle(title, fontsize=10)
    return figure


def draw(axes: Axes, picture: Float[np.ndarray, "..."], seconds: float) -> None:
    """A spectrogram ``[bins, frames]`` or a waveform ``[samples]`` over the time."""
    if picture.ndim == 1:
        axes.plot(np.linspace(0, seconds, len(picture)), picture, color=BLUE, linewidth=0.4)
        axes.set_xlim(0, seconds)
    else:
        extent = (0, seconds, 0, picture.shape[0])
        axes.imshow(picture, origin="lower", aspect="auto", cmap="magma", extent=extent, interpolation="nearest")
    axes.set_yticks([])
    axes.tick_params(labelsize=7)


def picture(values: Float[np.ndarray, "..."], *, width: int = 240, height: int = 128) -> bytes:
    """A single spectrogram (or waveform) without axes."""
    if values.ndim == 1:
        figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        draw(axes, values, 1.0)
        axes.set_axis_off()
        return png(figure)
    from matplotlib import colormaps
    from PIL import Image

    span = values.max() - values.min()
    colours = colormaps["magma"]((values[::-1] - values.min()) / (span if span > 0 else 1), bytes=True)[..., :3]
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).resize((width, height), Image.Resampling.NEAREST).save(
        content, "PNG"
    )
    return content.getvalue()
