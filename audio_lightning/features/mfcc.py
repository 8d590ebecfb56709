"""Mel-frequency cepstral coefficients."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.cepstrum import Cepstrum
from audio_lightning.features.filters import MelSettings
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import Decibel


class MFCC(FrontEnd):
    """Mel-frequency cepstral coefficients, [B, T] to [B, 1 + deltas, n_mfcc, frames].

    Orthonormal DCT-II of the log-mel spectrogram (Davis & Mermelstein 1980), with the decibel scale of torchaudio and
    librosa instead of the natural logarithm.

    Args:
        n_mfcc: number of coefficients, including the zeroth (the level).
        n_mels: number of mel bands.
        deltas: 0 for the coefficients alone; 1 adds deltas over five frames as a second channel; 2 also adds
            delta-deltas as a third.
        mel: settings of frames and filters.
        center: whether frames are centred on multiples of the hop or start there; see :class:`PowerSpectrogram`.
        top_db: dynamic range below the maximum mel value of each clip in decibels; None for a floor of -100 dB alone.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.features.mfcc import MFCC
        >>> front_end = MFCC(sample_rate=16000, num_samples=16000, n_mfcc=20, deltas=2, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape  # coefficients, deltas and delta-deltas
        torch.Size([2, 3, 20, 101])
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_mfcc: int = 40,
        n_mels: int = 64,
        deltas: int = 0,
        mel: MelSettings = MelSettings(),
        center: bool = True,
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        self.mel = mel.spectrogram(sample_rate, n_mels, center=center)
        self.cepstrum = Cepstrum(n_mfcc, n_mels, deltas=deltas, option="n_mfcc", bands_option="n_mels")
        self.decibel = Decibel(top_db)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch orders coefficients frames"]:
        """Compute the coefficients, one channel for each order of deltas."""
        return self.cepstrum(self.decibel(self.mel(waveform)))
