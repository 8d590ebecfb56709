"""Polarity inversion."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation


class Polarity(WaveformAugmentation):
    """Polarity inversion: the sign of every sample changes, as with swapped wires of a microphone.

    Args:
        sample_rate, p: see :class:`WaveformAugmentation`.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.polarity import Polarity
        >>> Polarity(sample_rate=16000, p=1.0)(torch.tensor([[0.5, -0.25]]))
        tensor([[-0.5000,  0.2500]])
    """

    def __init__(self, *, sample_rate: int, p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Invert clips."""
        return -x
