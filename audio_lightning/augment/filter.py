"""Low-pass, high-pass and band-pass filters."""

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation, log_uniform, require_range
from audio_lightning.augment.spectrum import fast_length, filter_spectrum
from audio_lightning.core.errors import ConfigError

RINGING_SECONDS = 0.05  # duration after which the impulse responses of the filters here have decayed


class Filter(WaveformAugmentation):
    """Zero-phase filter with the magnitude of a Butterworth filter, and cutoff frequencies drawn for each clip.

    ``low_hz`` alone gives a high-pass filter, ``high_hz`` alone a low-pass filter, and both a band-pass filter. An
    upper cutoff far above half the sample rate has no effect.

    Args:
        low_hz: range of the lower cutoff in hertz, drawn log-uniformly; null for none. The power at a cutoff is halved.
        high_hz: range of the upper cutoff in hertz, drawn log-uniformly; null for none.
        order: order of the filter; beyond a cutoff, the power falls by ``6 * order`` dB per octave.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.filter import Filter
        >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)[None]
        >>> lowpass = Filter(sample_rate=16000, high_hz=(1000.0, 1000.0), p=1.0)
        >>> power = lowpass(tone).square().mean() / tone.square().mean()
        >>> round(power.item(), 2)  # halved at the cutoff
        0.5
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        low_hz: tuple[float, float] | None = None,
        high_hz: tuple[float, float] | None = (2000.0, 8000.0),
        order: int = 2,
        p: float = 0.5,
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        if low_hz is None and high_hz is None:
            raise ConfigError("low_hz and high_hz are both null; give a range for one of them, or for both")
        for name, limits in (("low_hz", low_hz), ("high_hz", high_hz)):
            if limits is not None:
                require_range(name, limits, above=0)
        if low_hz is not None and high_hz is not None and low_hz[1] > high_hz[0]:
            raise ConfigError(f"low_hz is {list(low_hz)} and high_hz is {list(high_hz)}; they must not overlap")
        if order < 1:
            raise ConfigError(f"order is {order}, expected at least 1")
        self.low_hz, self.high_hz, self.order = low_hz, high_hz, order

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Filter clips."""
        n_fft = fast_length(x.shape[1] + round(RINGING_SECONDS * self.sample_rate))
        frequency = torch.fft.rfftfreq(n_fft, 1 / self.sample_rate, device=x.device)
        attenuation = torch.ones(len(x), len(frequency), device=x.device)
        if self.low_hz is not None:
            edge = log_uniform(self.low_hz, x)[:, None]
            attenuation = attenuation * (1 + (edge / frequency).pow(2 * self.order))
        if self.high_hz is not None:
            edge = log_uniform(self.high_hz, x)[:, None]
            attenuation = attenuation * (1 + (frequency / edge).pow(2 * self.order))
        return filter_spectrum(x, attenuation.rsqrt(), n_fft)
