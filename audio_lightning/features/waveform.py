"""The waveform itself, for networks that learn their own filters."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.normalize import NormalizeMode


class Waveform(FrontEnd):
    """The waveform as one channel, [B, T] to [B, 1, T]."""

    kind = "waveform"

    def __init__(self, *, sample_rate: int, num_samples: int, normalize: NormalizeMode = "clip") -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 time"]:
        """The waveform with a dimension for its channel."""
        return waveform.unsqueeze(1)
