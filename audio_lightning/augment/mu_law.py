"""Mu-law quantization."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation
from audio_lightning.core.errors import ConfigError


class MuLaw(WaveformAugmentation):
    """Rounds samples to steps that grow with their size, as mu-law coding does (ITU-T G.711, its continuous formula).

    Samples beyond full scale are clipped.

    Args:
        levels: most values that a sample can have; telephones have 256.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(self, *, sample_rate: int, levels: int = 256, p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        if levels < 3:
            raise ConfigError(f"levels is {levels}, expected at least 3")
        self.levels = levels

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Coded and decoded clips."""
        mu = self.levels - 1
        # An odd number of steps has one at zero, so that silence stays silent.
        steps = mu // 2
        compressed = torch.log1p(mu * x.abs().clamp(max=1)) / math.log1p(mu)
        rounded = (compressed * steps).round() / steps
        return x.sign() * torch.expm1(rounded * math.log1p(mu)) / mu
