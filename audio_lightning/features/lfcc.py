"""Linear-frequency cepstral coefficients."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.cepstrum import Cepstrum
from audio_lightning.features.filters import BandSettings, FilteredSpectrogram, LinearFilters
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import Decibel


class LFCC(FrontEnd):
    """Linear-frequency cepstral coefficients, [B, T] to [B, 1 + deltas, n_lfcc, frames].

    Orthonormal DCT-II of the levels in linearly spaced bands. They keep the detail of high frequencies that the mel
    scale blurs. Equal to torchaudio's ``LFCC`` (zero padded) on single clips.

    Args:
        n_lfcc: number of coefficients, including the zeroth (the level).
        n_filters: number of bands.
        deltas: 0 for the coefficients alone; 1 adds deltas over five frames as a second channel; 2 also adds
            delta-deltas as a third.
        bands: frame settings and the frequency range of the filters.
        top_db: dynamic range below the maximum of each clip in decibels; None for a floor of -100 dB alone.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.features.lfcc import LFCC
        >>> front_end = LFCC(sample_rate=16000, num_samples=16000, n_lfcc=20, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape
        torch.Size([2, 1, 20, 101])
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
        """Compute the coefficients, one channel for each order of deltas."""
        return self.cepstrum(self.decibel(self.bands(waveform)))
