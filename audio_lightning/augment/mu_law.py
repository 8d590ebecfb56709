"""Mu-law quantization."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation
from audio_lightning.core.errors import ConfigError


class MuLaw(WaveformAugmentation):
    """Mu-law quantization: steps grow with the amplitude (ITU-T G.711, continuous formula).

    Samples beyond full scale are clipped.

    Args:
        levels: maximum number of distinct sample values; telephones use 256.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.mu_law import MuLaw
        >>> ramp = torch.linspace(-1, 1, 1000)[None]
        >>> len(MuLaw(sample_rate=8000, levels=16, p=1.0)(ramp).unique())
        15
    """

    def __init__(self, *, sample_rate: int, levels: int = 256, p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        if levels < 3:
            raise ConfigError(f"levels is {levels}, expected at least 3")
        self.levels = levels

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Quantize clips."""
        mu = self.levels - 1
        # An odd number of levels includes zero, so that silence stays silent.
        steps = mu // 2
        compressed = torch.log1p(mu * x.abs().clamp(max=1)) / math.log1p(mu)
        rounded = (compressed * steps).round() / steps
        return x.sign() * torch.expm1(rounded * math.log1p(mu)) / mu
