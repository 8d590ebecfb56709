"""Plots of one run, drawn from the files of its folder."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from audio_lightning.core.errors import FileError, UserError
from audio_lightning.core.files import disk_trouble, read_frame, write_bytes
from audio_lightning.figures.evaluation import BLUE, GREY, ORANGE, draw_confusion, draw_reliability, legible, png
from audio_lightning.metrics.calibration import reliability
from audio_lightning.run_folder import RunFolder

MOST_INCHES = 80.0
"""Height up to which a picture grows with the number of classes."""


def draw_run(folder: Path) -> list[Path]:
    """Draw ``curves.png`` of a finished run, and ``confusion_matrix.png`` where it was tested.

    Where clips have several labels, no class is taken for another, and ``average_precision.png`` is drawn instead.
    ``reliability.png`` shows how far the probabilities can be trusted.

    Args:
        folder: with ``history.csv``, and ``predictions.csv`` and ``per_class.csv`` where it was tested.

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
    # The curves last: where they are, the others are, too (draw_runs).
    for name, figure in sorted(figures.items(), key=lambda entry: entry[0] == "curves.png"):
        figure.suptitle(title, fontsize=10, color=GREY)
        write_bytes(folder / name, png(figure))
    return [folder / name for name in figures]


def draw_runs(folders: Iterable[Path]) -> None:
    """Draw the figures of those finished runs that have none yet."""
    for folder in folders:
        if not (folder / "curves.png").exists():
            try:
                draw_run(folder)
            except (FileError, OSError) as error:
                said = str(error) if isinstance(error, FileError) else disk_trouble(error)
                if said is None:
                    raise
                print(f"no plots: {said}", file=sys.stderr, flush=True)


def run_title(folder: Path) -> str:
    """What was trained, and the folder: ``CNN, LogMel, UrbanSound8K, seed 0 - runs/first``."""
    place = "/".join(folder.absolute().parts[-2:])
    try:
        config = RunFolder(folder).read_config()
    except UserError:  # the plots need nothing else of it
        return legible(place)
    targets = [OmegaConf.select(config, f"{name}._target_") for name in ("model", "feature", "data")]
    words = [str(target).rpartition(".")[2] for target in targets if target]
    seed = config.get("seed")
    return legible(" - ".join([", ".join([*words, f"seed {seed}"]), place] if words else [place]))


def _best_epoch(files: RunFolder) -> int | None:
    """None for a run that has not ended."""
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
    """Loss and accuracy of training and validation over the epochs, and the learning rate.

    In place of the accuracy stands the mean average precision where clips have several labels.

    Args:
        history: one row an epoch, as ``history.csv`` has it.
        best_epoch: the epoch whose weights were kept, which is marked; None where that is not known.
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
        # Below the axes: within them it hides curves, and the mark of a late epoch crosses it.
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named), frameon=False)
    return figure


def lr_finder(tried: pd.DataFrame) -> Figure:
    """Loss over the learning rates that were tried before a training.

    Args:
        tried: one row a rate, as ``lr_finder.csv`` has it.
    """
    figure = Figure(figsize=(5, 3.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(tried["learning_rate"], tried["loss"], ".", color=GREY, markersize=4, label="of a batch")
    mean = tried["loss"].rolling(11, center=True, min_periods=6).mean()
    axes.plot(tried["learning_rate"], mean, color=BLUE, label="mean of eleven")
    axes.set(title="Learning rates tried", xlabel="learning rate", ylabel="loss", xscale="log")
    axes.set_ylim(0, 2 * tried["loss"].head(20).mean())
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def confusion_matrix(predictions: pd.DataFrame, classes: list[str]) -> Figure:
    """Which class is taken for which, see :func:`audio_lightning.figures.evaluation.draw_confusion`.

    Args:
        predictions: with the columns ``label`` and ``predicted``.
        classes: in the order of the axes.
    """
    index = {name: position for position, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (predictions["label"].map(index), predictions["predicted"].map(index)), 1)
    return draw_confusion(counts, classes, "test")


def reliability_diagram(predictions: pd.DataFrame) -> Figure:
    """How far the probabilities can be trusted, see :func:`audio_lightning.figures.evaluation.draw_reliability`.

    Args:
        predictions: with the columns ``label``, ``predicted``, and ``probability CLASS`` of every class.
    """
    names = [name for name in predictions.columns if name.startswith("probability ")]
    probabilities = predictions[names].to_numpy(dtype=float)
    found = reliability(probabilities.max(axis=1), (predictions["label"] == predictions["predicted"]).to_numpy())
    return draw_reliability(found, f"{len(predictions)} test clips, calibration error {found.error:.3f} in ten bins")


def average_precision(per_class: pd.DataFrame) -> Figure:
    """Average precision of every class as a bar, the highest at the top, with the number of its test clips.

    Args:
        per_class: with the columns ``class``, ``average_precision`` (NaN where no clip has the label) and ``clips``.
    """
    table = per_class.sort_values("average_precision", kind="stable", ascending=False, ignore_index=True)
    scores = table["average_precision"]
    height = min(MOST_INCHES, 1.2 + 0.25 * len(table))
    figure = Figure(figsize=(7, height), dpi=120, layout="constrained")
    axes = figure.subplots()
    places = range(len(table))
    axes.barh(places, scores.fillna(0), color=BLUE)
    size = min(9.0, 0.7 * 72 * height / len(table))
    axes.set_yticks(places, [legible(name) for name in table["class"]], fontsize=size)
    for place, score, clips in zip(places, scores.fillna(0), table["clips"]):
        axes.text(score + 0.01, place, f"{clips} clip{'s' * (clips != 1)}", va="center", fontsize=size, color=GREY)
    axes.set(xlabel="average precision", xlim=(0, 1.15), ylim=(len(table) - 0.5, -0.5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"mean {scores.mean():.3f} over {scores.notna().sum()} classes", fontsize=10)
    return figure
