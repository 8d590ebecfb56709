"""Latency per clip on this machine, from the waveform to the probabilities."""

import time

import torch

from audio_lightning.compare.trials import TrialFolder
from audio_lightning.core.files import write_json
from audio_lightning.inference.load import load_classifier

SECONDS = 0.05
LEAST, MOST = 3, 50
"""Duration of the measurement in seconds, and the minimum and maximum number of predictions."""


def write_latency(folder: TrialFolder) -> None:
    """Measure the latency of a finished trial's classifier, and write ``latency.json``.

    Clips are predicted one at a time on one CPU thread. The minimum of several measurements counts, because other
    processes can only make a prediction slower.
    """
    classifier = load_classifier(folder.best)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        clip = torch.zeros(1, classifier.task.num_samples)
        taken: list[float] = []
        with torch.inference_mode():
            classifier.probabilities(clip)  # warm-up: allocates memory, chooses kernels
            while len(taken) < LEAST or (len(taken) < MOST and sum(taken) < SECONDS):
                started = time.perf_counter()
                classifier.probabilities(clip)
                taken.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    write_json(folder.latency, {"latency_ms": round(1000 * min(taken), 3), "threads": 1, "device": "cpu"})
