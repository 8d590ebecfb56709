"""Polarity inversion."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation


class Polarity(WaveformAugmentation):
    """Inverts the sign of every sample, as a microphone does whose wires are swapped.

    Args:
        sample_rate, p: see :class:`WaveformAugmentation`.
    """

    def __init__(self, *, sample_rate: int, p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Inverted clips."""
        return -x
