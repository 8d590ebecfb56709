"""Calibration metrics: expected calibration error, Brier score and reliability diagram."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

BINS = 15
"""Number of bins of the calibration error, of equal width, as in Guo et al. 2017."""

CALIBRATION_METRICS = ("ece", "brier")
"""Metrics of :func:`calibration_metrics`, without the split in the name; lower is better."""


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram: mean probability and accuracy of each non-empty bin.

    Attributes:
        confidence: mean probability of the bin.
        frequency: share of its predictions that are correct.
        clips: number of its predictions.
    """

    confidence: Float[np.ndarray, "bins"]
    frequency: Float[np.ndarray, "bins"]
    clips: Int64[np.ndarray, "bins"]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of confidence and frequency, weighted by the bin counts."""
        total = self.clips.sum()
        return float((self.clips * np.abs(self.confidence - self.frequency)).sum() / total) if total else float("nan")


def calibration_metrics(
    probabilities: Float[Tensor, "clips classes"], targets: Tensor, *, multilabel: bool
) -> dict[str, float]:
    """Compute the expected calibration error and the Brier score.

    With one label per clip, the calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3) is computed from
    the probability of the predicted class. The Brier score (Brier 1950) is the squared distance from the target, summed
    over the classes, from 0 to 2. With several labels per clip, both are computed per class and averaged.

    Args:
        probabilities: class probabilities, ``[clips, classes]``.
        targets: class index ``[clips]``, or whether a clip has each label ``[clips, classes]``.
        multilabel: whether a clip may have several labels.

    Returns:
        ``ece`` and ``brier``; NaN without clips.
    """
    if not len(probabilities):
        return dict.fromkeys(CALIBRATION_METRICS, float("nan"))
    chosen = targets > 0.5 if multilabel else torch.nn.functional.one_hot(targets.long(), probabilities.shape[1]) > 0
    squares = (probabilities.double() - chosen.double()).square()
    if multilabel:
        errors = [_error(*pair) for pair in zip(probabilities.T, chosen.T)]
        return {"ece": float(np.mean(errors)), "brier": float(squares.mean())}
    confidence, right = top(probabilities, targets)
    return {"ece": _error(confidence, right), "brier": float(squares.sum(dim=1).mean())}


def top(
    probabilities: Float[Tensor, "clips classes"], targets: Int64[Tensor, "clips"]
) -> tuple[Float[Tensor, "clips"], Bool[Tensor, "clips"]]:
    """Return the probability of the predicted class of each clip, and whether the prediction is correct."""
    confidence, predicted = probabilities.max(dim=1)
    return confidence, predicted == targets


def reliability(
    confidence: Float[np.ndarray, "clips"], right: Bool[np.ndarray, "clips"], bins: int = 10
) -> Reliability:
    """Compute mean probability and accuracy in bins of equal width.

    Args:
        confidence: probability of each prediction.
        right: whether it is correct.
        bins: number of bins over [0, 1]; empty ones are left out.
    """
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    known = counts > 0
    sums = [np.bincount(place, weights=values.astype(float), minlength=bins)[known] for values in (confidence, right)]
    return Reliability(sums[0] / counts[known], sums[1] / counts[known], counts[known])


def _error(confidence: Float[Tensor, "clips"], right: Bool[Tensor, "clips"]) -> float:
    return float(binary_calibration_error(confidence.float().contiguous(), right.long(), n_bins=BINS, norm="l1"))
