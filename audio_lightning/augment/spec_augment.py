"""Stripes of a spectrogram hidden."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from audio_lightning.augment.base import SpectrogramAugmentation, random_below
from audio_lightning.core.errors import ConfigError


class SpecAugment(SpectrogramAugmentation):
    """Hides stripes of bins and of frames (Park et al. 2019, arXiv 1904.08779).

    There is no time warping, which gains least there. Each stripe of each clip has a width of its own, uniform from 0
    to the widest, and a place of its own; stripes may overlap. Places are drawn over the whole clip, its padding
    included, as in ``torchaudio.functional.mask_along_axis`` and in the training of the Audio Spectrogram Transformer:
    a short clip keeps more of its sound.

    Args:
        frequency_masks: number of stripes of bins; 0 for none.
        frequency_width: most bins that a stripe hides.
        time_masks: number of stripes of frames; 0 for none.
        time_width: most frames that a stripe hides.
        time_fraction: most that a stripe hides of all frames, whatever ``time_width`` says.
        fill: value behind which is hidden; None for the mean of the clip.
        sample_rate, p: see :class:`SpectrogramAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        frequency_masks: int = 2,
        frequency_width: int = 8,
        time_masks: int = 2,
        time_width: int = 20,
        time_fraction: float = 0.2,
        fill: float | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        counts = {
            "frequency_masks": frequency_masks,
            "frequency_width": frequency_width,
            "time_masks": time_masks,
            "time_width": time_width,
        }
        for name, value in counts.items():
            if value < 0:
                raise ConfigError(f"{name} is {value}, expected at least 0")
        if not 0 <= time_fraction <= 1:
            raise ConfigError(f"time_fraction is {time_fraction}, expected a number from 0 to 1")
        self.frequency_masks, self.frequency_width = frequency_masks, frequency_width
        self.time_masks, self.time_width, self.time_fraction = time_masks, time_width, time_fraction
        self.fill = fill

    def augment(self, x: Float[Tensor, "drawn channels bins frames"]) -> Float[Tensor, "drawn channels bins frames"]:
        """Features behind stripes; all channels of a clip behind the same ones."""
        clips, _, bins, frames = x.shape
        widest = min(self.time_width, int(self.time_fraction * frames))
        in_bins = _stripes(clips, self.frequency_masks, min(self.frequency_width, bins), bins, x.device)
        in_frames = _stripes(clips, self.time_masks, widest, frames, x.device)
        hidden = in_bins[:, None, :, None] | in_frames[:, None, None, :]
        behind = x.mean(dim=(2, 3), keepdim=True) if self.fill is None else x.new_tensor(self.fill)
        return torch.where(hidden, behind, x)


def _stripes(clips: int, masks: int, widest: int, size: int, device: torch.device) -> Bool[Tensor, "clips size"]:
    """True where at least one of the stripes of a clip is."""
    width = torch.randint(widest + 1, (clips, masks, 1), device=device)
    start = random_below(size - width + 1)
    place = torch.arange(size, device=device)
    return ((place >= start) & (place < start + width)).any(dim=1)
