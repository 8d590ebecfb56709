"""Synthetic reverberation."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation, from_decibels, require_range, rms, uniform
from audio_lightning.augment.spectrum import fast_length, filter_spectrum


class Reverberation(WaveformAugmentation):
    """Reverberation by a synthetic impulse response: direct sound, then exponentially decaying noise (Polack 1988).

    The clip keeps its level (root mean square) and its length; reverberation beyond its end is cut off.

    Args:
        rt60_seconds: range of the reverberation time (decay by 60 dB) in seconds, drawn uniformly.
        direct_db: range of the level of the direct sound relative to the reverberation in decibels, drawn uniformly; a
            lower level corresponds to a more distant source.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.reverberation import Reverberation
        >>> click = torch.zeros(1, 8000)
        >>> click[0, 0] = 1.0
        >>> echo = Reverberation(sample_rate=16000, rt60_seconds=(0.2, 0.2), p=1.0)(click)
        >>> echo.shape, bool(echo[0, 100:].abs().max() > 0)
        (torch.Size([1, 8000]), True)
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        rt60_seconds: tuple[float, float] = (0.1, 0.6),
        direct_db: tuple[float, float] = (0.0, 15.0),
        p: float = 0.5,
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        require_range("rt60_seconds", rt60_seconds, above=0)
        require_range("direct_db", direct_db)
        self.rt60_seconds, self.direct_db = rt60_seconds, direct_db

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Reverberate clips."""
        impulse = self.impulse_responses(x)
        n_fft = fast_length(x.shape[1] + impulse.shape[1])
        echoing = filter_spectrum(x, torch.fft.rfft(impulse, n_fft), n_fft)
        return echoing * (rms(x) / rms(echoing).clamp(min=1e-12))

    def impulse_responses(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn samples"]:
        """Impulse response for each clip; the first sample, 1, is the direct sound."""
        samples = max(2, min(math.ceil(self.rt60_seconds[1] * self.sample_rate), x.shape[1]))
        seconds = torch.arange(samples, device=x.device) / self.sample_rate
        # 60 dB are a factor of 1000 in amplitude.
        decay = torch.exp(-math.log(1000) * seconds / uniform(self.rt60_seconds, x)[:, None])
        impulse = torch.randn(len(x), samples, device=x.device) * decay
        impulse[:, 0] = 0
        energy = impulse.square().sum(dim=1, keepdim=True)
        impulse = impulse / (energy.sqrt() * from_decibels(uniform(self.direct_db, x))).clamp(min=1e-12)
        impulse[:, 0] = 1
        return impulse
