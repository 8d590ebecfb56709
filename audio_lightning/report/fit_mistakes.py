"""Out-of-fold results of a fit: scores per class, confusion matrix and wrong predictions with audio."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from audio_lightning.compare.fit_summary import FitFolder
from audio_lightning.core.errors import FileError
from audio_lightning.core.files import shortened
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.report.mistakes import Confusion, Explain, playable_clips, with_certainty

PREFIX = "probability "
"""Prefix of the columns with probabilities."""

MOST_CLIPS = 12
"""Largest number of clips with audio, at most 4 MB together."""


@dataclass(frozen=True)
class ClassScore:
    """Out-of-fold scores of a class.

    Attributes:
        name: name of the class.
        clips: number of clips with the label.
        score: F1 or, for multi-label clips, average precision; None if no clip has the label.
        precision, recall: precision and recall of the class; None if undefined.
        confused: most frequent wrong prediction for clips of the class, and its count; None without one, and for
            multi-label clips.
    """

    name: str
    clips: int
    score: float | None
    precision: float | None
    recall: float | None
    confused: tuple[str, int] | None = None


@dataclass(frozen=True)
class OutOfFoldResults:
    """Summary of the out-of-fold predictions of a fit.

    Attributes:
        clips: number of predictions.
        wrong: number of wrong predictions; for multi-label clips, with any wrong label.
        classes: scores of the classes, worst first, classes without clips last.
        confusion: confusion matrix; None for multi-label clips.
        mistakes: wrong predictions, most confident first, see
            :func:`audio_lightning.report.mistakes.playable_clips`.
        unreadable: reason why a recording cannot be played; None if all can be played.
        majority_share: share of the most frequent class; None for multi-label clips.
    """

    clips: int
    wrong: int
    classes: list[ClassScore]
    confusion: Confusion | None
    mistakes: list[dict[str, Any]]
    unreadable: str | None
    majority_share: float | None


def out_of_fold_results(
    folder: FitFolder, *, multilabel: bool, explain: Explain | None = None
) -> OutOfFoldResults | None:
    """Summarize the out-of-fold predictions of a fit; None if there are none.

    Args:
        folder: folder of the fit.
        multilabel: whether clips may have several labels.
        explain: see :func:`audio_lightning.report.mistakes.playable_clips`.

    Raises:
        FileError: ``out_of_fold.csv`` is damaged.
    """
    if not folder.out_of_fold.exists():
        return None
    table = folder.read_out_of_fold()
    classes = [name.removeprefix(PREFIX) for name in table.columns if name.startswith(PREFIX)]
    for name, value in (("start_seconds", 0.0), ("end_seconds", np.nan)):  # whole recordings have no window
        table[name] = table[name].fillna(value) if name in table else value
    table = table.assign(folder=str(_any_run(folder)))
    if table.empty or not classes:
        return None
    summarize = _multilabel if multilabel else _single_label
    return summarize(table, classes, folder.out_of_fold, explain)


def _any_run(folder: FitFolder) -> Path:
    """Folder of any training of the fit; its configuration has the folder of the recordings."""
    found = (trial.path for trial, _ in folder.sweep.folders() if trial.config.is_file())
    return next(found, folder.trials)


def _single_label(table: pd.DataFrame, classes: list[str], file: Path, explain: Explain | None) -> OutOfFoldResults:
    _check_known(table["label"], classes, file)
    table = with_certainty(table, file)
    place = {name: number for number, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (table["label"].map(place), table["predicted"].map(place)), 1)
    hits, labelled, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    off = counts * ~np.eye(len(classes), dtype=bool)
    scores = [
        ClassScore(
            name,
            int(labelled[row]),
            float(2 * hits[row] / (labelled[row] + predicted[row])) if labelled[row] else None,
            _ratio(hits[row], predicted[row]),
            _ratio(hits[row], labelled[row]),
            (classes[off[row].argmax()], int(off[row].max())) if off[row].any() else None,
        )
        for row, name in enumerate(classes)
    ]
    wrong = table[table["label"] != table["predicted"]]
    wrong = wrong.assign(title=wrong["label"] + " predicted as " + wrong["predicted"], explained=wrong["predicted"])
    mistakes, unreadable = playable_clips(_most_certain(wrong), explain)
    confusion = Confusion(classes, counts, 1, len(table), table)
    majority = float(labelled.max() / len(table))
    return OutOfFoldResults(len(table), len(wrong), _ordered(scores), confusion, mistakes, unreadable, majority)


def _multilabel(table: pd.DataFrame, classes: list[str], file: Path, explain: Explain | None) -> OutOfFoldResults:
    import torch

    from audio_lightning.metrics.multilabel import average_precision

    targets, guesses = (_labels(table[name], classes, file) for name in ("label", "predicted"))
    probabilities = table[[PREFIX + name for name in classes]].to_numpy(dtype=float)
    hits, labelled, predicted = (found.sum(axis=0) for found in (targets & guesses, targets, guesses))
    scores = []
    for column, name in enumerate(classes):
        precision = average_precision(
            torch.from_numpy(probabilities[:, column].copy()), torch.from_numpy(targets[:, column].copy())
        )
        ratios = _ratio(hits[column], predicted[column]), _ratio(hits[column], labelled[column])
        scores.append(ClassScore(name, int(labelled[column]), float(precision) if labelled[column] else None, *ratios))
    wrong = (targets != guesses).any(axis=1)
    found = _worst_labels(table, classes, targets, guesses, probabilities)
    mistakes, unreadable = playable_clips(_most_certain(found[wrong]), explain)
    return OutOfFoldResults(len(table), int(wrong.sum()), _ordered(scores), None, mistakes, unreadable, None)


def _worst_labels(
    table: pd.DataFrame,
    classes: list[str],
    targets: Bool[np.ndarray, "clips classes"],
    guesses: Bool[np.ndarray, "clips classes"],
    probabilities: Float[np.ndarray, "clips classes"],
) -> pd.DataFrame:
    """The most confident wrong label of each clip: a false positive, or a missed label by its complement."""
    certainty = np.where(guesses, probabilities, 1 - probabilities)
    certainty = np.where(targets != guesses, np.nan_to_num(certainty), -1.0)
    worst = certainty.argmax(axis=1)
    rows = np.arange(len(table))
    titles = [
        f"{classes[column]} {'predicted' if guesses[row, column] else 'missed'}, labelled "
        + (label.replace(LABEL_SEPARATOR, ", ") or "as none of the classes")
        for row, (column, label) in enumerate(zip(worst, table["label"]))
    ]
    names = [classes[column] for column in worst]
    return table.assign(
        title=titles, explained=names, order=certainty[rows, worst], certainty=probabilities[rows, worst]
    )


def _most_certain(wrong: pd.DataFrame) -> pd.DataFrame:
    by = "order" if "order" in wrong else "certainty"
    found = wrong.sort_values(by, ascending=False, kind="stable")
    return found.drop_duplicates(["path", "start_seconds"]).head(MOST_CLIPS)


def _ordered(scores: list[ClassScore]) -> list[ClassScore]:
    return sorted(scores, key=lambda found: (found.score is None, found.score or 0.0, -found.clips))


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _labels(column: "pd.Series[str]", classes: list[str], file: Path) -> Bool[np.ndarray, "clips classes"]:
    place = {name: number for number, name in enumerate(classes)}
    split = [[name for name in entry.split(LABEL_SEPARATOR) if name] for entry in column]
    _check_known([name for entry in split for name in entry], classes, file)
    found = np.zeros((len(split), len(classes)), dtype=bool)
    for row, entry in enumerate(split):
        found[row, [place[name] for name in entry]] = True
    return found


def _check_known(labels: "list[str] | pd.Series[str]", classes: list[str], file: Path) -> None:
    if unknown := sorted(set(labels) - set(classes)):
        raise FileError(f"{file}: damaged, no column 'probability {shortened(unknown[0])}'; run the fit again")
