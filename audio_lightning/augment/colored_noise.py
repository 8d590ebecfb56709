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
"""Exponent of each colour: the noise power is proportional to 1 / frequency^exponent."""


class ColoredNoise(WaveformAugmentation):
    """Gaussian noise of a random colour, added to each clip at a random signal-to-noise ratio.

    A silent clip stays silent. The noise is generated in the frequency domain, by shaping the spectrum of white noise
    (Timmer & König 1995).

    Args:
        snr_db: range of the signal-to-noise ratio over the whole clip in decibels, drawn uniformly.
        colors: each clip draws one of these: white (equal power in every hertz), pink (-3 dB per octave), brown (-6 dB
            per octave).
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.colored_noise import ColoredNoise
        >>> clip = torch.ones(1, 16000)
        >>> noise = ColoredNoise(sample_rate=16000, snr_db=(20.0, 20.0), colors=["pink"], p=1.0)(clip) - clip
        >>> round(10 * torch.log10(1 / noise.square().mean()).item(), 2)
        20.0
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
        """Add noise to clips."""
        return add_at_snr(x, self._noise(x), uniform(self.snr_db, x))

    def _noise(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        samples = fast_length(x.shape[1])
        exponents = torch.tensor([EXPONENTS[color] for color in self.colors], device=x.device)
        exponent = exponents[torch.randint(len(exponents), (len(x), 1), device=x.device)]
        bins = torch.arange(samples // 2 + 1, device=x.device, dtype=x.dtype)
        amplitude = bins.clamp(min=1).pow(-exponent / 2)
        spectrum = torch.randn(amplitude.shape, dtype=torch.complex64, device=x.device) * amplitude
        spectrum[:, 0] = 0  # no constant offset
        return torch.fft.irfft(spectrum, samples)[:, : x.shape[1]]
