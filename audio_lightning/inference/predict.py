"""Class probabilities of recordings of any length, rate and number of channels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from audio_lightning.classifier import AudioClassifier
from audio_lightning.inference.parts import batches, stacked


@dataclass(frozen=True)
class Prediction:
    """The answer for one window of a recording, or why there is none.

    Attributes:
        path: the recording, as it was named or found.
        start_seconds: where the window begins.
        stop_seconds: where it ends.
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


def predict(classifier: AudioClassifier, recordings: Iterable[Path], **options: Any) -> Iterator[Prediction]:
    """Answer for every recording, in order, in memory that does not depend on how long the recordings are.

    Args:
        classifier: in evaluation mode.
        recordings: files; one that cannot be read gives an error and does not stop the others.
        **options: window, hop and batch size, see :func:`audio_lightning.inference.parts.batches`.

    Raises:
        ConfigError: a window or hop that cannot be used.
    """
    for parts in batches(classifier.task, recordings, **options):
        waveforms = stacked(parts)
        answers: Iterator[tuple[Float[np.ndarray, "classes"], list[str]]] = iter(())
        if waveforms is not None:
            probabilities = classifier.probabilities(waveforms).cpu()
            answers = zip(probabilities.numpy(), classifier.decide(probabilities))
        for part in parts:
            if part.samples is None:
                yield Prediction(part.path, error=part.error)
            else:
                yield Prediction(part.path, part.start_seconds, part.stop_seconds, *next(answers))
