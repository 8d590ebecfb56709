"""Linear-frequency cepstral coefficients."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.cepstrum import Cepstrum
from audio_lightning.features.filters import BandSettings, FilteredSpectrogram, LinearFilters
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
        bands: frames, and the range of the filters.
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
        bands: BandSettings = BandSettings(),
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        filters = LinearFilters(sample_rate, n_filters, bands.f_min, bands.f_max)
        self.cepstrum = Cepstrum(n_lfcc, n_filters, deltas=deltas, option="n_lfcc", bands_option="n_filters")
        self.bands = FilteredSpectrogram(filters, bands)
        self.decibel = Decibel(top_db)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch orders coefficients frames"]:
        """The coefficients as a picture of one channel for each order."""
        return self.cepstrum(self.decibel(self.bands(waveform)))
