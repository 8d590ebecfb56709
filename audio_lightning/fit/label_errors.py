"""Label errors: clips whose out-of-fold prediction contradicts the label, worst first.

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal
of Artificial Intelligence Research 70, 2021), by the library cleanlab: it estimates how many labels of each class are
wrong, and prunes as many clips (by noise rate, which was best in the paper). These are marked ``confident``. The clips
are ranked by self-confidence, the probability of the label; those that come after the confident ones are listed, too,
since the estimate is low where networks are unsure. Where clips have several labels, every class is examined on its own
(Thyagarajan et al., "Identifying Incorrect Annotations in Multi-Label Classification Data", arXiv 2211.13895).
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
from audio_lightning.fit.group_scores import SUPPORTED
from audio_lightning.fit.out_of_fold import OutOfFold, candidates_in, read_out_of_fold

if TYPE_CHECKING:
    from types import ModuleType

COLUMNS = ("path", "start_seconds", "end_seconds", "group", "label", "predicted", "label_quality", "confident")

METHOD: dict[str, Any] = {
    "filter_by": "prune_by_noise_rate",
    "return_indices_ranked_by": "self_confidence",
    "n_jobs": 1,
}

THRESHOLD = 0.5
"""Probability from which on a label is predicted, where clips may have several."""

LEAST_CLASSES = 2

MOST_MEMBERS = 3
"""Candidates whose mean prediction is compared with the labels."""

GOOD = 0.8
"""Accuracy below which wrong predictions outnumber wrong labels by far, since few data sets have over 10 % of these."""


@dataclass(frozen=True)
class LabelAudit:
    """Label errors of a data set.

    Attributes:
        errors: see :func:`find_label_errors`.
        predictions: of the candidates that were compared.
        ensemble: whose predictions contradict the labels.
        notes: what limits the result, in sentences.
    """

    errors: pd.DataFrame
    predictions: OutOfFold
    ensemble: SelectedEnsemble
    notes: list[str]


def audit_labels(folders: Sequence[Path]) -> LabelAudit:
    """Find label errors by the test predictions of a sweep over folds, or of the runs of all folds.

    Args:
        folders: see :func:`audio_lightning.fit.out_of_fold.candidates_in`.

    Raises:
        ConfigError: nothing to read, or cleanlab is not installed.
        DataError: runs that disagree.
        FileError: a file is damaged.
    """
    predictions, left_out = read_out_of_fold(candidates_in(folders)).complete()
    ensemble = select_ensemble(predictions, SUPPORTED[predictions.multilabel][0], SelectionSettings(MOST_MEMBERS))
    notes = [f"{name} is left out: it {reason}." for name, reason in left_out.items()]
    total, tested = predictions.num_clips, predictions.num_tested
    if total is not None and tested < total:
        notes.append(f"Only {tested:,} of {total:,} clips were tested; a sweep with sweep=folds tests all of them.")
    if ensemble.score < GOOD:
        notes.append(
            f"At this {ensemble.metric.replace('_', ' ')} most contradictions are errors of the networks, not of the "
            "labels: train better ones for a better list."
        )
    return LabelAudit(find_label_errors(predictions, combined(predictions, ensemble)), predictions, ensemble, notes)


def find_label_errors(predictions: OutOfFold, probabilities: Float[np.ndarray, "clips classes"]) -> pd.DataFrame:
    """Find clips that may have a wrong label.

    Args:
        predictions: the clips with their labels.
        probabilities: out-of-fold ones of every clip, such as those of an ensemble.

    Returns:
        The columns :data:`COLUMNS`, one row for every clip with another prediction than its label, the worst first;
        whole recordings have no start and end. ``label_quality`` is the probability of the label; of several labels,
        cleanlab's mean over the classes, in which the worst counts most.

    Raises:
        ConfigError: cleanlab is not installed.
    """
    places, quality = (_several if predictions.multilabel else _single)(predictions, probabilities.astype(np.float64))
    predicted = _predicted(predictions, probabilities)
    confident = np.isin(np.arange(len(predicted)), places)
    found = predictions.clips.assign(predicted=predicted, label_quality=quality, confident=confident)[list(COLUMNS)]
    found = found[found["label"] != found["predicted"]]
    # Equal qualities go by path: the sort of cleanlab is not stable.
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
    # A class that no clip has, or every clip, has nothing to compare.
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
    """Leave out the warning that no clip of a class with few clips is marked: ranked they all are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)
        yield


def _cleanlab() -> "ModuleType":
    try:
        import cleanlab.filter
        import cleanlab.multilabel_classification.filter  # late: with scikit-learn it takes more than a second
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"label errors are found by the package {error.name}: pip install 'audio-lightning[labels]'"
        ) from error
    return cleanlab
