"""Spectrogram on a linear frequency axis."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from audio_lightning.core.checks import require_choice
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import Decibel, FrameSettings, PowerSpectrogram


class Spectrogram(FrontEnd):
    """Spectrogram, [B, T] to [B, 1, n_fft // 2 + 1, frames].

    Args:
        frames: lengths of window, hop and transform.
        scale: ``"magnitude"``, ``"power"``, or ``"decibel"``, the power in decibels.
        top_db: with ``scale="decibel"``, dynamic range below the maximum of each clip in decibels; None for a
            floor of -100 dB alone.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.features.spectrogram import Spectrogram
        >>> front_end = Spectrogram(sample_rate=16000, num_samples=16000, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape
        torch.Size([2, 1, 257, 101])
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        frames: FrameSettings = FrameSettings(),
        scale: Literal["magnitude", "power", "decibel"] = "decibel",
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        require_choice("scale", scale, ["magnitude", "power", "decibel"])
        self.scale = scale
        self.power = PowerSpectrogram(sample_rate, frames)
        self.decibel = Decibel(top_db)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 bins frames"]:
        """Compute the spectrogram with one channel."""
        power = self.power(waveform)
        if self.scale == "magnitude":
            power = power.sqrt()
        elif self.scale == "decibel":
            power = self.decibel(power)
        return power.unsqueeze(1)
