"""A classifier with known scores: the probability of ``loud`` is the share of loud samples in the window."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
import torch

from audio_lightning.core.task import AudioTask


class Loudness:
    """Stand-in with the interface that detection and prediction need of a classifier.

    Args:
        response: from the share to the probability; by default they are equal.
        sample_rate: of the clips, in hertz.
        window: seconds of a window, which may be shorter than a clip of 1 s and is padded with silence then.
    """

    def __init__(self, response: Any = None, sample_rate: int = 8000, window: float = 1.0) -> None:
        self.task, self.window = AudioTask(("loud", "silence"), sample_rate, sample_rate), window
        self.config: dict[str, Any] = {"data": {}}
        self.response = response or (lambda share: share)
        self.validated_clips, self.device = None, "cpu"
        self.sounding_seconds: torch.Tensor | None = None
        self.calibration = SimpleNamespace()

    def probabilities(self, waveform: torch.Tensor) -> torch.Tensor:
        share = self.response((waveform.abs() > 0.1).float().mean(dim=1) / self.window)
        return torch.stack([share, 1 - share], dim=1)

    def logits_and_energy(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        share = self.probabilities(waveform)
        return share, share.sum(dim=1)

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        return logits

    def decide(self, probabilities: torch.Tensor, thresholds: torch.Tensor | None = None) -> list[list[str]]:
        return [[self.task.classes[index]] for index in probabilities.argmax(dim=1).tolist()]


def write_bursts(path: Path, events: list[tuple[float, float]], seconds: float, rate: int = 8000) -> Path:
    """Write silence with loud samples in the given events, in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.zeros(round(seconds * rate), np.float32)
    for start, stop in events:
        samples[round(start * rate) : round(stop * rate)] = 0.5
    soundfile.write(path, samples, rate)
    return path
