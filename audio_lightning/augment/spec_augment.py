"""SpecAugment: frequency and time masks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from audio_lightning.augment.base import SpectrogramAugmentation, random_below
from audio_lightning.core.errors import ConfigError


class SpecAugment(SpectrogramAugmentation):
    """SpecAugment: masks bands of bins and of frames (Park et al. 2019, arXiv 1904.08779).

    Time warping, the least effective part of the paper's method, is not included. Each mask of each clip has its own
    width, drawn uniformly from 0 to the maximum, and its own position; masks may overlap. Positions are drawn over the
    whole clip including its padding, as in ``torchaudio.functional.mask_along_axis`` and in the training of the Audio
    Spectrogram Transformer, so that a short clip keeps more of its sound.

    Args:
        n_freq_masks: number of frequency masks; 0 for none.
        freq_mask_param: maximum width of a frequency mask in bins.
        n_time_masks: number of time masks; 0 for none.
        time_mask_param: maximum width of a time mask in frames.
        time_fraction: maximum width of a time mask as a fraction of all frames; limits ``time_mask_param``.
        fill: value of masked cells; None for the mean of the clip.
        sample_rate, p: see :class:`SpectrogramAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.spec_augment import SpecAugment
        >>> _ = torch.manual_seed(0)
        >>> augment = SpecAugment(sample_rate=16000, n_time_masks=1, time_mask_param=10, n_freq_masks=0, fill=0.0)
        >>> masked = augment(torch.ones(8, 1, 40, 100))
        >>> masked.shape, bool((masked == 0).sum(dim=3).max() <= 10)
        (torch.Size([8, 1, 40, 100]), True)
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
        """Mask features; all channels of a clip have the same masks."""
        clips, _, bins, frames = x.shape
        widest = min(self.time_mask_param, int(self.time_fraction * frames))
        in_bins = _stripes(clips, self.n_freq_masks, min(self.freq_mask_param, bins), bins, x.device)
        in_frames = _stripes(clips, self.n_time_masks, widest, frames, x.device)
        hidden = in_bins[:, None, :, None] | in_frames[:, None, None, :]
        behind = x.mean(dim=(2, 3), keepdim=True) if self.fill is None else x.new_tensor(self.fill)
        return torch.where(hidden, behind, x)


def _stripes(clips: int, masks: int, widest: int, size: int, device: torch.device) -> Bool[Tensor, "clips size"]:
    """True where at least one mask of a clip covers a bin or frame."""
    width = torch.randint(widest + 1, (clips, masks, 1), device=device)
    start = random_below(size - width + 1)
    place = torch.arange(size, device=device)
    return ((place >= start) & (place < start + width)).any(dim=1)
