"""Log-mel spectrogram, what most audio networks see."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.filters import FilteredSpectrogram, MelFilters, MelNorm, MelScale
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import Decibel


class LogMel(FrontEnd):
    """Mel spectrogram in decibels, [B, T] to [B, 1, n_mels, frames].

    Equal to torchaudio's ``MelSpectrogram`` (zero padded) and ``AmplitudeToDB`` on single clips; with ``mel_scale`` and
    ``norm`` both ``"slaney"``, to librosa's ``melspectrogram`` and ``power_to_db``.

    Args:
        n_mels: number of mel bands.
        window_seconds: length of the Hann window.
        hop_seconds: distance of two frames.
        n_fft: length of the transform in samples; None for the smallest power of two that holds the window and leaves
            no mel filter empty.
        f_min: lower edge of the lowest band in hertz.
        f_max: upper edge of the highest band in hertz; None for half the sample rate.
        mel_scale: ``"htk"`` or ``"slaney"``.
        norm: ``"slaney"`` for bands of equal area, None for equal height.
        top_db: range that is kept below the loudest value of each clip, in decibels; None for all.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_mels: int = 64,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.01,
        n_fft: int | None = None,
        f_min: float = 20,
        f_max: float | None = None,
        mel_scale: MelScale = "htk",
        norm: MelNorm = None,
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        filters = MelFilters(sample_rate, n_mels, f_min, f_max, mel_scale, norm)
        self.mel = FilteredSpectrogram(filters, window_seconds=window_seconds, hop_seconds=hop_seconds, n_fft=n_fft)
        self.decibel = Decibel(top_db)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 mels frames"]:
        """The log-mel spectrogram as a picture of one channel."""
        return self.decibel(self.mel(waveform)).unsqueeze(1)
