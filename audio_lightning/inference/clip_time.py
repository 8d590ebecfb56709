"""What predicting takes a clip on this machine, from the waveform to the probabilities."""

import time

import torch

from audio_lightning.classifier.base import Classifier
from audio_lightning.inference.windows import BATCH_SIZE

SECONDS = 0.3
LEAST, MOST = 2, 20
"""How long, and how often at least and at most, a batch is predicted to find it out."""


def seconds_a_clip(classifier: Classifier, threads: int | None = None) -> float:
    """Time a batch of noise of the size that ``predict`` makes, where the classifier is; the sound changes nothing.

    Decoding is left out. The fastest of several batches counts, since what else the machine does can only make it
    slower.

    Args:
        classifier: trained or not.
        threads: of the CPU; None: as many as this process has.

    Returns:
        Seconds of the batch, divided by its clips.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        generator = torch.Generator().manual_seed(0)
        clips = 0.1 * torch.randn(BATCH_SIZE, classifier.task.num_samples, generator=generator)
        taken: list[float] = []
        classifier.probabilities(clips).cpu()  # the first one finds memory and kernels
        while len(taken) < LEAST or (len(taken) < MOST and sum(taken) < SECONDS):
            started = time.perf_counter()
            classifier.probabilities(clips).cpu()
            taken.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
    return min(taken) / BATCH_SIZE
