"""Thresholds as users give them: ``--threshold``, and the argument ``threshold`` of the Python functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.class_values import Given, class_values

AUTO: Final = "auto"
"""Thresholds that are chosen on the validation clips."""


@dataclass(frozen=True)
class ThresholdValues:
    """Thresholds of classes.

    Attributes:
        common: minimum probability of all other classes; None: not given, or ``auto``.
        of_class: minimum probability of classes with a value of their own.
    """

    common: float | None
    of_class: dict[str, float]


def parse_thresholds(given: Given, classes: Sequence[str], *, detection: bool = False) -> ThresholdValues:
    """Parse thresholds; later values replace earlier ones.

    Args:
        given: probabilities; see :func:`audio_lightning.inference.class_values.class_values`.
        classes: all classes.
        detection: whether the thresholds are for sound events: ``auto`` is then a value for all classes, and zero, with
            which the whole recording would be one event, is none.

    Raises:
        ConfigError: a value that is not a probability, or an unknown class.
    """
    common: float | None = None
    of_class: dict[str, float] = {}
    for text, name, value in class_values("--threshold", given, classes):
        if detection and name is None and value == AUTO:
            common = None
            continue
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1 or (detection and not number):
            bounds = "auto, a probability above 0 and up to 1" if detection else "a probability from 0 to 1"
            raise ConfigError(f"--threshold {text}: expected {bounds}, or CLASS=PROBABILITY")
        if name is None:
            common = number
        else:
            of_class[name] = number
    return ThresholdValues(common, of_class)
