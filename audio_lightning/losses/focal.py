"""Focal loss: cross-entropy that counts the less, the surer the right answer is."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FocalLoss(nn.Module):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002), of a softmax or, with several labels a clip, of sigmoids.

    The cross-entropy of each class is multiplied by ``(1 - p) ** gamma``, where ``p`` is the probability of the right
    answer. The paper's ``alpha`` is ``loss.class_weights`` here.

    Args:
        gamma: focusing parameter; 0 is cross-entropy.
        multilabel: a sigmoid for every class in place of the softmax.

    Raises:
        ValueError: a negative ``gamma``.
    """

    def __init__(self, gamma: float = 2.0, *, multilabel: bool = False) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {gamma}")
        self.gamma = gamma
        self.multilabel = multilabel

    def forward(self, logits: Float[Tensor, "batch classes"], target: Tensor) -> Tensor:
        """Loss of every clip, ``[batch]``, or of every clip and label, ``[batch, classes]``.

        Args:
            logits: of every clip and class.
            target: index of the class, ``[batch]``, or the share of every class, ``[batch, classes]``.
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
