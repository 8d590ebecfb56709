"""Detection thresholds of the classes: fixed values, or the best F1 on the validation clips."""

import re
from collections.abc import Iterable

import torch

from audio_lightning.classifier.base import Classifier
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.class_values import Given
from audio_lightning.inference.threshold_values import AUTO, parse_thresholds
from audio_lightning.metrics.multilabel import best_thresholds

DEFAULT = 0.5
"""Threshold of every class if the checkpoint contains no validation clips."""

LEAST = 1e-6
"""Smallest threshold; with a threshold of zero, the whole recording would be one event."""

NO_EVENTS = frozenset({"background", "background noise", "silence", "unknown", "other", "none", "nothing", "no call"})
"""Classes that are not events, in lower case with spaces between words; names that begin with ``_`` are not either."""


def choose_thresholds(
    classifier: Classifier, given: Given = AUTO, ignore: Iterable[str] = ()
) -> tuple[dict[str, float], list[str]]:
    """Choose the thresholds of the reported classes; return them with notes.

    ``auto`` is the threshold of each class with the best F1 on the validation clips: for multi-label tasks, the
    threshold of the classifier; otherwise that of the class against all others. It is :data:`DEFAULT` if the checkpoint
    contains no validation clips.

    Args:
        classifier: in evaluation mode.
        given: ``auto``, or thresholds; see :func:`audio_lightning.inference.threshold_values.parse_thresholds`.
        ignore: classes that are not reported. Classes of :data:`NO_EVENTS` are not reported either, unless they have a
            number of their own.

    Raises:
        ConfigError: an unknown class, or a number that is not a probability.
    """
    classes = classifier.task.classes
    found = parse_thresholds(given, classes, detection=True)
    for name in ignore:
        if name not in classes:
            raise ConfigError(f"--ignore {name}: no such class{did_you_mean(name, classes, listing='classes')}")
    hidden = [name for name in classes if name in ignore or (_is_no_event(name) and name not in found.of_class)]
    chosen, notes = _general(classifier, found.common)
    chosen |= found.of_class
    if hidden:
        notes.append(f"not reported: {', '.join(hidden)}; give a class a threshold of its own to report it")
    reported = {name: chosen[name] for name in classes if name not in hidden}
    if not reported:
        raise ConfigError(f"--ignore: no class is left to report, as {', '.join(hidden)} are ignored; ignore fewer")
    return reported, notes


def _general(classifier: Classifier, general: float | None) -> tuple[dict[str, float], list[str]]:
    classes, clips = classifier.task.classes, classifier.validated_clips
    if general is not None:
        return dict.fromkeys(classes, general), []
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


def _is_no_event(name: str) -> bool:
    return name.startswith("_") or re.sub(r"[\s_-]+", " ", name).strip().casefold() in NO_EVENTS
