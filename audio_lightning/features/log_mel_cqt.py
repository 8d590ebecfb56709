"""Log-mel spectrogram and constant-Q transform, side by side."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.cqt import CQT
from audio_lightning.features.filters import MelSettings
from audio_lightning.features.log_mel import LogMel
from audio_lightning.features.normalize import NormalizeMode


class LogMelCQT(FrontEnd):
    """The pictures of :class:`LogMel` and of :class:`CQT` as two channels, [B, T] to [B, 2, n_bins, frames].

    The first has frames of one length and all that is heard up to half the sample rate; in the second, long frames
    tell the partials of low notes apart, and another pitch is the same picture further up. Networks that each see one
    of the channels err on different notes: ``ensemble.num_members=2 ensemble.inputs=channel``.

    Args:
        n_bins: number of mel bands, and of the constant-Q transform's frequencies.
        mel: frames and filters of the log-mel spectrogram; the hop is that of both.
        bins_per_octave: how many of the constant-Q transform's frequencies double the frequency.
        cqt_f_min: the lowest of them in hertz.
        top_db: range that is kept below the loudest value of each channel of a clip, in decibels; None for all.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`; ``"statistics"`` are those of each channel.

    Raises:
        ConfigError: an option that cannot work, or a frequency above half the sample rate.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_bins: int = 84,
        mel: MelSettings = MelSettings(window_seconds=0.064),
        bins_per_octave: int = 12,
        cqt_f_min: float = 32.7032,
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        shared: dict[str, Any] = {"sample_rate": sample_rate, "num_samples": num_samples, "top_db": top_db}
        self.logmel = LogMel(**shared, n_mels=n_bins, mel=mel, normalize="none")
        self.cqt = CQT(
            **shared,
            n_bins=n_bins,
            bins_per_octave=bins_per_octave,
            f_min=cqt_f_min,
            hop_seconds=mel.hop_seconds,
            normalize="none",
        )

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 2 bins frames"]:
        """The log-mel spectrogram, and the levels of the constant-Q transform."""
        return torch.cat([self.logmel.compute(waveform), self.cqt.compute(waveform)], dim=1)
