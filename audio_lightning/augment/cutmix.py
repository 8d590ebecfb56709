"""CutMix along time."""

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import Domain, PairAugmentation, beta, random_below
from audio_lightning.core.checks import require_positive


class CutMix(PairAugmentation):
    """CutMix along time: a segment of each clip is replaced by that of another (Yun et al. 2019, arXiv 1905.04899).

    The weights of the two targets are the shares of the samples (or frames) from each clip.

    Args:
        alpha: parameter of the distribution Beta(alpha, alpha) of the share that is kept; 1 is uniform.
        domain: what is mixed, ``waveform`` or ``features``.
        sample_rate, p: see :class:`PairAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.cutmix import CutMix
        >>> clips = torch.tensor([[1.0] * 10, [2.0] * 10])
        >>> mixed, target = CutMix(sample_rate=16000)(clips, torch.eye(2))
        >>> torch.allclose((mixed[0] == 1).float().mean(), target[0, 0])  # weight = share of its own samples
        True
    """

    def __init__(self, *, sample_rate: int, alpha: float = 1.0, domain: Domain = "waveform", p: float = 1.0) -> None:
        super().__init__(sample_rate=sample_rate, p=p, domain=domain)
        require_positive("alpha", alpha)
        self.alpha = alpha

    def mix(
        self, x: Float[Tensor, "drawn ... time"], other: Float[Tensor, "drawn ... time"]
    ) -> tuple[Float[Tensor, "drawn ... time"], Float[Tensor, "drawn"]]:
        """Replace a segment of each clip; return the clips, and the share of each that is its own."""
        length = x.shape[-1]
        width = ((1 - beta(self.alpha, x)) * length).round().long()
        start = random_below(length - width + 1)
        place = torch.arange(length, device=x.device)
        cut = (place >= start[:, None]) & (place < (start + width)[:, None])
        return torch.where(cut.view(len(x), *[1] * (x.dim() - 2), length), other, x), 1 - width / length
