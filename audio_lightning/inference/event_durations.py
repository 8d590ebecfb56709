"""Typical durations of the events of the classes: given, or those of the validation clips (``--event-duration``)."""

import math
from typing import Final

from audio_lightning.classifier.base import Classifier
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.class_values import Given, class_values

AUTO: Final = "auto"
"""Durations of the validation clips, which the checkpoint contains."""

NONE: Final = "none"
"""No typical durations."""

UNKNOWN_DURATIONS = (
    "the checkpoint contains no typical durations of the classes, so events shorter than a window may be reported with "
    "the length of a window; give --event-duration, or train again"
)
"""Note about a checkpoint of an earlier version, or of a training without validation clips."""


def choose_durations(classifier: Classifier, given: Given = AUTO) -> tuple[dict[str, float], list[str]]:
    """Choose the typical duration of the events of every class in seconds; return them with notes.

    ``auto`` is the typical duration of the sounding part of the validation clips
    (:attr:`~audio_lightning.classifier.base.Classifier.sounding_seconds`). A class for which it is not known has none,
    and a note is returned if it is not known for any class.

    Args:
        classifier: in evaluation mode.
        given: ``auto``, ``none``, or seconds; see :func:`audio_lightning.inference.class_values.class_values`. Later
            values replace earlier ones.

    Raises:
        ConfigError: an unknown class, or a duration that is not a finite number of seconds above 0.
    """
    classes, of_class = classifier.task.classes, dict[str, float]()
    common: float | str = AUTO
    for text, name, value in class_values("--event-duration", given, classes):
        if name is None and value in (AUTO, NONE):
            common = str(value)
            continue
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise ConfigError(
                f"--event-duration {text}: expected auto, none, a number of seconds above 0, or CLASS=SECONDS"
            )
        if name is None:
            common = seconds
        else:
            of_class[name] = seconds
    if not isinstance(common, str):
        return dict.fromkeys(classes, common) | of_class, []
    if common == NONE:
        return of_class, []
    known = classifier.sounding_seconds
    if known is None:
        return of_class, [] if of_class else [UNKNOWN_DURATIONS]
    return {name: value for name, value in zip(classes, known.tolist()) if not math.isnan(value)} | of_class, []
