"""Log-mel spectrogram front end, the usual input of audio networks."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.filters import MelSettings
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import Decibel


class LogMel(FrontEnd):
    """Log-mel spectrogram in decibels, [B, T] to [B, 1, n_mels, frames].

    Equal to torchaudio's ``MelSpectrogram`` (zero padded) and ``AmplitudeToDB`` on single clips; with ``mel_scale`` and
    ``norm`` both ``"slaney"``, to librosa's ``melspectrogram`` and ``power_to_db``.

    Args:
        n_mels: number of mel bands.
        mel: settings of frames and filters.
        top_db: dynamic range below the maximum of each clip in decibels; None for a floor of -100 dB alone.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.features.log_mel import LogMel
        >>> front_end = LogMel(sample_rate=16000, num_samples=16000, n_mels=64, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape
        torch.Size([2, 1, 64, 101])
        >>> front_end.output_shape.dims
        (1, 64, 101)
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_mels: int = 64,
        mel: MelSettings = MelSettings(),
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        self.mel = mel.spectrogram(sample_rate, n_mels)
        self.decibel = Decibel(top_db)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 mels frames"]:
        """Compute the log-mel spectrogram with one channel."""
        return self.decibel(self.mel(waveform)).unsqueeze(1)
