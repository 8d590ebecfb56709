"""Mixup."""

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import Domain, PairAugmentation, beta
from audio_lightning.core.checks import require_positive


class Mixup(PairAugmentation):
    """Mixup: the weighted mean of two clips and of their targets (Zhang et al. 2018, arXiv 1710.09412).

    Args:
        alpha: parameter of the distribution Beta(alpha, alpha) of the weight; the smaller, the nearer to 0 or 1.
        domain: what is mixed, ``waveform`` or ``features``.
        sample_rate, p: see :class:`PairAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.mixup import Mixup
        >>> clips = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
        >>> mixed, target = Mixup(sample_rate=16000)(clips, torch.eye(2))
        >>> torch.allclose(mixed[:, 0], target[:, 0])  # sounds and targets have the same weights
        True
    """

    def __init__(self, *, sample_rate: int, alpha: float = 0.2, domain: Domain = "waveform", p: float = 1.0) -> None:
        super().__init__(sample_rate=sample_rate, p=p, domain=domain)
        require_positive("alpha", alpha)
        self.alpha = alpha

    def mix(
        self, x: Float[Tensor, "drawn ..."], other: Float[Tensor, "drawn ..."]
    ) -> tuple[Float[Tensor, "drawn ..."], Float[Tensor, "drawn"]]:
        """Mix two clips; return the mixture and the weight of the first."""
        share = beta(self.alpha, x)
        return torch.lerp(other, x, share.view(-1, *[1] * (x.dim() - 1))), share
