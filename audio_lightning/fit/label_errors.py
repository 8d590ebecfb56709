"""Label errors: clips whose out-of-fold prediction contradicts the label, the worst first.

The method is confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels", Journal of Artificial Intelligence Research 70, 2021) in the library cleanlab. It estimates the number of wrong
labels of each class and prunes as many clips (by noise rate, which was best in the paper); these are marked
``confident``. Clips are ranked by self-confidence, the probability of their label. Clips beyond the confident ones are
listed, too, because the estimate is low if the networks are uncertain. For multi-label data, every class is examined
separately (Thyagarajan et al., "Identifying Incorrect Annotations in Multi-Label Classification Data", arXiv
2211.13895).
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.fit.ensemble_selection import SelectedEnsemble, SelectionSettings, combined, select_ensemble
from audio_lightning.fit.out_of_fold import OutOfFold, candidates_in, read_out_of_fold
from audio_lightning.fit.settings import METRICS

if TYPE_CHECKING:
    from types import ModuleType

COLUMNS = ("path", "start_seconds", "end_seconds", "group", "label", "predicted", "label_quality", "confident")

METHOD: dict[str, Any] = {
    "filter_by": "prune_by_noise_rate",
    "return_indices_ranked_by": "self_confidence",
    "n_jobs": 1,
}

THRESHOLD = 0.5
"""Decision threshold for multi-label data."""

LEAST_CLASSES = 2

MOST_MEMBERS = 3
"""Maximum number of candidates in the ensemble that is compared with the labels."""

GOOD = 0.8
"""Accuracy or mean average precision below which wrong predictions far outnumber wrong labels; few data sets have more
than 10 % wrong labels."""


@dataclass(frozen=True)
class LabelAudit:
    """Result of a label audit.

    Attributes:
        errors: see :func:`find_label_errors`.
        predictions: out-of-fold predictions of the candidates.
        ensemble: ensemble whose predictions were compared with the labels.
        notes: limits of the result, one sentence each.
    """

    errors: pd.DataFrame
    predictions: OutOfFold
    ensemble: SelectedEnsemble
    notes: list[str]


def audit_labels(folders: Sequence[Path]) -> LabelAudit:
    """Find label errors from the test predictions of a fit, of a sweep over folds, or of one run per fold.

    Args:
        folders: see :func:`audio_lightning.fit.out_of_fold.candidates_in`.

    Raises:
        ConfigError: there are no predictions, or cleanlab is not installed.
        DataError: the runs have different labels or classes, or all probabilities are NaN.
        FileError: a file is damaged.
    """
    predictions, left_out = read_out_of_fold(candidates_in(folders)).complete()
    ensemble = select_ensemble(predictions, METRICS[predictions.multilabel][0], SelectionSettings(MOST_MEMBERS))
    notes = [f"{name} is left out: it {reason}." for name, reason in left_out.items()]
    total, tested = predictions.num_clips, predictions.num_tested
    if total is not None and tested < total:
        notes.append(f"Only {tested:,} of {total:,} clips were tested; a sweep with sweep=folds tests all of them.")
    if ensemble.score < GOOD:
        notes.append(
            f"At this {ensemble.metric.replace('_', ' ')}, most contradictions are errors of the networks, not of the "
            "labels; train better networks for a better list."
        )
    return LabelAudit(find_label_errors(predictions, combined(predictions, ensemble)), predictions, ensemble, notes)


def find_label_errors(predictions: OutOfFold, probabilities: Float[np.ndarray, "clips classes"]) -> pd.DataFrame:
    """Find clips that may have a wrong label.

    Args:
        predictions: clips with their labels.
        probabilities: out-of-fold probabilities of every clip, such as those of an ensemble.

    Returns:
        A table with the columns :data:`COLUMNS` and one row per clip whose prediction differs from its label, the worst
        first; without the columns of start and end for whole recordings. ``label_quality`` is the probability of the
        label. For multi-label data it is cleanlab's mean over the classes, in which the worst class counts most.

    Raises:
        ConfigError: cleanlab is not installed.
    """
    places, quality = (_several if predictions.multilabel else _single)(predictions, probabilities.astype(np.float64))
    predicted = _predicted(predictions, probabilities)
    confident = np.isin(np.arange(len(predicted)), places)
    found = predictions.clips.assign(predicted=predicted, label_quality=quality, confident=confident)[list(COLUMNS)]
    found = found[found["label"] != found["predicted"]]
    # Sort equal qualities by path, because the sort of cleanlab is not stable.
    found = found.sort_values(["label_quality", "path", "start_seconds"], kind="stable").reset_index(drop=True)
    return found.drop(columns=["start_seconds", "end_seconds"]) if predictions.recordings else found


_Issues = tuple[Int64[np.ndarray, "issues"], Float[np.ndarray, "clips"]]


def _single(predictions: OutOfFold, probabilities: Float[np.ndarray, "clips classes"]) -> _Issues:
    cleanlab = _cleanlab()
    label = predictions.targets.argmax(axis=1)
    quality = probabilities[np.arange(len(label)), label]
    if predictions.targets.shape[1] < LEAST_CLASSES or len(label) < LEAST_CLASSES:
        return np.zeros(0, dtype=np.int64), quality
    with _small_classes():
        return cleanlab.filter.find_label_issues(label, probabilities, **METHOD).astype(np.int64), quality


def _several(predictions: OutOfFold, probabilities: Float[np.ndarray, "clips classes"]) -> _Issues:
    cleanlab = _cleanlab()
    # A class that no clip has, or every clip, cannot be examined.
    kept = predictions.targets.any(axis=0) & ~predictions.targets.all(axis=0)
    if not kept.any():
        return np.zeros(0, dtype=np.int64), np.ones(len(probabilities))
    labels = [row.nonzero()[0].tolist() for row in predictions.targets[:, kept]]
    given = labels, probabilities[:, kept]
    quality = cleanlab.multilabel_classification.get_label_quality_scores(*given)
    with _small_classes():
        places = cleanlab.multilabel_classification.filter.find_label_issues(*given, **METHOD)
    return np.asarray(places, dtype=np.int64), quality


def _predicted(predictions: OutOfFold, probabilities: Float[np.ndarray, "clips classes"]) -> list[str]:
    classes = np.array(predictions.classes, dtype=object)
    if predictions.multilabel:
        return [LABEL_SEPARATOR.join(classes[row >= THRESHOLD]) for row in probabilities]
    return list(classes[probabilities.argmax(axis=1)])


@contextlib.contextmanager
def _small_classes() -> Iterator[None]:
    """Suppress cleanlab's warning that small classes have no marked clips: all clips are ranked anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)
        yield


def _cleanlab() -> "ModuleType":
    try:
        import cleanlab.filter
        import cleanlab.multilabel_classification.filter  # late: with scikit-learn it takes more than a second
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"label errors: {error.name} is not installed; pip install 'audio-lightning[labels]'"
        ) from error
    return cleanlab
