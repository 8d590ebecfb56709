"""Speed perturbation."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from audio_lightning.augment.base import WaveformAugmentation, log_uniform, require_range
from audio_lightning.augment.spectrum import fast_length, filter_spectrum

TOGETHER = 2
"""Clips that a CPU processes at once: intermediate results stay in its caches, which takes half the time of a whole
batch of 4 s clips."""


class Speed(WaveformAugmentation):
    """Speed perturbation: each clip is resampled by a random factor, which changes pitch and tempo together.

    The middle of the clip stays in place, and the length is kept: a slower clip is cut at both ends, a faster one is
    padded with zeros. Frequencies that would exceed half the sample rate are removed first; values between samples are
    interpolated from the nearest four (Catmull-Rom splines; Keys 1981).

    Common ranges are 0.9 to 1.1 for speech (Ko et al. 2015) and 0.8 to 1.25 for sounds (Tokozume et al. 2018).

    Args:
        speed: range of the speed, drawn log-uniformly; a semitone is a factor of 1.0595.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.speed import Speed
        >>> tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)[None]
        >>> faster = Speed(sample_rate=16000, speed=(1.25, 1.25), p=1.0)(tone)
        >>> torch.fft.rfft(faster).abs().argmax().item()  # the frequency in hertz, of a clip of one second
        1250
    """

    def __init__(self, *, sample_rate: int, speed: tuple[float, float] = (0.9, 1.1), p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        require_range("speed", speed, above=0)
        self.speed = speed

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Change the speed of clips."""
        speed = log_uniform(self.speed, x)[:, None]
        if self.speed[1] > 1:
            x = _limit_band(x, speed)
        if x.device.type != "cpu":
            return _read(x, speed)
        return torch.cat([_read(*part) for part in zip(x.split(TOGETHER), speed.split(TOGETHER))])


def _read(x: Float[Tensor, "drawn time"], speed: Float[Tensor, "drawn 1"]) -> Float[Tensor, "drawn time"]:
    """Interpolate values between samples."""
    length = x.shape[1]
    place = torch.arange(length, device=x.device)
    # Separate from the position, which would take the digits that float32 has for the fraction.
    displacement = (place - (length - 1) / 2) * (speed - 1)
    before = place + displacement.floor().long()
    fraction = displacement - displacement.floor()
    # One zero at each end stands for everything beyond it.
    padded = functional.pad(x, (1, 1))
    a, b, c, d = (padded.gather(1, (before + step).clamp(0, length + 1)) for step in (0, 1, 2, 3))
    return b + fraction / 2 * (c - a + fraction * (2 * a - 5 * b + 4 * c - d + fraction * (3 * (b - c) + d - a)))


def _limit_band(x: Float[Tensor, "drawn time"], speed: Float[Tensor, "drawn 1"]) -> Float[Tensor, "drawn time"]:
    n_fft = fast_length(x.shape[1])
    kept = torch.linspace(0, 1, n_fft // 2 + 1, device=x.device) * speed <= 1
    return filter_spectrum(x, kept.float(), n_fft)
