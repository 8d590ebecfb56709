"""Pictures of one run, drawn from its files alone."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2563a6", "#d9730d", "#6b7280"
MOST_CELLS_WITH_NUMBERS = 35
"""Classes up to which a confusion matrix says its numbers in figures, too."""


def draw_run(folder: Path) -> list[Path]:
    """Draw ``curves.png`` and ``confusion_matrix.png`` of a finished run.

    Args:
        folder: with ``history.csv`` and ``predictions.csv``.

    Returns:
        The files written.
    """
    history = pd.read_csv(folder / "history.csv")
    predictions = pd.read_csv(folder / "predictions.csv", dtype={"label": str, "predicted": str})
    prefix = "probability "
    classes = [name.removeprefix(prefix) for name in predictions.columns if name.startswith(prefix)]
    files = []
    for name, figure in (
        ("curves.png", curves(history)),
        ("confusion_matrix.png", confusion_matrix(predictions, classes)),
    ):
        files.append(folder / name)
        FigureCanvasAgg(figure).print_png(str(files[-1]))
    return files


def curves(history: pd.DataFrame) -> Figure:
    """Loss and accuracy of training and validation over the epochs, and the learning rate.

    Args:
        history: one row an epoch, as ``history.csv`` has it.
    """
    figure = Figure(figsize=(10, 3.6), dpi=120, layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3, width_ratios=[4, 4, 2.4])
    epochs = history["epoch"]
    marker = "o" if len(epochs) == 1 else None
    for axes, metric in ((loss, "loss"), (accuracy, "accuracy")):
        for part, colour in (("train", GREY), ("validation", BLUE)):
            name = f"{part}/{metric}"
            if name in history:
                axes.plot(epochs, history[name], color=colour, label=part, marker=marker)
        axes.set(title=metric.capitalize(), xlabel="epoch")
    accuracy.set_ylim(0, 1.02)
    if "validation/accuracy" in history:
        best = int(history["validation/accuracy"].to_numpy().argmax())
        accuracy.plot(epochs.iloc[best], history["validation/accuracy"].iloc[best], "o", color=ORANGE, label="highest")
    rate.plot(epochs, history["learning_rate"], color=GREY, marker=marker)
    rate.set(title="Learning rate", xlabel="epoch", ylim=(0, None))
    for axes in (loss, accuracy, rate):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    if loss.lines:
        loss.legend(frameon=False)
    if accuracy.lines:
        accuracy.legend(frameon=False, loc="lower right")
    return figure


def confusion_matrix(predictions: pd.DataFrame, classes: list[str]) -> Figure:
    """Which class is taken for which: shares of each row as colour, clips as numbers.

    Args:
        predictions: with the columns ``label`` and ``predicted``.
        classes: in the order of the axes.
    """
    index = {name: position for position, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (predictions["label"].map(index), predictions["predicted"].map(index)), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = min(16.0, 3.2 + 0.45 * len(classes))
    figure = Figure(figsize=(side + 0.8, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the class's clips", shrink=0.8)
    names = [name.replace("_", " ") for name in classes]
    size = 9 if len(classes) <= MOST_CELLS_WITH_NUMBERS else 5
    axes.set_xticks(range(len(classes)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(len(classes)), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="label")
    if len(classes) <= MOST_CELLS_WITH_NUMBERS:
        for row, column in zip(*np.nonzero(counts)):
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    correct = counts.trace() / max(1, counts.sum())
    axes.set_title(f"{counts.sum()} test clips, accuracy {correct:.3f}", fontsize=10)
    return figure
