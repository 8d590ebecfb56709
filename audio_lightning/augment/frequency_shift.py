"""Random shift along the frequency axis."""

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import SpectrogramAugmentation
from audio_lightning.core.errors import ConfigError


class FrequencyShift(SpectrogramAugmentation):
    """Moves each clip up or down by a whole number of bins; the bins that are left free repeat the outermost one.

    On a logarithmic frequency axis that is another pitch, on any axis another resonance of room and microphone.

    Args:
        max_bins: furthest shift either way, drawn uniformly.
        sample_rate, p: see :class:`SpectrogramAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(self, *, sample_rate: int, max_bins: int = 2, p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        if max_bins < 1:
            raise ConfigError(f"max_bins is {max_bins}, expected at least 1")
        self.max_bins = max_bins

    def augment(self, x: Float[Tensor, "drawn channels bins frames"]) -> Float[Tensor, "drawn channels bins frames"]:
        """Moved features."""
        shift = torch.randint(-self.max_bins, self.max_bins + 1, (len(x), 1), device=x.device)
        bins = torch.arange(x.shape[2], device=x.device)
        source = (bins - shift).clamp(0, x.shape[2] - 1)
        return x.gather(2, source[:, None, :, None].expand_as(x))
