"""Random crop in time."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation, random_below, require_range, uniform
from audio_lightning.core.checks import require_choice
from audio_lightning.core.errors import ConfigError


class RandomCrop(WaveformAugmentation):
    """Random crop: a random segment of each clip is kept, as if the recording were shorter.

    The segment moves to the beginning of the clip, where short recordings are. If clips have much padding, choose
    ``share`` such that a segment still contains sound.

    Args:
        share: range of the share of the clip that is kept, drawn uniformly.
        fill: padding after the segment: ``"zero"``, or ``"repeat"`` to repeat the segment.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.random_crop import RandomCrop
        >>> RandomCrop(sample_rate=16000, share=(0.5, 0.5), p=1.0)(torch.ones(1, 6))
        tensor([[1., 1., 1., 0., 0., 0.]])
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        share: tuple[float, float] = (0.5, 1.0),
        fill: Literal["zero", "repeat"] = "zero",
        p: float = 0.5,
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        require_range("share", share, above=0)
        if share[1] > 1:
            raise ConfigError(f"share is {list(share)}, expected at most 1, the whole clip")
        require_choice("fill", fill, ("zero", "repeat"))
        self.share, self.fill = share, fill

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Crop clips."""
        length = x.shape[1]
        kept = (uniform(self.share, x) * length).round().long().clamp(min=1)
        start = random_below(length - kept + 1)
        place = torch.arange(length, device=x.device)
        piece = x.gather(1, start[:, None] + place % kept[:, None])
        return piece if self.fill == "repeat" else piece * (place < kept[:, None])
