"""Mel spectrogram without a logarithm."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from audio_lightning.core.checks import require_choice
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.filters import MelSettings
from audio_lightning.features.normalize import NormalizeMode


class Mel(FrontEnd):
    """Mel spectrogram in power or magnitude, [B, T] to [B, 1, n_mels, frames].

    Equal to torchaudio's mel spectrogram (zero padded) and, with ``mel_scale`` and ``norm`` both ``"slaney"``, to
    librosa's.

    Args:
        n_mels: number of mel bands.
        mel: settings of frames and filters.
        scale: ``"magnitude"`` or ``"power"``; the filters sum it over the frequencies.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.features.mel import Mel
        >>> front_end = Mel(sample_rate=16000, num_samples=16000, n_mels=40, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape
        torch.Size([2, 1, 40, 101])
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_mels: int = 64,
        mel: MelSettings = MelSettings(),
        scale: Literal["magnitude", "power"] = "power",
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        require_choice("scale", scale, ["magnitude", "power"])
        self.mel = mel.spectrogram(sample_rate, n_mels, magnitude=scale == "magnitude")

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 mels frames"]:
        """Compute the mel spectrogram with one channel."""
        return self.mel(waveform).unsqueeze(1)
