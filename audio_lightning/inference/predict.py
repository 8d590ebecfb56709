"""Class probabilities of recordings of any length, rate and number of channels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from audio_lightning.audio import AUDIO_SUFFIXES, fit_length, windows
from audio_lightning.classifier import AudioClassifier
from audio_lightning.errors import AudioError, ConfigError, DataError


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


def find_recordings(paths: Iterable[Path]) -> list[Path]:
    """Files as they are named, and every recording below the folders that are named, sorted.

    Raises:
        DataError: a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
        if not below:
            raise DataError(f"{path} holds no recordings: expected files such as {', '.join(sorted(AUDIO_SUFFIXES))}")
        found += below
    return found


def predict(
    classifier: AudioClassifier,
    recordings: Iterable[Path],
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    batch_size: int = 32,
) -> Iterator[Prediction]:
    """Answer for every recording, in order, in memory that does not depend on how long the recordings are.

    Args:
        classifier: in evaluation mode.
        recordings: files; one that cannot be read gives an error and does not stop the others.
        window_seconds: length of the windows that a longer recording is cut into; by default the length of the clips
            that the classifier was trained on, which is also the longest possible.
        hop_seconds: from the start of one window to the next; by default the length of a window.
        batch_size: windows that are classified at once.

    Raises:
        ConfigError: a window or hop that cannot be used.
    """
    task = classifier.task
    window_seconds = task.clip_seconds if window_seconds is None else window_seconds
    hop_seconds = window_seconds if hop_seconds is None else hop_seconds
    window, hop = round(window_seconds * task.sample_rate), round(hop_seconds * task.sample_rate)
    if not 1 <= window <= task.num_samples:
        raise ConfigError(
            f"--window {window_seconds:g}: expected more than 0 and at most {task.clip_seconds:g} seconds, the length "
            "of the clips that the classifier was trained on"
        )
    if hop < 1:
        raise ConfigError(f"--hop {hop_seconds:g}: expected more than 0 seconds")

    pending: list[tuple[Prediction, Float[np.ndarray, "samples"] | None]] = []
    waiting = 0
    for path in recordings:
        try:
            for part in windows(path, task.sample_rate, window_samples=window, hop_samples=hop):
                samples = fit_length(part.samples, task.num_samples, task.padding)
                pending.append((Prediction(path, part.start_seconds, part.stop_seconds), samples))
                waiting += 1
                if waiting == batch_size:
                    yield from _answered(classifier, pending)
                    pending, waiting = [], 0
        except AudioError as error:
            pending.append((Prediction(path, error=str(error)), None))
    yield from _answered(classifier, pending)


def _answered(
    classifier: AudioClassifier, pending: list[tuple[Prediction, Float[np.ndarray, "samples"] | None]]
) -> Iterator[Prediction]:
    waveforms = [samples for _, samples in pending if samples is not None]
    answers: Iterator[tuple[Float[np.ndarray, "classes"], list[str]]] = iter(())
    if waveforms:
        probabilities = classifier.probabilities(torch.from_numpy(np.stack(waveforms))).cpu()
        answers = zip(probabilities.numpy(), classifier.decide(probabilities))
    for prediction, samples in pending:
        if samples is None:
            yield prediction
        else:
            yield Prediction(prediction.path, prediction.start_seconds, prediction.stop_seconds, *next(answers))
