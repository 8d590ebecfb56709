"""Log-mel spectrogram, what most audio networks see."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.filters import MelSettings
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import Decibel


class LogMel(FrontEnd):
    """Mel spectrogram in decibels, [B, T] to [B, 1, n_mels, frames].

    Equal to torchaudio's ``MelSpectrogram`` (zero padded) and ``AmplitudeToDB`` on single clips; with ``mel_scale`` and
    ``norm`` both ``"slaney"``, to librosa's ``melspectrogram`` and ``power_to_db``.

    Args:
        n_mels: number of mel bands.
        mel: frames and filters.
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
        mel: MelSettings = MelSettings(),
        top_db: float | None = 80,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        self.mel = mel.spectrogram(sample_rate, n_mels)
        self.decibel = Decibel(top_db)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 mels frames"]:
        """The log-mel spectrogram as a picture of one channel."""
        return self.decibel(self.mel(waveform)).unsqueeze(1)
