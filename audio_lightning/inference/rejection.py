"""Selective classification (reject option): thresholds on class probabilities, with their coverage and precision.

For single-label tasks, the prediction is ``unknown`` if the most probable class stays below its threshold. A higher
threshold lowers the share of clips with a prediction (coverage) and raises the share of correct predictions
(precision): Chow, "On Optimum Recognition Error and Reject Tradeoff" (1970); El-Yaniv and Wiener, "On the Foundations
of Noise-free Selective Classification" (2010).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.class_values import Given
from audio_lightning.inference.onnx_model import OnnxModel
from audio_lightning.inference.threshold_values import parse_thresholds

if TYPE_CHECKING:
    from torch import Tensor

    from audio_lightning.classifier.base import Classifier
    from audio_lightning.classifier.validated import ValidatedClips


@dataclass(frozen=True)
class Operation:
    """Operating point: a threshold with its coverage and precision on clips outside of the training data.

    Attributes:
        threshold: minimum probability of a prediction.
        coverage: share of the clips with a prediction.
        precision: share of correct predictions; NaN without predictions.
        clips: number of clips of the measurement.
    """

    threshold: float
    coverage: float
    precision: float
    clips: int


@dataclass(frozen=True)
class CoverageCurve:
    """Coverage and precision at every threshold, from the highest to the lowest.

    Attributes:
        threshold: distinct probabilities, descending.
        coverage: share of the clips that reach each threshold.
        precision: share of correct predictions among them.
        clips: number of all clips.
    """

    threshold: Float[np.ndarray, "thresholds"]
    coverage: Float[np.ndarray, "thresholds"]
    precision: Float[np.ndarray, "thresholds"]
    clips: int

    @classmethod
    def of(cls, confidence: Float[np.ndarray, "clips"], right: Bool[np.ndarray, "clips"]) -> "CoverageCurve":
        """Compute the curve of a set of predictions.

        Args:
            confidence: probability of the predicted class of every clip.
            right: whether the prediction is correct.
        """
        order = np.argsort(-confidence, kind="stable")
        scores = confidence[order]
        last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # equal scores share a threshold
        number = np.arange(1, len(scores) + 1)
        hits = np.cumsum(right[order])
        return cls(scores[last], number[last] / max(1, len(scores)), hits[last] / number[last], len(scores))

    def at_precision(self, least: float) -> Operation | None:
        """Find the lowest threshold that reaches a precision; None if there is none.

        The threshold lies halfway to the next lower probability, so that clips similar to the lowest accepted one are
        accepted.
        """
        places = np.flatnonzero(self.precision >= least)
        if not len(places):
            return None
        place = int(places[-1])
        below = float(self.threshold[place + 1]) if place + 1 < len(self.threshold) else 0.0
        middle = (float(self.threshold[place]) + below) / 2
        return Operation(middle, float(self.coverage[place]), float(self.precision[place]), self.clips)

    def at_threshold(self, threshold: float) -> Operation:
        """Return coverage and precision of a threshold."""
        reached = int((self.threshold >= threshold).sum())
        if not reached:
            return Operation(threshold, 0.0, math.nan, self.clips)
        return Operation(threshold, float(self.coverage[reached - 1]), float(self.precision[reached - 1]), self.clips)


def curve_of(classifier: "Classifier | OnnxModel", *, raw: bool = False) -> CoverageCurve | None:
    """Compute the curve of a single-label classifier on its validation clips; None if the checkpoint holds none.

    Args:
        classifier: the classifier that predicts.
        raw: whether the curve is that of probabilities before calibration.
    """
    known = _validated(classifier, raw)
    if known is None:
        return None
    from audio_lightning.metrics.calibration import top

    confidence, right = top(*known)
    return CoverageCurve.of(confidence.numpy(), right.numpy())


def precise_thresholds(
    classifier: "Classifier | OnnxModel", min_precision: float, *, raw: bool = False
) -> tuple[Float[np.ndarray, "classes"], list[Operation | None]]:
    """Find the lowest thresholds that reach a precision on the validation clips.

    For single-label tasks, all classes have the same threshold. For multi-label tasks, each class has its own, and a
    class that cannot reach the precision is never predicted.

    Args:
        classifier: with validation clips in its checkpoint.
        min_precision: target precision, above 0 and at most 1.
        raw: whether the thresholds are those of probabilities before calibration.

    Returns:
        The threshold of each class, and the operating point of each (only one for single-label tasks).

    Raises:
        ConfigError: a precision out of range or out of reach, or a checkpoint or ONNX file without validation clips.
    """
    if not 0 < min_precision <= 1:
        raise ConfigError(f"--min-precision {min_precision:g}: expected a share above 0 and at most 1")
    if isinstance(classifier, OnnxModel):
        raise ConfigError(
            f"--min-precision: {classifier.name} is an ONNX file, which contains no validation clips to choose a "
            "threshold on; use the checkpoint that was exported, or give --threshold"
        )
    known, classes = _validated(classifier, raw), classifier.task.classes
    if known is None:
        raise ConfigError(
            "--min-precision: the checkpoint contains no validation clips to choose a threshold on (it was trained "
            "without validation, with calibration=none, or by an earlier version); give --threshold, or train again"
        )
    if not classifier.task.multilabel:
        curve = curve_of(classifier, raw=raw)
        assert curve is not None
        if (found := curve.at_precision(min_precision)) is None:
            best = float(curve.precision.max())
            raise ConfigError(
                f"--min-precision {min_precision:g}: no threshold reaches it on {curve.clips} validation clips; give "
                f"at most {best:.3f}"
            )
        return np.full(len(classes), found.threshold), [found]
    probabilities, targets = known[0].numpy(), known[1].numpy()
    operations = [
        CoverageCurve.of(scores, present).at_precision(min_precision)
        for scores, present in zip(probabilities.T, targets.T)
    ]
    if not any(operations):
        raise ConfigError(
            f"--min-precision {min_precision:g}: no class reaches it on {len(targets)} validation clips; give less"
        )
    return np.array([math.inf if one is None else one.threshold for one in operations]), operations


def _validated(classifier: "Classifier | OnnxModel", raw: bool) -> "tuple[Tensor, Tensor] | None":
    """Probabilities (with ``raw``: before calibration) and targets of the validation clips; None for an ONNX model."""
    clips: ValidatedClips | None = getattr(classifier, "validated_clips", None)
    if clips is None or not len(clips.logits):
        return None
    known: Classifier = classifier  # type: ignore[assignment]
    activate = known.activate_uncalibrated if raw else known.activate
    return activate(clips.logits.to(known.device)).cpu(), clips.targets


def choose_thresholds(
    classifier: "Classifier | OnnxModel", given: Given, min_precision: float | None, *, raw: bool = False
) -> tuple[Float[np.ndarray, "classes"] | None, str | None]:
    """Choose the minimum probability of each class from the options ``--threshold`` and ``--min-precision``.

    Args:
        classifier: the classifier that predicts.
        given: thresholds, see :func:`audio_lightning.inference.threshold_values.parse_thresholds`. Classes without a
            value have the threshold 0. None or no values: not given.
        min_precision: see :func:`precise_thresholds`; None if not given.
        raw: whether the thresholds apply to probabilities before calibration.

    Returns:
        The thresholds, None without either option; and a sentence on their coverage and precision on the validation
        clips, None if these are unknown.

    Raises:
        ConfigError: both options, or a value that is invalid or out of reach.
    """
    classes = classifier.task.classes
    found = parse_thresholds(given, classes)
    is_given = found.common is not None or bool(found.of_class)
    if is_given and min_precision is not None:
        raise ConfigError("--threshold, --min-precision: exclude each other; give one of the two")
    if is_given:
        values = np.array([found.of_class.get(name, found.common or 0.0) for name in classes])
        curve = None if classifier.task.multilabel or len(set(values)) > 1 else curve_of(classifier, raw=raw)
        note = None if curve is None else _described(curve.at_threshold(float(values[0])), raw)
        return values, note
    if min_precision is None:
        return None, None
    values, operations = precise_thresholds(classifier, min_precision, raw=raw)
    if not classifier.task.multilabel:
        assert operations[0] is not None
        return values, _described(operations[0], raw)
    never = [name for name, one in zip(classes, operations) if one is None]
    note = f"never predicted, because no threshold is precise enough on the validation clips: {', '.join(never)}"
    return values, note if never else None


def _described(found: Operation, raw: bool) -> str:
    right = "none" if math.isnan(found.precision) else f"{100 * found.precision:.1f} %"
    shown = math.floor(found.threshold * 1e6) / 1e6  # rounded down, so that the same clips reach it if it is typed
    return (
        f"threshold {shown:g}{' before calibration' * raw}: {100 * found.coverage:.1f} % of {found.clips} "
        f"validation clips reach it, and {right} of these are predicted correctly"
    )
