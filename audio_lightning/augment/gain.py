"""Random gain."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation, from_decibels, require_range, uniform


class Gain(WaveformAugmentation):
    """Random gain for each clip; nothing is clipped.

    Args:
        gain_db: range of the gain in decibels, drawn uniformly.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.gain import Gain
        >>> Gain(sample_rate=16000, gain_db=(20.0, 20.0), p=1.0)(torch.tensor([[0.01, -0.02]]))
        tensor([[ 0.1000, -0.2000]])
    """

    def __init__(self, *, sample_rate: int, gain_db: tuple[float, float] = (-6.0, 6.0), p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        require_range("gain_db", gain_db)
        self.gain_db = gain_db

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Multiply clips by their gains."""
        return x * from_decibels(uniform(self.gain_db, x))
