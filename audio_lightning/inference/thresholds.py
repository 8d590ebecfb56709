"""Detection thresholds of the classes: fixed values, or the best F1 on the validation clips."""

import re
from collections.abc import Iterable, Mapping

import torch

from audio_lightning.classifier.base import Classifier
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.metrics.multilabel import best_thresholds

AUTO = "auto"

DEFAULT = 0.5
"""Threshold of every class if the checkpoint contains no validation clips."""

LEAST = 1e-6
"""Smallest threshold; with a threshold of zero, the whole recording would be one event."""

NO_EVENTS = frozenset({"background", "background noise", "silence", "unknown", "other", "none", "nothing", "no call"})
"""Classes that are not events, in lower case with spaces between words; names that begin with ``_`` are not either."""


def choose_thresholds(
    classifier: Classifier, given: str | float | Mapping[str, str | float] = AUTO, ignore: Iterable[str] = ()
) -> tuple[dict[str, float], list[str]]:
    """Choose the thresholds of the reported classes; return them with notes.

    ``auto`` is the threshold of each class with the best F1 on the validation clips: for multi-label tasks, the
    threshold of the classifier; otherwise that of the class against all others. It is :data:`DEFAULT` if the checkpoint
    contains no validation clips.

    Args:
        classifier: in evaluation mode.
        given: ``auto``, a number for all classes, or a mapping from class to either; the key ``""`` stands for all
            other classes.
        ignore: classes that are not reported. Classes of :data:`NO_EVENTS` are not reported either, unless they have a
            number of their own.

    Raises:
        ConfigError: an unknown class, or a number that is not a probability.
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
        notes.append(f"not reported: {', '.join(hidden)}; give a class a threshold of its own to report it")
    reported = {name: chosen[name] for name in classes if name not in hidden}
    if not reported:
        raise ConfigError(f"--ignore: no class is left to report, as {', '.join(hidden)} are ignored; ignore fewer")
    return reported, notes


def read_thresholds(words: Iterable[str]) -> dict[str, str | float]:
    """Parse values of ``--threshold`` (``auto``, ``0.6``, ``CLASS=0.7``) for :func:`choose_thresholds`.

    Raises:
        ConfigError: an invalid value.
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
        note = f"the threshold of every class is {DEFAULT}, as the checkpoint contains no validation clips"
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
