"""Low-pass, high-pass and band-pass filters."""

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation, log_uniform, require_range
from audio_lightning.augment.spectrum import fast_length, filter_spectrum
from audio_lightning.core.errors import ConfigError

RINGING_SECONDS = 0.05  # what a filter makes a clip longer; past that, the filters here have died away


class Filter(WaveformAugmentation):
    """A filter with the magnitude of a Butterworth filter and no delay, whose edges each clip draws for itself.

    The lower edge alone makes a high-pass filter, the upper one alone a low-pass, and both a band-pass filter. An
    upper edge far above half the sample rate changes nothing.

    Args:
        low_hz: range of the lower edge in hertz, where the power is halved, drawn uniformly in its logarithm; null for
            none.
        high_hz: range of the upper edge, likewise.
        order: the power falls by 6 dB an octave times this, beyond the edges.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
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
            raise ConfigError("low_hz and high_hz are both null: give a range for one of them, or for both")
        for name, limits in (("low_hz", low_hz), ("high_hz", high_hz)):
            if limits is not None:
                require_range(name, limits, above=0)
        if low_hz is not None and high_hz is not None and low_hz[1] > high_hz[0]:
            raise ConfigError(f"low_hz is {list(low_hz)} and high_hz is {list(high_hz)}: they must not overlap")
        if order < 1:
            raise ConfigError(f"order is {order}, expected at least 1")
        self.low_hz, self.high_hz, self.order = low_hz, high_hz, order

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Filtered clips."""
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
