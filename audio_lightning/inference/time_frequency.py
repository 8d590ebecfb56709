"""Time-frequency plane of explanations: masking of a waveform in mel bands and frames."""

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int64
from torch import Tensor

from audio_lightning.features.filters import hertz_to_mel, mel_to_hertz
from audio_lightning.features.padding import sound_lengths
from audio_lightning.features.stft import POWER_FLOOR, smallest_n_fft

BANDS = 32
"""Number of bands, of equal width on the mel scale, so that cells of all bands are perceptually comparable."""

WINDOW_SECONDS = 0.046
"""Approximate window length of the transform in seconds, rounded up to a suitable FFT size."""

SMALLEST = 1e-12
"""Smallest magnitude of a divisor, to avoid 0 / 0."""

QUIET = 0.1
"""Quantile of the magnitudes of a clip; removed cells are attenuated to this level."""


class TimeFrequencyPlane:
    """Mel bands and frames of a short-time Fourier transform, for clips of one sample rate and length.

    Attributes:
        sample_rate: in Hz.
        num_samples: clip length in samples.
        n_fft, hop_length: FFT size and hop in samples.
        frames: number of frames, which are centred on multiples of the hop.
        edges: band edges in Hz, ``[BANDS + 1]``.
        band: band index of every frequency bin.
    """

    def __init__(self, sample_rate: int, num_samples: int) -> None:
        self.sample_rate, self.num_samples = sample_rate, num_samples
        self.n_fft = smallest_n_fft(round(WINDOW_SECONDS * sample_rate))
        self.hop_length = max(1, self.n_fft // 4)
        self.frames = 1 + num_samples // self.hop_length
        highest = hertz_to_mel(sample_rate / 2, "htk")
        self.edges: Float[Tensor, "edges"] = mel_to_hertz(torch.linspace(0, highest, BANDS + 1), "htk")
        hertz = torch.linspace(0, sample_rate / 2, self.n_fft // 2 + 1)
        self.band: Int64[Tensor, "bins"] = torch.bucketize(hertz, self.edges[1:-1])
        self._window = torch.hann_window(self.n_fft)

    @property
    def centres(self) -> Float[Tensor, "bands"]:
        """Centre frequency of every band in Hz."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    def sounding_frames(self, waveform: Float[Tensor, "samples"]) -> int:
        """Return the number of frames before the padding of a clip."""
        return min(self.frames, 1 + int(sound_lengths(waveform[None])[0]) // self.hop_length)

    def keep(
        self, waveform: Float[Tensor, "samples"], kept: Bool[Tensor, "masks bands frames"]
    ) -> Float[Tensor, "masks samples"]:
        """Attenuate all cells of a clip outside of a mask, once for each mask; padding is unchanged.

        Cells are attenuated to a quiet level of the clip itself, :data:`QUIET`, because digital silence would be unlike
        the training clips.

        Args:
            waveform: a clip of ``num_samples``, on the CPU.
            kept: masks of the cells to keep.
        """
        spectrum = self._spectrum(waveform)
        magnitude = spectrum.abs()
        quiet = np.quantile(magnitude[:, : self.sounding_frames(waveform)].numpy(), QUIET)
        factor = (float(quiet) / magnitude.clamp(min=SMALLEST)).clamp(max=1)
        masked = spectrum * torch.where(kept[:, self.band], 1.0, factor)
        sound = torch.istft(
            masked, self.n_fft, self.hop_length, window=self._window, center=True, length=self.num_samples
        )
        end = int(sound_lengths(waveform[None])[0])
        sound[:, end:] = waveform[end:]
        return sound

    def levels(self, waveform: Float[Tensor, "samples"]) -> Float[Tensor, "bands frames"]:
        """Compute the mean power of every cell in dB."""
        power = self._spectrum(waveform).abs().square()
        sums = torch.zeros(BANDS, self.frames).index_add_(0, self.band, power)
        counts = torch.bincount(self.band, minlength=BANDS).clamp(min=1)
        return 10 * (sums / counts[:, None] / self.n_fft).clamp(min=POWER_FLOOR).log10()

    def _spectrum(self, waveform: Float[Tensor, "samples"]) -> Complex[Tensor, "bins frames"]:
        return torch.stft(
            waveform,
            self.n_fft,
            self.hop_length,
            window=self._window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
