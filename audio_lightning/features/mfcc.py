"""Mel-frequency cepstral coefficients."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.cepstrum import Cepstrum
from audio_lightning.features.filters import FilteredSpectrogram, MelFilters, MelNorm, MelScale
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import Decibel


class MFCC(FrontEnd):
    """Orthonormal DCT-II of the log-mel spectrogram in decibels, [B, T] to [B, 1 + deltas, n_mfcc, frames].

    Davis & Mermelstein 1980, with the decibel scale of torchaudio and librosa in place of the natural logarithm.

    Args:
        n_mfcc: number of coefficients, from the zeroth (the level) on.
        n_mels: number of mel bands.
        deltas: 0 for the coefficients alone, 1 with their slopes over five frames as a second channel, 2 also with the
            slopes of the slopes as a third.
        window_seconds: length of the Hann window.
        hop_seconds: distance of two frames.
        n_fft: length of the transform in samples; None for the smallest power of two that holds the window and leaves
            no mel filter empty.
        center: whether frames are centred on multiples of the hop or start there; see :class:`PowerSpectrogram`.
        f_min: lower edge of the lowest band in hertz.
        f_max: upper edge of the highest band in hertz; None for half the sample rate.
        mel_scale: ``"htk"`` or ``"slaney"``.
        norm: ``"slaney"`` for bands of equal area, None for equal height.
        top_db: range that is kept below the loudest mel value of each clip, in decibels; None for all.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_mfcc: int = 40,
        n_mels: int = 64,
        deltas: int = 0,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.01,
        n_fft: int | None = None,
        center: bool = True,
        f_min: float = 20,
        f_max: float | None = None,
        mel_scale: MelScale = "htk",
        norm: MelNorm = None,
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        filters = MelFilters(sample_rate, n_mels, f_min, f_max, mel_scale, norm)
        self.cepstrum = Cepstrum(n_mfcc, n_mels, deltas=deltas, option="n_mfcc", bands_option="n_mels")
        self.mel = FilteredSpectrogram(
            filters, window_seconds=window_seconds, hop_seconds=hop_seconds, n_fft=n_fft, center=center
        )
        self.decibel = Decibel(top_db)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch orders coefficients frames"]:
        """The coefficients as a picture of one channel for each order."""
        return self.cepstrum(self.decibel(self.mel(waveform)))
