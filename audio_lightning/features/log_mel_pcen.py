"""Log-mel spectrogram and per-channel energy normalization (PCEN) as channels."""

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
    """Log-mel spectrogram and one or more PCEN spectrograms as channels, [B, T] to [B, C, n_mels, frames].

    The first channel (:class:`LogMel`) keeps the level of a sound and the background behind it. The other channels
    (:class:`PCEN`) remove both, each with its own time constant (multi-rate PCEN: Ick & McFee 2021, arXiv 2102.03468).
    Networks trained on one channel each make errors on different clips, which helps an ensemble:
    ``ensemble.num_members=2 ensemble.inputs=channel``. All channels are computed from one Fourier transform.

    Args:
        n_mels: number of mel bands.
        mel: settings of frames and filters.
        top_db: see :class:`LogMel`.
        time_constants_seconds: time constant in seconds of each PCEN channel.
        control: gain, bias and power of the PCEN channels.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`; ``"statistics"`` are computed for each channel.

    Raises:
        ConfigError: invalid option, also if there is no time constant.

    Example:
        >>> import torch
        >>> from audio_lightning.features.log_mel_pcen import LogMelPCEN
        >>> options = {"time_constants_seconds": [0.1, 0.4], "normalize": "clip"}
        >>> front_end = LogMelPCEN(sample_rate=16000, num_samples=16000, **options)
        >>> front_end(torch.randn(2, 16000)).shape
        torch.Size([2, 3, 64, 101])
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
            raise ConfigError(
                "time_constants_seconds is empty, expected one number or more; use feature=logmel for no PCEN channel"
            )
        frame_rate = sample_rate / self.mel.power.hop_length
        self.controls = nn.ModuleList(
            GainControl(n_mels, frame_rate, control, time_constant_seconds=seconds)
            for seconds in time_constants_seconds
        )

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch channels mels frames"]:
        """Compute the log-mel spectrogram, and the normalized magnitudes for each time constant."""
        power = self.mel.power(waveform)
        decibels = self.decibel(self.mel.weights @ power)
        magnitude = self.mel.weights @ power.sqrt()
        return torch.stack([decibels, *(control(magnitude) for control in self.controls)], dim=1)
