"""Log-mel spectrogram and constant-Q transform as channels."""

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
    """Log-mel spectrogram and constant-Q transform as two channels, [B, T] to [B, 2, n_bins, frames].

    The log-mel spectrogram (:class:`LogMel`) has short frames of one length and covers all frequencies up to half the
    sample rate. The constant-Q transform (:class:`CQT`) resolves the partials of low notes with long frames, and a
    change of pitch only shifts it. Networks trained on one channel each make errors on different notes, which helps an
    ensemble: ``ensemble.num_members=2 ensemble.inputs=channel``.

    Args:
        n_bins: number of mel bands and of frequencies of the constant-Q transform.
        mel: settings of frames and filters of the log-mel spectrogram; both channels use its hop.
        bins_per_octave: number of bins in an octave of the constant-Q transform.
        cqt_f_min: lowest frequency of the constant-Q transform in hertz.
        top_db: dynamic range below the maximum of each channel of a clip in decibels; None for a floor of -100 dB
            alone.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`; ``"statistics"`` are computed for each channel.

    Raises:
        ConfigError: invalid option, or a frequency above half the sample rate.

    Example:
        >>> import torch
        >>> from audio_lightning.features.log_mel_cqt import LogMelCQT
        >>> front_end = LogMelCQT(sample_rate=16000, num_samples=16000, n_bins=48, cqt_f_min=130.8, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape
        torch.Size([2, 2, 48, 101])
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
        """Compute the log-mel spectrogram, and the levels of the constant-Q transform."""
        return torch.cat([self.logmel.compute(waveform), self.cqt.compute(waveform)], dim=1)
