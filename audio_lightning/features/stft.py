"""The short-time Fourier transform and the decibel scale that spectral front ends share."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import count_samples, require_positive
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.settings import Settings

POWER_FLOOR = 1e-10  # -100 dB, as in torchaudio and librosa


@dataclass(frozen=True)
class FrameSettings(Settings):
    """Frames of a short-time Fourier transform.

    Attributes:
        window_seconds: length of the Hann window.
        hop_seconds: distance between the starts of two frames.
        n_fft: length of the transform in samples, even; None for the smallest power of two that holds the window and,
            where there are filters, leaves none of them empty.
    """

    window_seconds: float = 0.025
    hop_seconds: float = 0.01
    n_fft: int | None = None


class PowerSpectrogram(nn.Module):
    """Squared magnitude of the short-time Fourier transform, [B, T] to [B, n_fft // 2 + 1, frames].

    The window is a periodic Hann window, beyond both ends of the clip lie zeros.

    Args:
        sample_rate: rate of the waveforms in hertz.
        frames: lengths of window, hop and transform.
        center: True centres the windows on multiples of the hop, 1 + T // hop_length frames. False starts them there,
            as many as reach the end of the clip, the last of them filled up with zeros.

    Raises:
        ConfigError: a length below one sample, or an ``n_fft`` that is odd or shorter than the window.
    """

    window: Tensor

    def __init__(self, sample_rate: int, frames: FrameSettings, *, center: bool = True) -> None:
        super().__init__()
        self.center = center
        window_length = count_samples("window_seconds", frames.window_seconds, sample_rate)
        self.hop_length = count_samples("hop_seconds", frames.hop_seconds, sample_rate)
        self.n_fft = smallest_n_fft(window_length) if frames.n_fft is None else frames.n_fft
        if self.n_fft < window_length or self.n_fft % 2:
            raise ConfigError(
                f"n_fft is {self.n_fft}, expected an even number of at least {window_length} samples, the window at "
                f"{sample_rate} Hz: use null or {smallest_n_fft(window_length)}"
            )
        self.register_buffer("window", torch.hann_window(window_length, dtype=torch.float32), persistent=False)

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch bins frames"]:
        """Power of each frequency in each frame."""
        spectrum = torch.stft(
            waveform if self.center else self._reach_the_end(waveform),
            self.n_fft,
            self.hop_length,
            win_length=len(self.window),
            window=self.window,
            center=self.center,
            pad_mode="constant",
            return_complex=True,
        )
        # The square root in abs() would cost as much as the transform itself.
        return spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)

    def _reach_the_end(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch padded"]:
        """Zeros around the waveform, so that frames of ``n_fft``, the window in their middle, cover all of it."""
        beyond = max(0, waveform.shape[-1] - len(self.window))
        hops = -(-beyond // self.hop_length)
        before = (self.n_fft - len(self.window)) // 2
        after = self.n_fft + hops * self.hop_length - before - waveform.shape[-1]
        return nn.functional.pad(waveform, (before, after))


class Decibel(nn.Module):
    """Power to decibels (0 dB is a power of 1), cut off ``top_db`` below the loudest value of each clip.

    Args:
        top_db: range that is kept, in decibels; None keeps everything above -100 dB.

    Raises:
        ConfigError: ``top_db`` is not positive.
    """

    def __init__(self, top_db: float | None) -> None:
        super().__init__()
        require_positive("top_db", top_db)
        self.top_db = top_db

    def forward(self, power: Float[Tensor, "batch bins frames"]) -> Float[Tensor, "batch bins frames"]:
        """Level of each value, of every clip for itself."""
        if self.top_db is None:
            floored = power.clamp_min(POWER_FLOOR)
        else:
            quietest = power.amax((-2, -1), keepdim=True) * 10 ** (-self.top_db / 10)
            floored = torch.maximum(power, quietest.clamp_min(POWER_FLOOR))
        return floored.log10_().mul_(10)


def smallest_n_fft(window_length: int) -> int:
    """The smallest power of two (at least 2) that holds a window of so many samples."""
    return max(2, 1 << (window_length - 1).bit_length())
