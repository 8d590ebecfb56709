"""Mixup."""

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import Domain, PairAugmentation, beta
from audio_lightning.core.checks import require_positive


class Mixup(PairAugmentation):
    """The weighted mean of two clips and of their targets (Zhang et al. 2018, arXiv 1710.09412).

    Args:
        alpha: each clip draws its weight from the distribution Beta(alpha, alpha): the smaller, the nearer to 0 or 1.
        domain: whether ``waveform`` or ``features`` are mixed.
        sample_rate, p: see :class:`PairAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(self, *, sample_rate: int, alpha: float = 0.2, domain: Domain = "waveform", p: float = 1.0) -> None:
        super().__init__(sample_rate=sample_rate, p=p, domain=domain)
        require_positive("alpha", alpha)
        self.alpha = alpha

    def mix(
        self, x: Float[Tensor, "drawn ..."], other: Float[Tensor, "drawn ..."]
    ) -> tuple[Float[Tensor, "drawn ..."], Float[Tensor, "drawn"]]:
        """Two clips in one, and the weight of the first."""
        share = beta(self.alpha, x)
        return torch.lerp(other, x, share.view(-1, *[1] * (x.dim() - 1))), share
