"""Constant-Q transform front end."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import count_samples, require_positive, require_table
from audio_lightning.core.errors import ConfigError
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import Decibel


class CQT(FrontEnd):
    """Constant-Q transform in decibels, [B, T] to [B, 1, n_bins, 1 + T // hop_length].

    The frequencies are spaced geometrically. Every bin covers the same number of periods, so the resolution is the same
    in semitones everywhere: a change of pitch shifts the spectrogram of an instrument along the bins and does not
    stretch it (Brown 1991). A sine of amplitude 1 at the frequency of a bin has 0 dB. Frames are centred on multiples
    of the hop, with zeros beyond both ends of the clip.

    Args:
        n_bins: number of frequencies.
        bins_per_octave: number of bins in an octave.
        f_min: lowest frequency in hertz.
        hop_seconds: distance between two frames in seconds.
        top_db: dynamic range below the maximum of each clip in decibels; None for a floor of -100 dB alone.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: invalid option, or a frequency above half the sample rate.

    Example:
        >>> import torch
        >>> from audio_lightning.features.cqt import CQT
        >>> front_end = CQT(sample_rate=16000, num_samples=16000, n_bins=48, f_min=130.8, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape
        torch.Size([2, 1, 48, 101])
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_bins: int = 84,
        bins_per_octave: int = 12,
        f_min: float = 32.7032,
        hop_seconds: float = 0.01,
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        for name, value in {"n_bins": n_bins, "bins_per_octave": bins_per_octave, "f_min": f_min}.items():
            require_positive(name, value)
        require_table("bins_per_octave", bins_per_octave)
        require_table("bins_per_octave and f_min", 2 * bins_per_octave, _periods(bins_per_octave) * sample_rate / f_min)
        # The check above leaves fewer than 24 octaves between f_min and half the sample rate.
        frequencies = [f_min * 2 ** (number / bins_per_octave) for number in range(min(n_bins, 24 * bins_per_octave))]
        usable = sum(frequency < sample_rate / 2 for frequency in frequencies)
        if usable < n_bins:
            remedy = f"n_bins of at most {usable}" if usable else "a lower f_min"
            raise ConfigError(
                f"the highest of {n_bins} bins lies at {frequencies[-1]:.0f} Hz, not below half the sample rate of "
                f"{sample_rate} Hz; use {remedy}"
            )
        self.hop_length = count_samples("hop_seconds", hop_seconds, sample_rate)
        # One octave at a time: its kernels are half as long as those of the octave below.
        octaves = (frequencies[first : first + bins_per_octave] for first in range(0, n_bins, bins_per_octave))
        kernels = [_kernels(octave, bins_per_octave, sample_rate) for octave in octaves]
        for number, kernel in enumerate(kernels):
            self.register_buffer(f"kernel{number}", kernel.to(torch.get_default_device()), persistent=False)
        self.octaves = len(kernels)
        self.decibel = Decibel(top_db)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 bins frames"]:
        """Compute the levels as a spectrogram with one channel."""
        octaves = [self._power(waveform, self.get_buffer(f"kernel{number}")) for number in range(self.octaves)]
        return self.decibel(torch.cat(octaves, dim=1)).unsqueeze(1)

    def _power(
        self, waveform: Float[Tensor, "batch time"], kernels: Float[Tensor, "parts length"]
    ) -> Float[Tensor, "batch bins frames"]:
        # A convolution gives the same, but on a CPU its rounding of a clip depends on the batch size.
        length = kernels.shape[-1]
        padded = nn.functional.pad(waveform, (length // 2, length // 2 + 1))
        frames = padded.unfold(-1, length, self.hop_length)
        cosine, sine = (kernels @ frames.mT).chunk(2, dim=1)
        return cosine.square() + sine.square()


def _kernels(frequencies: list[float], bins_per_octave: int, sample_rate: int) -> Float[Tensor, "parts length"]:
    """Cosine kernels, then sine kernels, under Hann windows of Q periods, centred in an odd length; on the CPU."""
    with torch.device("cpu"):
        hertz = torch.tensor(frequencies, dtype=torch.float64)[:, None]
        lengths = _periods(bins_per_octave) * sample_rate / hertz
        reach = math.ceil(float(lengths.amax()) / 2)
        time = torch.arange(-reach, reach + 1, dtype=torch.float64)
        windows = torch.where(time.abs() < lengths / 2, 0.5 + 0.5 * torch.cos(2 * torch.pi * time / lengths), 0.0)
        windows = 2 * windows / windows.sum(dim=1, keepdim=True)
        phase = 2 * torch.pi * hertz * time / sample_rate
        return torch.cat([windows * phase.cos(), windows * phase.sin()]).float()


def _periods(bins_per_octave: int) -> float:
    """Q: number of periods of a frequency within its window."""
    return 1 / (2 ** (1 / bins_per_octave) - 1)
