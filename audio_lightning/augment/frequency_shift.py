"""Random shift along the frequency axis."""

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import SpectrogramAugmentation
from audio_lightning.core.errors import ConfigError


class FrequencyShift(SpectrogramAugmentation):
    """Random shift of each spectrogram up or down by some bins; free bins repeat the outermost bin.

    On a logarithmic frequency axis, this changes the pitch; on any axis, the resonances of room and microphone.

    Args:
        max_bins: maximum shift in either direction, drawn uniformly.
        sample_rate, p: see :class:`SpectrogramAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.frequency_shift import FrequencyShift
        >>> _ = torch.manual_seed(0)
        >>> spectrogram = torch.arange(6.0).view(1, 1, 6, 1)
        >>> FrequencyShift(sample_rate=16000, max_bins=2, p=1.0)(spectrogram).shape
        torch.Size([1, 1, 6, 1])
    """

    def __init__(self, *, sample_rate: int, max_bins: int = 2, p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        if max_bins < 1:
            raise ConfigError(f"max_bins is {max_bins}, expected at least 1")
        self.max_bins = max_bins

    def augment(self, x: Float[Tensor, "drawn channels bins frames"]) -> Float[Tensor, "drawn channels bins frames"]:
        """Shift features."""
        shift = torch.randint(-self.max_bins, self.max_bins + 1, (len(x), 1), device=x.device)
        bins = torch.arange(x.shape[2], device=x.device)
        source = (bins - shift).clamp(0, x.shape[2] - 1)
        return x.gather(2, source[:, None, :, None].expand_as(x))
