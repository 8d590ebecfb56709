"""What the out-of-fold predictions of a fit are wrong about: classes from worst to best, and clips to listen to."""

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
from audio_lightning.report.mistakes import Confusion, Explain, to_hear, with_certainty

PREFIX = "probability "
"""Columns that hold probabilities begin with it."""

MOST_CLIPS = 12
"""Clips that can be heard; at most 4 MB."""


@dataclass(frozen=True)
class ClassScore:
    """How well a class is recognized out of fold.

    Attributes:
        name: of the class.
        clips: number of clips that have the label.
        score: average precision where clips may have several labels, else F1; None where no clip has the label.
        precision, recall: None where nothing defines them.
        confused: the class that its clips are most often taken for, and how often; None where clips may have several
            labels, or none is.
    """

    name: str
    clips: int
    score: float | None
    precision: float | None
    recall: float | None
    confused: tuple[str, int] | None = None


@dataclass(frozen=True)
class Answers:
    """Out-of-fold predictions, looked at.

    Attributes:
        clips: number of predictions.
        wrong: number of those that are wrong; where clips may have several labels, in any of them.
        classes: the worst first, those without a clip last.
        confusion: None where clips may have several labels.
        heard: see :func:`audio_lightning.report.mistakes.to_hear`; wrong predictions, the most confident first.
        unread: why a recording cannot be heard, if one cannot.
        commonest: share of the most frequent class; None where clips may have several labels.
    """

    clips: int
    wrong: int
    classes: list[ClassScore]
    confusion: Confusion | None
    heard: list[dict[str, Any]]
    unread: str | None
    commonest: float | None


def read_answers(folder: FitFolder, *, multilabel: bool, explain: Explain | None = None) -> Answers | None:
    """The out-of-fold predictions of a fit; None where there are none.

    Args:
        folder: of the fit.
        multilabel: whether clips may have several labels.
        explain: see :func:`audio_lightning.report.mistakes.to_hear`.

    Raises:
        FileError: ``out_of_fold.csv`` is damaged.
    """
    if not folder.out_of_fold.exists():
        return None
    table = folder.read_out_of_fold()
    classes = [name.removeprefix(PREFIX) for name in table.columns if name.startswith(PREFIX)]
    for name, value in (("start_seconds", 0.0), ("end_seconds", np.nan)):  # whole recordings have no window
        table[name] = table[name].fillna(value) if name in table else value
    table = table.assign(folder=str(_a_run(folder)))
    if table.empty or not classes:
        return None
    looked_at = _several if multilabel else _single
    return looked_at(table, classes, folder.out_of_fold, explain)


def _a_run(folder: FitFolder) -> Path:
    """A training, whose configuration says where the recordings are."""
    found = (trial.path for trial, _ in folder.sweep.folders() if trial.config.is_file())
    return next(found, folder.trials)


def _single(table: pd.DataFrame, classes: list[str], file: Path, explain: Explain | None) -> Answers:
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
    heard, unread = to_hear(_most_certain(wrong), explain)
    confusion = Confusion(classes, counts, 1, len(table), table)
    commonest = float(labelled.max() / len(table))
    return Answers(len(table), len(wrong), _ordered(scores), confusion, heard, unread, commonest)


def _several(table: pd.DataFrame, classes: list[str], file: Path, explain: Explain | None) -> Answers:
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
    heard, unread = to_hear(_most_certain(found[wrong]), explain)
    return Answers(len(table), int(wrong.sum()), _ordered(scores), None, heard, unread, None)


def _worst_labels(
    table: pd.DataFrame,
    classes: list[str],
    targets: Bool[np.ndarray, "clips classes"],
    guesses: Bool[np.ndarray, "clips classes"],
    probabilities: Float[np.ndarray, "clips classes"],
) -> pd.DataFrame:
    """For every clip the wrong label that is most certain: its probability, or that of its absence, in words."""
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
        raise FileError(f"{file} is damaged: no column has the probability of {shortened(unknown[0])}")
