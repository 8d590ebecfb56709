"""Summary run of a fit in W&B, TensorBoard and MLflow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch.loggers import Logger

from audio_lightning.compare.fit_summary import FitFolder, FitSummary
from audio_lightning.config import compose, user_extensions
from audio_lightning.figures import evaluation as figures
from audio_lightning.fit.run_names import name_run
from audio_lightning.loggers.loggers import RunLogger, why
from audio_lightning.loggers.media.items import Cell, Confusion, Item, Table
from audio_lightning.loggers.media.writers import show, shows_media
from audio_lightning.report.fit_page import leaderboard
from audio_lightning.run_folder import RunFolder
from audio_lightning.sweeps.wandb_summary import print_unsent
from audio_lightning.training.trainer import make_loggers

MOST_CLASSES = 50
"""Maximum number of classes for which the confusion matrix is also logged as a table."""

SUMMARY = "summary"
"""Name of the summary run."""


def log_fit(folder: FitFolder, summary: FitSummary, lines: Sequence[str], config_dir: str | None = None) -> None:
    """Log a run ``summary``: leaderboard, expected metric and confusion matrix of the ensemble.

    With ``logger.wandb.registry``, the ensemble is linked to it. Logging never fails the fit; an error is
    reported in one line.

    Args:
        folder: folder of the fit, in which ``out_of_fold.csv`` has been written.
        summary: summary of the fit.
        lines: overrides of its trainings; without a logger that supports tables, nothing is logged.
        config_dir: folder of ``--config-dir``.
    """
    own = [line for line in lines if line.partition("=")[0].lstrip("+~").partition(".")[0] == "logger"]
    if not own:
        return
    try:
        with user_extensions(lines, config_dir):
            config = compose(own)
            name_run(config, folder.path, SUMMARY, own, job_type="fit")
            files = RunFolder(folder.path)
            loggers = make_loggers(config, files)
        shown = [logger for logger in loggers if shows_media(logger)]
        items = fit_items(folder, summary) if shown else []
        for logger in shown:
            _log(logger, summary, items, [path for path in (folder.model, files.card) if path.is_file()])
        print_unsent(folder.sweep)
    except Exception as error:  # loggers may raise anything, and the model is already written
        print(f"logger: the summary of the fit could not be logged: {why(error)}", flush=True)


def fit_items(folder: FitFolder, summary: FitSummary) -> list[Item]:
    """Make the tables of a fit, and the confusion matrix for single-label tasks."""
    names = ("name", "state", "weight", "validation", "out_of_fold", "seconds", "epochs", "step_ms", "title", "why")
    rows = [[_cell(getattr(found, name)) for name in names] for found in leaderboard(summary)]
    items: list[Item] = [Table("fit/leaderboard", names, rows)]
    if (found := summary.result) is not None:
        values = {"expected": found.expected, "low": found.low, "high": found.high, "apparent": found.apparent}
        row = [found.metric, *map(_cell, values.values()), found.unit]
        items.append(Table("fit/after_selection", ["metric", *values, "interval over"], [row]))
    if summary.learning:
        points = [[point.share, point.value] for point in summary.learning]
        items.append(Table("fit/learning_curve", ["share of the recordings", summary.metric], points))
    if folder.out_of_fold.is_file() and not summary.multilabel:
        items += _confusion(folder.read_out_of_fold(), summary.classes)
    return items


def _confusion(answers: pd.DataFrame, classes: Sequence[str]) -> list[Item]:
    place = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (answers["label"].map(place), answers["predicted"].map(place)), 1)
    png = figures.png(figures.draw_confusion(counts, classes, "out-of-fold"))
    items: list[Item] = [Confusion("fit/confusion_matrix", png, classes, counts)]
    if len(classes) <= MOST_CLASSES:
        rows: list[list[Cell]] = [[name, *map(int, row)] for name, row in zip(classes, counts)]
        items.append(Table("fit/confusion_counts", ["label", *classes], rows))
    return items


def _log(logger: Logger, summary: FitSummary, items: Sequence[Item], model: Sequence[Path]) -> None:
    try:
        for item in items:
            show(logger, item, 0)
        if isinstance(logger, RunLogger):
            logger.log_summary(_figures(summary))
            logger.link_model(model)
    except BaseException:
        _end(logger, 1)
        raise
    _end(logger, 0)


def _figures(summary: FitSummary) -> dict[str, Any]:
    found: dict[str, Any] = {"preset": summary.preset, "metric": summary.metric}
    found["candidates"] = len(summary.candidates)
    if summary.result is not None:
        found[f"expected/{summary.result.metric}"] = summary.result.expected
        for end in ("low", "high"):
            if (value := getattr(summary.result, end)) is not None:
                found[f"expected/{summary.result.metric}_{end}"] = value
    return found


def _end(logger: Logger, exit_code: int) -> None:
    if isinstance(logger, RunLogger):
        logger.finish(exit_code)
    else:
        logger.finalize("failed" if exit_code else "success")


def _cell(value: Cell | None) -> Cell:
    return float("nan") if value is None else value
