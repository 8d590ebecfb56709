"""Confusion matrices, reliability diagrams, curves and sheets of spectrograms.

The colours are from the palette of Okabe and Ito (2008), which readers with any colour vision can tell apart, or close
to it. Curves also differ in line style. Figures have a white background, so that they are readable on dark pages.
"""

import io
import textwrap
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from audio_lightning.figures.colours import text_on
from audio_lightning.figures.text import class_label, set_fonts, text_columns, text_inches
from audio_lightning.figures.text import legible as legible
from audio_lightning.metrics.calibration import Reliability

BLUE, ORANGE, GREY = "#2563a6", "#d9730d", "#6b7280"

OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours of curves: the palette of Okabe and Ito (2008) without its yellow, which is too light for lines on white."""

LINE_STYLES = ("-", "--", ":", "-.")
"""Line style of the first seven curves, of the next seven, and so on."""

MOST_CELLS_WITH_NUMBERS = 35
"""Largest number of classes for which the cells of a confusion matrix show their counts."""

LONG_NAME = 20
"""Width of a class name in columns above which the columns of a confusion matrix are numbered instead of named."""

USUAL_NAME = 12
"""Maximum width of class names, in columns, for which a figure is not widened."""

PER_ROW = 4
"""Number of spectrograms in a row of a sheet."""


def png(figure: Figure) -> bytes:
    """Return the figure as the content of a PNG file."""
    content = io.BytesIO()
    set_fonts(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # set_fonts names a font to install
        FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()


def set_title(figure: Figure, title: str, *, size: float = 10, color: str | None = None) -> None:
    """Set the title above all axes, in as many lines as the width of the figure requires.

    Args:
        figure: figure with its final width.
        title: text of any length.
        size: font size in points.
        color: colour of the text; None: matplotlib's default.
    """
    columns = int(figure.get_figwidth() / text_inches(1, size))
    figure.suptitle(textwrap.fill(title, columns), fontsize=size, color=color)


def draw_confusion(counts: Int64[np.ndarray, "classes classes"], classes: Sequence[str], part: str) -> Figure:
    """Draw a confusion matrix: the share of each row as colour, and the counts in the cells.

    If a class name is long, the classes are numbered: rows have number and name, columns only the number.

    Args:
        counts: number of clips by label (rows) and prediction (columns).
        classes: class names in the order of the axes.
        part: split of the clips, such as ``test``.
    """
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    names = [class_label(name) for name in classes]
    size = 9 if len(classes) <= MOST_CELLS_WITH_NUMBERS else 5
    numbered = max(map(text_columns, names), default=0) > LONG_NAME
    rows = [f"{name}  {number}" for number, name in enumerate(names, 1)] if numbered else names
    side = min(16.0, 3.2 + 0.45 * len(classes))
    figure = Figure(figsize=(side + 0.8 + _room(rows, size), side), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the class's clips", shrink=0.8)
    if numbered:
        axes.set_xticks(range(len(classes)), [str(number + 1) for number in range(len(classes))], fontsize=size)
    else:
        axes.set_xticks(range(len(classes)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(len(classes)), rows, fontsize=size)
    if numbered:
        axes.set(xlabel="predicted (columns) and label (rows)")
    else:
        axes.set(xlabel="predicted", ylabel="label")
    if len(classes) <= MOST_CELLS_WITH_NUMBERS:
        for row, column in zip(*np.nonzero(counts)):
            colour = text_on(image.cmap(float(shares[row, column]))[:3])
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    correct = counts.trace() / max(1, counts.sum())
    axes.set_title(f"{counts.sum()} {part} clips, accuracy {correct:.3f}", fontsize=10)
    return figure


def draw_reliability(found: Reliability, title: str) -> Figure:
    """Draw a reliability diagram: accuracy against confidence, and the number of predictions as bars below.

    Args:
        found: values of the bins; those of a calibrated classifier lie on the diagonal.
        title: title of the figure.
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
    """Draw curves in the unit square, such as ROC curves.

    Args:
        lines: name, x and y of each curve; those without a label are drawn in grey, behind the others.
        labels: legend entries of the first curves.
        axes_names: labels of the x and y axes.
        title: title of the figure.
        diagonal: draw the diagonal, the ROC curve of random guessing.
    """
    figure = Figure(figsize=(7.4 + _room(labels, 8, 24), 5.0), dpi=110, layout="constrained")
    axes = figure.subplots()
    if diagonal:
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    for _, x, y in lines[len(labels) :]:
        axes.plot(x, y, color=GREY, alpha=0.3, linewidth=0.8)
    for place, ((_, x, y), label) in enumerate(zip(lines, labels)):
        style, colour = divmod(place, len(OKABE_ITO))
        line_style = LINE_STYLES[style % len(LINE_STYLES)]
        axes.plot(x, y, color=OKABE_ITO[colour], linestyle=line_style, linewidth=1.5, label=label)
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
    """Draw a sheet of spectrograms, :data:`PER_ROW` clips in a row.

    Args:
        pictures: one or more pictures of each clip, drawn one below the other: spectrograms ``[bins, frames]`` with low
            frequencies first, or waveforms ``[samples]``.
        captions: caption of each clip; may have several lines.
        seconds: length of a clip in seconds.
        title: title of the figure.
        names: names of the pictures of a clip.
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
    """Draw a spectrogram ``[bins, frames]`` or a waveform ``[samples]`` over time in seconds."""
    if picture.ndim == 1:
        axes.plot(np.linspace(0, seconds, len(picture)), picture, color=BLUE, linewidth=0.4)
        axes.set_xlim(0, seconds)
    else:
        extent = (0, seconds, 0, picture.shape[0])
        axes.imshow(picture, origin="lower", aspect="auto", cmap="magma", extent=extent, interpolation="nearest")
    axes.set_yticks([])
    axes.tick_params(labelsize=7)


def picture(values: Float[np.ndarray, "..."], *, width: int = 240, height: int = 128) -> bytes:
    """Draw a spectrogram ``[bins, frames]`` or waveform ``[samples]`` without axes; return the content of a PNG file.

    Args:
        values: the spectrogram or waveform.
        width: width of the picture in pixels.
        height: height of the picture in pixels.
    """
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


def _room(labels: Sequence[str], size: float, usual: int = USUAL_NAME) -> float:
    """Return the inches by which a figure is widened for labels of more than ``usual`` columns."""
    return text_inches(max(0, max(map(text_columns, labels), default=0) - usual), size)
