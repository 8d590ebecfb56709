"""SpecAugment: masks over bands of frequencies and over stretches of time."""

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
        n_freq_masks: number of stripes of bins; 0 for none.
        freq_mask_param: most bins that a stripe hides.
        n_time_masks: number of stripes of frames; 0 for none.
        time_mask_param: most frames that a stripe hides.
        time_fraction: most that a stripe hides of all frames, whatever ``time_mask_param`` says.
        fill: value behind which is hidden; None for the mean of the clip.
        sample_rate, p: see :class:`SpectrogramAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        n_freq_masks: int = 2,
        freq_mask_param: int = 8,
        n_time_masks: int = 2,
        time_mask_param: int = 20,
        time_fraction: float = 0.2,
        fill: float | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        counts = {
            "n_freq_masks": n_freq_masks,
            "freq_mask_param": freq_mask_param,
            "n_time_masks": n_time_masks,
            "time_mask_param": time_mask_param,
        }
        for name, value in counts.items():
            if value < 0:
                raise ConfigError(f"{name} is {value}, expected at least 0")
        if not 0 <= time_fraction <= 1:
            raise ConfigError(f"time_fraction is {time_fraction}, expected a number from 0 to 1")
        self.n_freq_masks, self.freq_mask_param = n_freq_masks, freq_mask_param
        self.n_time_masks, self.time_mask_param, self.time_fraction = n_time_masks, time_mask_param, time_fraction
        self.fill = fill

    def augment(self, x: Float[Tensor, "drawn channels bins frames"]) -> Float[Tensor, "drawn channels bins frames"]:
        """Features behind stripes; all channels of a clip behind the same ones."""
        clips, _, bins, frames = x.shape
        widest = min(self.time_mask_param, int(self.time_fraction * frames))
        in_bins = _stripes(clips, self.n_freq_masks, min(self.freq_mask_param, bins), bins, x.device)
        in_frames = _stripes(clips, self.n_time_masks, widest, frames, x.device)
        hidden = in_bins[:, None, :, None] | in_frames[:, None, None, :]
        behind = x.mean(dim=(2, 3), keepdim=True) if self.fill is None else x.new_tensor(self.fill)
        return torch.where(hidden, behind, x)


def _stripes(clips: int, masks: int, widest: int, size: int, device: torch.device) -> Bool[Tensor, "clips size"]:
    """True where at least one of the stripes of a clip is."""
    width = torch.randint(widest + 1, (clips, masks, 1), device=device)
    start = random_below(size - width + 1)
    place = torch.arange(size, device=device)
    return ((place >= start) & (place < start + width)).any(dim=1)
