"""Plots of a run, drawn from the files of its folder."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from audio_lightning.core.errors import FileError, UserError
from audio_lightning.core.files import disk_trouble, read_frame, write_bytes
from audio_lightning.figures.evaluation import (
    BLUE,
    GREY,
    ORANGE,
    draw_confusion,
    draw_reliability,
    legible,
    png,
    set_title,
)
from audio_lightning.figures.text import class_label, text_columns, text_inches
from audio_lightning.metrics.calibration import reliability
from audio_lightning.run_folder import RunFolder

MOST_INCHES = 80.0
"""Maximum height of a figure in inches; the height grows with the number of classes."""

USUAL_NAME = 20
"""Maximum width of class names, in columns, for which a bar chart is not widened."""


def draw_run(folder: Path) -> list[Path]:
    """Draw ``curves.png`` of a finished run, and figures of its test results.

    These are ``confusion_matrix.png`` and ``reliability.png`` or, for multi-label clips, ``average_precision.png``.

    Args:
        folder: run folder with ``history.csv``, and with ``predictions.csv`` and ``per_class.csv`` if it was tested.

    Returns:
        The files written.
    """
    files = RunFolder(folder)
    title, best_epoch = run_title(folder), _best_epoch(files)
    figures = {"curves.png": curves(files.read_history(), best_epoch=best_epoch)}
    if files.lr_finder.exists():
        figures["lr_finder.png"] = lr_finder(read_frame(files.lr_finder))
    if files.per_class.exists():
        figures |= _of_test(files)
    # The curves come last: draw_runs skips a run that has them.
    for name, figure in sorted(figures.items(), key=lambda entry: entry[0] == "curves.png"):
        set_title(figure, title, color=GREY)
        write_bytes(folder / name, png(figure))
    return [folder / name for name in figures]


def draw_runs(folders: Iterable[Path]) -> None:
    """Draw the figures of the finished runs that have none yet; one line on standard error for each that fails."""
    for folder in folders:
        if not (folder / "curves.png").exists():
            try:
                draw_run(folder)
            except (FileError, OSError) as error:
                reason = str(error) if isinstance(error, FileError) else disk_trouble(error)
                if reason is None:
                    raise
                print(f"no plots: {reason}", file=sys.stderr, flush=True)


def run_title(folder: Path) -> str:
    """Return the title of the figures of a run: ``CNN, LogMel, UrbanSound8K, seed 0 - runs/first``."""
    place = "/".join(folder.absolute().parts[-2:])
    try:
        config = RunFolder(folder).read_config()
    except UserError:  # the figures need nothing else of the configuration
        return legible(place)
    targets = [OmegaConf.select(config, f"{name}._target_") for name in ("model", "feature", "data")]
    words = [str(target).rpartition(".")[2] for target in targets if target]
    seed = config.get("seed")
    return legible(" - ".join([", ".join([*words, f"seed {seed}"]), place] if words else [place]))


def _best_epoch(files: RunFolder) -> int | None:
    """Epoch whose weights were kept; None if the run has not ended."""
    try:
        found = files.read_metrics().get("best_epoch")
    except FileError:
        return None
    return found if isinstance(found, int) else None


def _of_test(files: RunFolder) -> dict[str, Figure]:
    per_class = files.read_per_class()
    if "average_precision" in per_class:
        return {"average_precision.png": average_precision(per_class)}
    predictions = files.read_predictions(files.predictions)
    return {
        "confusion_matrix.png": confusion_matrix(predictions, list(per_class["class"])),
        "reliability.png": reliability_diagram(predictions),
    }


def curves(history: pd.DataFrame, *, best_epoch: int | None = None) -> Figure:
    """Draw loss and accuracy (multi-label: mean average precision) over the epochs, and the learning rate.

    Args:
        history: ``history.csv``, one row per epoch.
        best_epoch: epoch to mark, whose weights were kept; None if it is not known.
    """
    quality = "mean_average_precision" if "validation/mean_average_precision" in history else "accuracy"
    figure = Figure(figsize=(10, 3.9), dpi=120, layout="constrained")
    loss, right, rate = figure.subplots(1, 3, width_ratios=[4, 4, 2.4])
    epochs = history["epoch"]
    marker = "o" if len(epochs) == 1 else None
    for axes, metric in ((loss, "loss"), (right, quality)):
        for part, colour in (("train", GREY), ("validation", BLUE)):
            name = f"{part}/{metric}"
            if name in history:
                axes.plot(epochs, history[name], color=colour, label=part, marker=marker)
        axes.set(title=metric.replace("_", " ").capitalize(), xlabel="epoch")
    right.set_ylim(0, 1.02)
    if best_epoch is not None:
        for axes in (loss, right):
            axes.axvline(best_epoch, color=ORANGE, linestyle="--", linewidth=1.2, label=f"best epoch ({best_epoch})")
    rate.plot(epochs, history["learning_rate"], color=GREY, marker=marker)
    rate.set(title="Learning rate", xlabel="epoch", ylim=(0, None))
    for axes in (loss, right, rate):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    if named := {str(line.get_label()): line for axes in (loss, right) for line in axes.lines}:
        # Below the axes, where it hides no curve.
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named), frameon=False)
    return figure


def lr_finder(tried: pd.DataFrame) -> Figure:
    """Draw the loss against the learning rates of the learning rate finder.

    Args:
        tried: ``lr_finder.csv``, one row per learning rate.
    """
    figure = Figure(figsize=(5, 3.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(tried["learning_rate"], tried["loss"], ".", color=GREY, markersize=4, label="loss of a batch")
    mean = tried["loss"].rolling(11, center=True, min_periods=6).mean()
    axes.plot(tried["learning_rate"], mean, color=BLUE, label="moving average of 11 batches")
    axes.set(title="Learning rate finder", xlabel="learning rate", ylabel="loss", xscale="log")
    axes.set_ylim(0, 2 * tried["loss"].head(20).mean())
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def confusion_matrix(predictions: pd.DataFrame, classes: list[str]) -> Figure:
    """Draw the confusion matrix of test predictions (:func:`audio_lightning.figures.evaluation.draw_confusion`).

    Args:
        predictions: table with the columns ``label`` and ``predicted``.
        classes: class names in the order of the axes.
    """
    index = {name: position for position, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (predictions["label"].map(index), predictions["predicted"].map(index)), 1)
    return draw_confusion(counts, classes, "test")


def reliability_diagram(predictions: pd.DataFrame) -> Figure:
    """Draw the reliability diagram of test predictions (:func:`audio_lightning.figures.evaluation.draw_reliability`).

    Args:
        predictions: table with the columns ``label``, ``predicted``, and ``probability CLASS`` for each class.
    """
    names = [name for name in predictions.columns if name.startswith("probability ")]
    probabilities = predictions[names].to_numpy(dtype=float)
    found = reliability(probabilities.max(axis=1), (predictions["label"] == predictions["predicted"]).to_numpy())
    return draw_reliability(found, f"{len(predictions)} test clips, calibration error {found.error:.3f} in ten bins")


def average_precision(per_class: pd.DataFrame) -> Figure:
    """Draw the average precision of each class as a bar, highest first, with its number of test clips.

    Args:
        per_class: table with the columns ``class``, ``average_precision`` (NaN if no clip has the label) and ``clips``.
    """
    table = per_class.sort_values("average_precision", kind="stable", ascending=False, ignore_index=True)
    scores = table["average_precision"]
    height = min(MOST_INCHES, 1.2 + 0.25 * len(table))
    size = min(9.0, 0.7 * 72 * height / len(table))
    names = [class_label(name) for name in table["class"]]
    width = 7 + text_inches(max(0, max(map(text_columns, names), default=0) - USUAL_NAME), size)
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    places = range(len(table))
    axes.barh(places, scores.fillna(0), color=BLUE)
    axes.set_yticks(places, names, fontsize=size)
    for place, score, clips in zip(places, scores.fillna(0), table["clips"]):
        axes.text(score + 0.01, place, f"{clips} clip{'s' * (clips != 1)}", va="center", fontsize=size, color=GREY)
    axes.set(xlabel="average precision", xlim=(0, 1.15), ylim=(len(table) - 0.5, -0.5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"mean {scores.mean():.3f} over {scores.notna().sum()} classes", fontsize=10)
    return figure
