"""Metrics of one evaluation, all from one confusion matrix."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import Metric


class ClassificationMetrics(Metric):
    """Accuracy, balanced accuracy, macro F1 and loss, exact over any number of batches and processes.

    The state is the confusion matrix and the summed loss. So nothing depends on how clips were put into batches:
    a mean of F1 over batches would be another number than the F1.

    Balanced accuracy is the mean recall over the classes that occur in the targets; macro F1 is the mean over the
    classes that occur in targets or predictions (both as scikit-learn defines them).

    Args:
        num_classes: number of classes.
    """

    full_state_update = False
    confusion: Tensor
    loss_sum: Tensor

    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(**options)
        matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", matrix, dist_reduce_fx="sum")
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        logits: Float[Tensor, "batch classes"],
        target: Int64[Tensor, "batch"],
        loss: Float[Tensor, "batch"],
    ) -> None:
        """Count a batch.

        Args:
            logits: of every clip and class; the largest is the prediction.
            target: index of the right class.
            loss: of every clip.
        """
        classes = self.confusion.shape[0]
        pairs = target * classes + logits.argmax(dim=1)
        # Not bincount: that has no deterministic implementation on CUDA.
        ones = torch.ones_like(pairs)
        self.confusion += (
            torch.zeros(classes**2, dtype=torch.int64, device=pairs.device)
            .scatter_add_(0, pairs, ones)
            .view(classes, classes)
        )
        self.loss_sum += loss.detach().double().sum()

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name, as float64 scalars."""
        matrix = self.confusion.double()
        hits, targets, predictions = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        recall = hits / targets
        f1 = 2 * hits / (targets + predictions)
        return {
            "accuracy": hits.sum() / matrix.sum(),
            "balanced_accuracy": recall[targets > 0].mean(),
            "f1_macro": f1[targets + predictions > 0].mean(),
            "loss": self.loss_sum / matrix.sum(),
        }

    def per_class(self) -> dict[str, Tensor]:
        """Precision, recall, F1 (each ``[classes]``, 0 where undefined) and the number of clips of every class."""
        matrix = self.confusion.double()
        hits, targets, predictions = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        return {
            "precision": (hits / predictions).nan_to_num(),
            "recall": (hits / targets).nan_to_num(),
            "f1": (2 * hits / (targets + predictions)).nan_to_num(),
            "clips": targets.long(),
        }
