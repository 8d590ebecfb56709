"""Speed perturbation."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from audio_lightning.augment.base import WaveformAugmentation, log_uniform, require_range
from audio_lightning.augment.spectrum import fast_length, filter_spectrum

TOGETHER = 2
"""Clips that a CPU reads at once: what it computes of them stays in its caches, which takes half as long as a whole
batch of clips of 4 s."""


class Speed(WaveformAugmentation):
    """Plays each clip at a speed of its own, which moves pitch and tempo together, around the middle of the clip.

    The length is kept: a slower clip loses what goes beyond its ends, a faster one gets zeros there. What would lie
    above half the sample rate is removed first; then values between samples follow from the nearest four (Catmull-Rom
    splines; Keys 1981).

    Speeds of 0.9 to 1.1 are common for speech (Ko et al. 2015), 0.8 to 1.25 for sounds (Tokozume et al. 2018).

    Args:
        speed: range of the speed, drawn uniformly in its logarithm; a semitone is a factor of 1.0595.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(self, *, sample_rate: int, speed: tuple[float, float] = (0.9, 1.1), p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        require_range("speed", speed, above=0)
        self.speed = speed

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Clips at another speed."""
        speed = log_uniform(self.speed, x)[:, None]
        if self.speed[1] > 1:
            x = _limit_band(x, speed)
        if x.device.type != "cpu":
            return _read(x, speed)
        return torch.cat([_read(*part) for part in zip(x.split(TOGETHER), speed.split(TOGETHER))])


def _read(x: Float[Tensor, "drawn time"], speed: Float[Tensor, "drawn 1"]) -> Float[Tensor, "drawn time"]:
    """The values between samples."""
    length = x.shape[1]
    place = torch.arange(length, device=x.device)
    # Kept apart from the place, which takes the digits that float32 has for the fraction.
    displacement = (place - (length - 1) / 2) * (speed - 1)
    before = place + displacement.floor().long()
    fraction = displacement - displacement.floor()
    # A zero at each end stands for all that lies beyond.
    padded = functional.pad(x, (1, 1))
    a, b, c, d = (padded.gather(1, (before + step).clamp(0, length + 1)) for step in (0, 1, 2, 3))
    return b + fraction / 2 * (c - a + fraction * (2 * a - 5 * b + 4 * c - d + fraction * (3 * (b - c) + d - a)))


def _limit_band(x: Float[Tensor, "drawn time"], speed: Float[Tensor, "drawn 1"]) -> Float[Tensor, "drawn time"]:
    n_fft = fast_length(x.shape[1])
    kept = torch.linspace(0, 1, n_fft // 2 + 1, device=x.device) * speed <= 1
    return filter_spectrum(x, kept.float(), n_fft)
