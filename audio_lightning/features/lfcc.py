"""Linear-frequency cepstral coefficients."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.cepstrum import Cepstrum
from audio_lightning.features.filters import FilteredSpectrogram, LinearFilters
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import Decibel


class LFCC(FrontEnd):
    """Orthonormal DCT-II of the levels in linearly spaced bands, [B, T] to [B, 1 + deltas, n_lfcc, frames].

    They keep the detail of high frequencies that the mel scale blurs. Equal to torchaudio's ``LFCC`` (zero padded) on
    single clips.

    Args:
        n_lfcc: number of coefficients, from the zeroth (the level) on.
        n_filters: number of bands.
        deltas: 0 for the coefficients alone, 1 with their slopes over five frames as a second channel, 2 also with the
            slopes of the slopes as a third.
        window_seconds: length of the Hann window.
        hop_seconds: distance of two frames.
        n_fft: length of the transform in samples; None for the smallest power of two that holds the window and leaves
            no filter empty.
        f_min: lower edge of the lowest band in hertz.
        f_max: upper edge of the highest band in hertz; None for half the sample rate.
        top_db: range that is kept below the loudest band of each clip, in decibels; None for all.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_lfcc: int = 40,
        n_filters: int = 64,
        deltas: int = 0,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.01,
        n_fft: int | None = None,
        f_min: float = 20,
        f_max: float | None = None,
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        filters = LinearFilters(sample_rate, n_filters, f_min, f_max)
        self.cepstrum = Cepstrum(n_lfcc, n_filters, deltas=deltas, option="n_lfcc", bands_option="n_filters")
        self.bands = FilteredSpectrogram(filters, window_seconds=window_seconds, hop_seconds=hop_seconds, n_fft=n_fft)
        self.decibel = Decibel(top_db)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch orders coefficients frames"]:
        """The coefficients as a picture of one channel for each order."""
        return self.cepstrum(self.decibel(self.bands(waveform)))
