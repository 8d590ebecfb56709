"""Class probabilities of recordings of any length, rate and number of channels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from audio_lightning.classifier.base import Classifier
from audio_lightning.inference.windows import Part, batches, merged, not_finite, stacked


@dataclass(frozen=True)
class Prediction:
    """The answer for one window of a recording, or for all of it, or why there is none.

    Attributes:
        path: the recording, as it was named or found.
        start_seconds: where the window, or the first one, begins.
        stop_seconds: where it, or the last one, ends.
        probabilities: one a class.
        labels: what is predicted: one class, or any number of them where clips may have several labels.
        error: what is wrong with the recording; then the other values are None.
    """

    path: Path
    start_seconds: float | None = None
    stop_seconds: float | None = None
    probabilities: Float[np.ndarray, "classes"] | None = None
    labels: list[str] | None = None
    error: str | None = None


def predict(
    classifier: Classifier, recordings: Iterable[Path], *, per_recording: bool = False, **options: Any
) -> Iterator[Prediction]:
    """Answer for every recording, in order, in memory that does not depend on how long the recordings are.

    Args:
        classifier: in evaluation mode.
        recordings: files; one that cannot be read gives an error and does not stop the others.
        per_recording: answer once for each, by the mean of the probabilities of its windows, as
            ``test/recording_accuracy`` of a run does; there is no answer if it cannot be read to its end.
        **options: window, hop and batch size, see :func:`audio_lightning.inference.windows.batches`.

    Raises:
        ConfigError: a window or hop that cannot be used.
    """
    found = _of_windows(classifier, batches(classifier, recordings, **options))
    if not per_recording:
        return found
    by_recording = groupby(found, key=lambda prediction: prediction.path)
    return (_of_recording(classifier, windows) for _, windows in by_recording)


def _of_windows(classifier: Classifier, batched: Iterable[list[Part]]) -> Iterator[Prediction]:
    for parts in batched:
        waveforms = stacked(parts)
        answers: Iterator[tuple[Float[np.ndarray, "classes"], list[str]]] = iter(())
        if waveforms is not None:
            probabilities = merged(parts, classifier.probabilities(waveforms).cpu())
            answers = zip(probabilities.numpy(), classifier.decide(probabilities))
        for part in parts:
            if part.samples is None:
                yield Prediction(part.path, error=part.error)
                continue
            values, labels = next(answers)
            if error := not_finite(part, values, "probabilities"):
                yield Prediction(part.path, error=error)
            else:
                yield Prediction(part.path, part.start_seconds, part.stop_seconds, values, labels)


def _of_recording(classifier: Classifier, windows: Iterable[Prediction]) -> Prediction:
    """The mean of a recording's windows, added up in double precision; its error if there is one."""
    total, count = np.zeros(classifier.task.num_classes), 0
    failed: Prediction | None = None
    for window in windows:
        if window.probabilities is not None:
            total += window.probabilities
            count += 1
        else:
            failed = failed or window
        last = window
    if failed is not None:
        return failed
    mean = torch.from_numpy(total / count).float()[None]
    return Prediction(last.path, 0.0, last.stop_seconds, mean[0].numpy(), classifier.decide(mean)[0])
