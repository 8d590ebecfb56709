"""CutMix along time."""

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import Domain, PairAugmentation, beta, random_below
from audio_lightning.core.checks import require_positive


class CutMix(PairAugmentation):
    """A stretch of time of one clip in its place in another one (Yun et al. 2019, arXiv 1905.04899, along time).

    The weights of the two targets are the shares of the samples (or frames) that come from each.

    Args:
        alpha: each clip draws the share that is kept from the distribution Beta(alpha, alpha); 1 is uniform.
        domain: whether ``waveform`` or ``features`` are mixed.
        sample_rate, p: see :class:`PairAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(self, *, sample_rate: int, alpha: float = 1.0, domain: Domain = "waveform", p: float = 1.0) -> None:
        super().__init__(sample_rate=sample_rate, p=p, domain=domain)
        require_positive("alpha", alpha)
        self.alpha = alpha

    def mix(
        self, x: Float[Tensor, "drawn ... time"], other: Float[Tensor, "drawn ... time"]
    ) -> tuple[Float[Tensor, "drawn ... time"], Float[Tensor, "drawn"]]:
        """Clips with a part of another, and the share that is their own."""
        length = x.shape[-1]
        width = ((1 - beta(self.alpha, x)) * length).round().long()
        start = random_below(length - width + 1)
        place = torch.arange(length, device=x.device)
        cut = (place >= start[:, None]) & (place < (start + width)[:, None])
        return torch.where(cut.view(len(x), *[1] * (x.dim() - 2), length), other, x), 1 - width / length
