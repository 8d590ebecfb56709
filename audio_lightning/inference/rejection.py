"""When to predict nothing: thresholds for the probability of a class, and what they cost and bring.

Where a clip has one label, a clip whose most probable class stays below its threshold is predicted as ``unknown``. A
higher threshold gives fewer predictions (coverage), and more of them are right (precision): Chow, "On Optimum
Recognition Error and Reject Tradeoff" (1970); El-Yaniv and Wiener, "On the Foundations of Noise-free Selective
Classification" (2010).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from audio_lightning.classifier.base import Classifier
    from audio_lightning.classifier.validated import ValidatedClips
    from audio_lightning.inference.onnx_model import OnnxModel


@dataclass(frozen=True)
class Operation:
    """A threshold, and what it did to clips that were not trained on.

    Attributes:
        threshold: least probability of a prediction.
        coverage: share of the clips that have a prediction.
        precision: share of these predictions that are right; NaN where there is none.
        clips: number of clips that this was measured on.
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
        coverage: share of the clips that reach each.
        precision: share of these that are right.
        clips: number of all clips.
    """

    threshold: Float[np.ndarray, "thresholds"]
    coverage: Float[np.ndarray, "thresholds"]
    precision: Float[np.ndarray, "thresholds"]
    clips: int

    @classmethod
    def of(cls, confidence: Float[np.ndarray, "clips"], right: Bool[np.ndarray, "clips"]) -> "CoverageCurve":
        """The curve of predictions.

        Args:
            confidence: probability of what is predicted for every clip.
            right: whether it is right.
        """
        order = np.argsort(-confidence, kind="stable")
        scores = confidence[order]
        last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # equal ones are predicted together
        number = np.arange(1, len(scores) + 1)
        hits = np.cumsum(right[order])
        return cls(scores[last], number[last] / max(1, len(scores)), hits[last] / number[last], len(scores))

    def at_precision(self, least: float) -> Operation | None:
        """The lowest threshold from which on predictions are precise enough; None where none is.

        It lies halfway to the next lower probability, so that clips like those it was found on are predicted.
        """
        places = np.flatnonzero(self.precision >= least)
        if not len(places):
            return None
        place = int(places[-1])
        below = float(self.threshold[place + 1]) if place + 1 < len(self.threshold) else 0.0
        middle = (float(self.threshold[place]) + below) / 2
        return Operation(middle, float(self.coverage[place]), float(self.precision[place]), self.clips)

    def at_threshold(self, threshold: float) -> Operation:
        """What a threshold does."""
        reached = int((self.threshold >= threshold).sum())
        if not reached:
            return Operation(threshold, 0.0, math.nan, self.clips)
        return Operation(threshold, float(self.coverage[reached - 1]), float(self.precision[reached - 1]), self.clips)


def curve_of(classifier: "Classifier | OnnxModel") -> CoverageCurve | None:
    """The curve of a classifier with one label a clip, on its validation clips; None where it has none."""
    known = _validated(classifier)
    if known is None:
        return None
    from audio_lightning.metrics.calibration import top

    confidence, right = top(*known)
    return CoverageCurve.of(confidence.numpy(), right.numpy())


def precise_thresholds(
    classifier: "Classifier | OnnxModel", min_precision: float
) -> tuple[Float[np.ndarray, "classes"], list[Operation | None]]:
    """The lowest thresholds with which predictions were precise enough on the validation clips.

    Where a clip has one label, there is one threshold for all classes; else one for each class, and a class that never
    was precise enough is never predicted.

    Args:
        classifier: with validation clips in its checkpoint.
        min_precision: share of the predictions that are right, above 0 and at most 1.

    Returns:
        A threshold for each class, and what each did (one for all, where a clip has one label).

    Raises:
        ConfigError: a precision out of range, or that nothing reached; or a checkpoint without validation clips.
    """
    if not 0 < min_precision <= 1:
        raise ConfigError(f"--min-precision {min_precision:g}: expected a share above 0 and at most 1")
    known, classes = _validated(classifier), classifier.task.classes
    if known is None:
        raise ConfigError(
            "--min-precision: the checkpoint holds no validation clips to choose a threshold on (it was trained "
            "without validation, with calibration=none, or by an earlier version); give --threshold, or train again"
        )
    if not classifier.task.multilabel:
        curve = curve_of(classifier)
        assert curve is not None
        if (found := curve.at_precision(min_precision)) is None:
            best = float(curve.precision.max())
            raise ConfigError(
                f"--min-precision {min_precision:g}: no threshold reached it on {curve.clips} validation clips; the "
                f"highest precision is {best:.3f}"
            )
        return np.full(len(classes), found.threshold), [found]
    probabilities, targets = known[0].numpy(), known[1].numpy()
    operations = [
        CoverageCurve.of(scores, present).at_precision(min_precision)
        for scores, present in zip(probabilities.T, targets.T)
    ]
    if not any(operations):
        raise ConfigError(f"--min-precision {min_precision:g}: no class reached it on {len(targets)} validation clips")
    return np.array([math.inf if one is None else one.threshold for one in operations]), operations


def _validated(classifier: "Classifier | OnnxModel") -> "tuple[Tensor, Tensor] | None":
    """Calibrated probabilities and targets of the validation clips; a model of ONNX has none."""
    clips: ValidatedClips | None = getattr(classifier, "validated_clips", None)
    if clips is None or not len(clips.logits):
        return None
    known: Classifier = classifier  # type: ignore[assignment]
    return known.activate(clips.logits.to(known.device)).cpu(), clips.targets


def choose_thresholds(
    classifier: "Classifier | OnnxModel", typed: Sequence[str], min_precision: float | None
) -> tuple[Float[np.ndarray, "classes"] | None, str | None]:
    """Thresholds as a command asks for them.

    Args:
        classifier: that predicts.
        typed: see :func:`parse_thresholds`.
        min_precision: see :func:`precise_thresholds`; None: not asked for.

    Returns:
        The thresholds, None where nothing was asked for; and what they did to the validation clips, in a sentence,
        where that is known.

    Raises:
        ConfigError: both, or one that cannot be met.
    """
    if typed and min_precision is not None:
        raise ConfigError("--threshold and --min-precision: give one of the two")
    if typed:
        values = parse_thresholds(typed, classifier.task.classes)
        curve = None if classifier.task.multilabel or len(set(values)) > 1 else curve_of(classifier)
        said = None if curve is None else _said(curve.at_threshold(float(values[0])))
        return values, said
    if min_precision is None:
        return None, None
    values, operations = precise_thresholds(classifier, min_precision)
    if not classifier.task.multilabel:
        assert operations[0] is not None
        return values, _said(operations[0])
    never = [name for name, one in zip(classifier.task.classes, operations) if one is None]
    said = f"never predicted, because no threshold is precise enough on the validation clips: {', '.join(never)}"
    return values, said if never else None


def typed_thresholds(threshold: float | Mapping[str, float] | None) -> list[str]:
    """Thresholds of a Python call, as a command has them."""
    if threshold is None:
        return []
    if isinstance(threshold, Mapping):
        return [f"{name}={value}" for name, value in threshold.items()]
    return [str(threshold)]


def _said(found: Operation) -> str:
    right = "none" if math.isnan(found.precision) else f"{100 * found.precision:.1f} %"
    return (
        f"threshold {found.threshold:.3f}: {100 * found.coverage:.1f} % of {found.clips} validation clips reach it, "
        f"and {right} of these are predicted correctly"
    )


def parse_thresholds(texts: Iterable[str], classes: Sequence[str]) -> Float[np.ndarray, "classes"]:
    """Thresholds as they are typed: ``0.6`` for all classes, ``siren=0.8`` for one, in any order.

    Args:
        texts: each a number, or the name of a class and a number; classes that none names have the number, or 0.
        classes: all of them.

    Raises:
        ConfigError: a text of another form, no probability, or a class that there is not.
    """
    common, single = 0.0, dict[str, float]()
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise ConfigError(f"--threshold {text}: expected a probability from 0 to 1, or CLASS=PROBABILITY")
        if not equals:
            common = value
        elif name in classes:
            single[name] = value
        else:
            raise ConfigError(
                f"--threshold {text}: there is no class {name}{did_you_mean(name, classes, listing='classes')}"
            )
    return np.array([single.get(name, common) for name in classes])
