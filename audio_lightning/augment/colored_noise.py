"""Colored noise."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation, require_range, uniform
from audio_lightning.augment.noise import add_at_snr
from audio_lightning.augment.spectrum import fast_length
from audio_lightning.core.errors import ConfigError

EXPONENTS = {"white": 0, "pink": 1, "brown": 2}
"""The power of each colour falls with this power of the frequency."""


class ColoredNoise(WaveformAugmentation):
    """Adds Gaussian noise at a signal-to-noise ratio of its own to each clip; a silent clip stays silent.

    The noise is made in the frequency domain, where independent Gaussian values are given the slope of the colour
    (Timmer & König 1995).

    Args:
        snr_db: range of the signal-to-noise ratio over the whole clip in decibels, drawn uniformly.
        colors: each clip draws one of them: white (equal power in every hertz), pink (-3 dB an octave), brown (-6 dB
            an octave).
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        snr_db: tuple[float, float] = (10.0, 40.0),
        colors: Sequence[Literal["white", "pink", "brown"]] = ("white", "pink", "brown"),
        p: float = 0.5,
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        require_range("snr_db", snr_db)
        if not colors or not set(colors) <= set(EXPONENTS):
            raise ConfigError(f"colors is {list(colors)}, expected a list of some of: {', '.join(EXPONENTS)}")
        self.snr_db = snr_db
        self.colors = tuple(colors)

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Clips with noise."""
        return add_at_snr(x, self._noise(x), uniform(self.snr_db, x))

    def _noise(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        samples = fast_length(x.shape[1])
        exponents = torch.tensor([EXPONENTS[color] for color in self.colors], device=x.device)
        exponent = exponents[torch.randint(len(exponents), (len(x), 1), device=x.device)]
        bins = torch.arange(samples // 2 + 1, device=x.device, dtype=x.dtype)
        amplitude = bins.clamp(min=1).pow(-exponent / 2)
        spectrum = torch.randn(amplitude.shape, dtype=torch.complex64, device=x.device) * amplitude
        spectrum[:, 0] = 0  # an offset is no noise
        return torch.fft.irfft(spectrum, samples)[:, : x.shape[1]]
