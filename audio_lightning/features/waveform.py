"""Raw waveform, for networks that learn their own filters."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.normalize import NormalizeMode


class Waveform(FrontEnd):
    """Raw waveform as one channel, [B, T] to [B, 1, T].

    Args:
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.features.waveform import Waveform
        >>> front_end = Waveform(sample_rate=16000, num_samples=16000)
        >>> front_end(torch.randn(2, 16000)).shape
        torch.Size([2, 1, 16000])
    """

    kind = "waveform"

    def __init__(self, *, sample_rate: int, num_samples: int, normalize: NormalizeMode = "clip") -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 time"]:
        """Add the channel dimension."""
        return waveform.unsqueeze(1)
