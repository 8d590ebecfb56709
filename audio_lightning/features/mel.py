"""Mel spectrogram without a logarithm."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from audio_lightning.core.checks import require_choice
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.filters import MelSettings
from audio_lightning.features.normalize import NormalizeMode


class Mel(FrontEnd):
    """Power or magnitude in mel bands, [B, T] to [B, 1, n_mels, frames].

    Equal to the mel spectrograms of torchaudio (zero padded) and, with ``mel_scale`` and ``norm`` both ``"slaney"``, of
    librosa.

    Args:
        n_mels: number of mel bands.
        mel: frames and filters.
        scale: what is weighed and added up, ``"magnitude"`` or ``"power"``.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: an option that cannot work.
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
        """The mel spectrogram as a picture of one channel."""
        return self.mel(waveform).unsqueeze(1)
