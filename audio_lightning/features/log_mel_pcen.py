"""Log-mel spectrogram and per-channel energy normalization, side by side."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.filters import MelSettings
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.pcen import GainControl, GainSettings
from audio_lightning.features.stft import Decibel


class LogMelPCEN(FrontEnd):
    """The pictures of :class:`LogMel` and of one or more :class:`PCEN` as channels, [B, T] to [B, C, n_mels, frames].

    The first channel keeps how loud a sound is and all that goes on behind it; the others take both away, each with a
    memory of its own (multi-rate PCEN: Ick & McFee 2021, arXiv 2102.03468). Networks that each see one of the channels
    err on different clips: ``ensemble.num_members=2 ensemble.inputs=channel``. All come from one Fourier transform.

    Args:
        n_mels: number of mel bands.
        mel: frames and filters.
        top_db: see :class:`LogMel`.
        time_constants_seconds: memory of the gain control in each channel but the first.
        control: of the gain in each channel but the first.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`; ``"statistics"`` are those of each channel.

    Raises:
        ConfigError: an option that cannot work, also no time constant at all.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_mels: int = 64,
        mel: MelSettings = MelSettings(),
        top_db: float | None = 80,
        time_constants_seconds: Sequence[float] = (0.4,),
        control: GainSettings = GainSettings(),
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        self.mel = mel.spectrogram(sample_rate, n_mels)
        self.decibel = Decibel(top_db)
        if not time_constants_seconds:
            raise ConfigError("time_constants_seconds is empty, expected one number or more; feature=logmel has none")
        frame_rate = sample_rate / self.mel.power.hop_length
        self.controls = nn.ModuleList(
            GainControl(n_mels, frame_rate, control, time_constant_seconds=seconds)
            for seconds in time_constants_seconds
        )

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch channels mels frames"]:
        """The log-mel spectrogram, and the normalized magnitudes for each time constant."""
        power = self.mel.power(waveform)
        decibels = self.decibel(self.mel.weights @ power)
        magnitude = self.mel.weights @ power.sqrt()
        return torch.stack([decibels, *(control(magnitude) for control in self.controls)], dim=1)
