"""Focal loss: cross-entropy with less weight on well-classified clips."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FocalLoss(nn.Module):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002) of a softmax or, for multi-label clips, of one sigmoid per class.

    The cross-entropy of each class is multiplied by ``(1 - p) ** gamma``, where ``p`` is the probability of the
    target. Use ``loss.class_weights`` for the paper's ``alpha``.

    Args:
        gamma: focusing parameter; 0 is cross-entropy.
        multilabel: use a sigmoid for each class instead of a softmax.

    Raises:
        ValueError: ``gamma`` is negative.

    Example:
        >>> import torch
        >>> loss = FocalLoss(gamma=2.0)
        >>> logits = torch.tensor([[4.0, 0.0], [0.5, 0.0]])
        >>> easy, hard = loss(logits, torch.tensor([0, 0])).tolist()
        >>> print(f"{easy:.5f} {hard:.5f}")
        0.00001 0.06757
    """

    def __init__(self, gamma: float = 2.0, *, multilabel: bool = False) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {gamma}")
        self.gamma = gamma
        self.multilabel = multilabel

    def forward(self, logits: Float[Tensor, "batch classes"], target: Tensor) -> Tensor:
        """Compute the loss per clip ``[batch]`` or, for multi-label clips, per clip and class ``[batch, classes]``.

        Args:
            logits: raw scores, ``[batch, classes]``.
            target: class index ``[batch]``, or probability of each class ``[batch, classes]``.
        """
        if self.multilabel:
            return target * self._term(F.logsigmoid(logits)) + (1 - target) * self._term(F.logsigmoid(-logits))
        terms = self._term(logits.log_softmax(dim=1))
        if target.is_floating_point():
            return (target * terms).sum(dim=1)
        return terms.gather(1, target[:, None])[:, 0]

    def _term(self, log_probability: Tensor) -> Tensor:
        # 1 - exp(x) without cancellation; a probability of one would have an infinite gradient for gamma < 1.
        rest = (-torch.expm1(log_probability)).clamp(min=torch.finfo(log_probability.dtype).tiny)
        return -(rest**self.gamma) * log_probability
