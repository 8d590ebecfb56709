"""Random gain."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation, from_decibels, require_range, uniform


class Gain(WaveformAugmentation):
    """Multiplies each clip by a factor of its own. Nothing is clipped.

    Args:
        gain_db: range of the gain in decibels, drawn uniformly.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(self, *, sample_rate: int, gain_db: tuple[float, float] = (-6.0, 6.0), p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        require_range("gain_db", gain_db)
        self.gain_db = gain_db

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Louder or quieter clips."""
        return x * from_decibels(uniform(self.gain_db, x))
