"""Short-time Fourier transform and decibel scale, shared by the spectral front ends."""

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
    """Frame settings of a short-time Fourier transform.

    Attributes:
        window_seconds: length of the Hann window in seconds.
        hop_seconds: distance between the starts of two frames in seconds.
        n_fft: length of the transform in samples, even. None chooses the smallest power of two that is not shorter
            than the window and, with a filter bank, leaves no filter empty.
    """

    window_seconds: float = 0.025
    hop_seconds: float = 0.01
    n_fft: int | None = None


class PowerSpectrogram(nn.Module):
    """Power spectrogram, [B, T] to [B, n_fft // 2 + 1, frames].

    The window is a periodic Hann window. Zeros are padded at both ends of the clip.

    Args:
        sample_rate: rate of the waveforms in hertz.
        frames: lengths of window, hop and transform.
        center: True centres the windows on multiples of the hop, which gives 1 + T // hop_length frames. False starts
            the windows there; the last frame is padded with zeros at the end of the clip.

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
                f"{sample_rate} Hz; use null or {smallest_n_fft(window_length)}"
            )
        self.register_buffer("window", torch.hann_window(window_length, dtype=torch.float32), persistent=False)

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch bins frames"]:
        """Compute the power of each frequency in each frame."""
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
        """Pad with zeros so that frames of ``n_fft``, with the window in their middle, cover the whole waveform."""
        beyond = max(0, waveform.shape[-1] - len(self.window))
        hops = -(-beyond // self.hop_length)
        before = (self.n_fft - len(self.window)) // 2
        after = self.n_fft + hops * self.hop_length - before - waveform.shape[-1]
        return nn.functional.pad(waveform, (before, after))


class Decibel(nn.Module):
    """Power to decibels, relative to a power of 1.

    Lower values are raised to ``top_db`` below the maximum of each clip, and to at least -100 dB.

    Args:
        top_db: dynamic range in decibels; None for a floor of -100 dB alone.

    Raises:
        ConfigError: ``top_db`` is not positive.
    """

    def __init__(self, top_db: float | None) -> None:
        super().__init__()
        require_positive("top_db", top_db)
        self.top_db = top_db

    def forward(self, power: Float[Tensor, "batch bins frames"]) -> Float[Tensor, "batch bins frames"]:
        """Convert power to decibels, separately for every clip."""
        if self.top_db is None:
            floored = power.clamp_min(POWER_FLOOR)
        else:
            quietest = power.amax((-2, -1), keepdim=True) * 10 ** (-self.top_db / 10)
            floored = torch.maximum(power, quietest.clamp_min(POWER_FLOOR))
        return floored.log10_().mul_(10)


def smallest_n_fft(window_length: int) -> int:
    """Return the smallest power of two, at least 2, that is not shorter than the window."""
    return max(2, 1 << (window_length - 1).bit_length())
