"""Prediction time per clip on this machine, from the waveform to the probabilities."""

import time

import torch

from audio_lightning.classifier.base import Classifier
from audio_lightning.inference.windows import BATCH_SIZE

SECONDS = 0.3
LEAST, MOST = 2, 20
"""Duration of the measurement in seconds, and the minimum and maximum number of timed batches."""


def seconds_a_clip(classifier: Classifier, threads: int | None = None) -> float:
    """Measure the prediction time per clip on the classifier's device, in batches of noise of the size of ``predict``.

    Decoding is excluded. The fastest of several batches counts, because other processes can only slow a batch down. The
    time does not depend on the sound.

    Args:
        classifier: a classifier, trained or not.
        threads: number of CPU threads; None for the current number of torch.

    Returns:
        Seconds per clip.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        generator = torch.Generator().manual_seed(0)
        clips = 0.1 * torch.randn(BATCH_SIZE, classifier.task.num_samples, generator=generator)
        taken: list[float] = []
        classifier.probabilities(clips).cpu()  # warm-up: allocates memory and selects kernels
        while len(taken) < LEAST or (len(taken) < MOST and sum(taken) < SECONDS):
            started = time.perf_counter()
            classifier.probabilities(clips).cpu()
            taken.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
    return min(taken) / BATCH_SIZE
