"""Thresholds as users give them: ``--threshold``, and the argument ``threshold`` of the Python functions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import shortened

AUTO: Final = "auto"
"""Thresholds that are chosen on the validation clips."""

Value = float | str
Given = Value | Mapping[str, Value] | Iterable[str] | None


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
        given: a probability for all classes; a mapping from class to probability, in which ``""`` stands for all other
            classes; or values of ``--threshold``: ``0.6`` for all classes, ``siren=0.8`` for one, in any order.
        classes: all classes.
        detection: whether the thresholds are for sound events: ``auto`` is then a value for all classes, and zero, with
            which the whole recording would be one event, is none.

    Raises:
        ConfigError: a value that is not a probability, or an unknown class.
    """
    common: float | None = None
    of_class: dict[str, float] = {}
    for text, name, value in _entries(given):
        if name is not None and name not in classes:
            raise ConfigError(f"--threshold {text}: no such class{did_you_mean(name, classes, listing='classes')}")
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


def _entries(given: Given) -> Iterable[tuple[str, str | None, object]]:
    """Yield each value with its text for messages and its class, None for all classes."""
    if given is None:
        return
    if isinstance(given, Mapping):
        for name, value in given.items():
            yield (f"{name}={shortened(value)}", name, value) if name else (shortened(value), None, value)
    elif isinstance(given, str) or not isinstance(given, Iterable):
        yield shortened(given), None, given
    else:
        for text in given:
            name, equals, value = text.rpartition("=")
            yield text, name if equals else None, value
