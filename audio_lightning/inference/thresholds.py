"""Thresholds of the classes for detection: given, or those with the best F1 on the validation clips."""

import re
from collections.abc import Iterable, Mapping

import torch

from audio_lightning.classifier.base import Classifier
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.metrics.multilabel import best_thresholds

AUTO = "auto"

DEFAULT = 0.5
"""Threshold where there are no validation clips."""

LEAST = 1e-6
"""A threshold of zero would make everything an event."""

NO_EVENTS = frozenset({"background", "background noise", "silence", "unknown", "other", "none", "nothing", "no call"})
"""Classes that are no events, in small letters and with spaces between words; so are those that begin with ``_``."""


def choose_thresholds(
    classifier: Classifier, given: str | float | Mapping[str, str | float] = AUTO, ignore: Iterable[str] = ()
) -> tuple[dict[str, float], list[str]]:
    """Thresholds of the classes to report, and notes on them.

    ``auto`` is the threshold with the best F1 on the validation clips: that of the classifier where clips may have
    several labels, else the best of each class against all others. It is :data:`DEFAULT` where the checkpoint holds no
    validation clips.

    Args:
        classifier: in evaluation mode.
        given: ``auto``, a number for all classes, or both by class, where ``""`` stands for all others.
        ignore: classes that are not reported. Those of :data:`NO_EVENTS` are not either, unless they have a number of
            their own.

    Raises:
        ConfigError: a class that the classifier does not have, or a number that is no probability.
    """
    by_class = dict(given) if isinstance(given, Mapping) else {"": given}
    general = by_class.pop("", AUTO)
    classes = classifier.task.classes
    for name in [*by_class, *ignore]:
        if name not in classes:
            raise ConfigError(f"{name}: the classifier has no such class{did_you_mean(name, classes)}")
    hidden = [name for name in classes if name in ignore or (_is_no_event(name) and name not in by_class)]
    chosen, notes = _general(classifier, general)
    chosen |= {name: _checked(value, name) for name, value in by_class.items()}
    if hidden:
        notes.append(f"not reported: {', '.join(hidden)}; a threshold of its own makes a class reported")
    reported = {name: chosen[name] for name in classes if name not in hidden}
    if not reported:
        raise ConfigError(f"no class is left to report: {', '.join(hidden)} are ignored")
    return reported, notes


def read_thresholds(words: Iterable[str]) -> dict[str, str | float]:
    """Read ``auto``, ``0.6`` and ``CLASS=0.7``, as they are typed, for :func:`choose_thresholds`.

    Raises:
        ConfigError: something else.
    """
    found: dict[str, str | float] = {"": AUTO}
    for word in words:
        name, _, value = word.rpartition("=")
        if name or value != AUTO:
            try:
                found[name] = float(value)
            except ValueError as error:
                raise ConfigError(f"--threshold {word}: expected auto, a number, or CLASS=NUMBER") from error
    return found


def _general(classifier: Classifier, general: str | float) -> tuple[dict[str, float], list[str]]:
    classes, clips = classifier.task.classes, classifier.validated_clips
    if isinstance(general, str) and general != AUTO:
        raise ConfigError(f"threshold {general}: expected auto or a number")
    if not isinstance(general, str):
        return dict.fromkeys(classes, _checked(general, "")), []
    if classifier.task.multilabel:
        values = classifier.thresholds
    elif clips is None or not len(clips.targets):
        note = f"the checkpoint holds no validation clips to choose thresholds by: {DEFAULT} for every class"
        return dict.fromkeys(classes, DEFAULT), [note]
    else:
        probabilities = classifier.activate(clips.logits.to(classifier.device)).cpu()
        targets = torch.nn.functional.one_hot(clips.targets, len(classes)).bool()
        values = best_thresholds(probabilities, targets)
    return {name: max(LEAST, value) for name, value in zip(classes, values.tolist())}, []


def _checked(value: str | float, name: str) -> float:
    if isinstance(value, str) or not 0 < value <= 1:
        raise ConfigError(f"threshold {f'{name}=' * bool(name)}{value}: expected more than 0 and at most 1")
    return value


def _is_no_event(name: str) -> bool:
    return name.startswith("_") or re.sub(r"[\s_-]+", " ", name).strip().casefold() in NO_EVENTS
