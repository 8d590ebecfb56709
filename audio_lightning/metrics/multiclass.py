"""Single-label classification metrics."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from audio_lightning.metrics.base import EvaluationMetrics, joined, precision_recall_f1


class ClassificationMetrics(EvaluationMetrics):
    """Accuracy, balanced accuracy, macro F1 and mean loss over all clips, independent of the batch size.

    Balanced accuracy is the mean recall over the classes that occur in the targets. Macro F1 is the mean over the
    classes that occur in targets or predictions. Both are defined as in scikit-learn.

    Example:
        >>> import torch
        >>> metrics = ClassificationMetrics(num_classes=2)
        >>> logits, target = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])
        >>> metrics.update(logits, target, torch.nn.functional.cross_entropy(logits, target, reduction="none"))
        >>> found = metrics.compute()
        >>> round(float(found["accuracy"]), 3), round(float(found["balanced_accuracy"]), 3)
        (0.667, 0.75)
    """

    pairs: list[Tensor]

    def __init__(self, num_classes: int, *options: Any, **named: Any) -> None:
        super().__init__(num_classes, *options, **named)
        # Pairs and not a confusion matrix, which takes gigabytes for thousands of classes.
        self.add_state("pairs", [], dist_reduce_fx="cat")
        if self.configured:
            self.add_state("probabilities", [], dist_reduce_fx="cat")

    def update(
        self, logits: Float[Tensor, "batch classes"], target: Int64[Tensor, "batch"], loss: Float[Tensor, "batch"]
    ) -> None:
        """Add a batch.

        Args:
            logits: raw scores, ``[batch, classes]``; the largest one is the prediction.
            target: class index, ``[batch]``.
            loss: loss of each clip, ``[batch]``.
        """
        super().update(logits, target, loss)
        self.pairs.append(torch.stack((target, logits.argmax(dim=1))).T)
        if self.configured:
            self.probabilities.append(logits.detach().float().softmax(dim=1))

    def compute(self) -> dict[str, Tensor]:
        """Compute the metrics by name, as scalars in float64 (float32 on devices without it)."""
        hits, targets, predictions = self._counts()
        recall = hits / targets
        f1 = 2 * hits / (targets + predictions)
        return self._scalars(
            accuracy=hits.sum() / targets.sum(),
            balanced_accuracy=recall[targets > 0].mean(),
            f1_macro=f1[targets + predictions > 0].mean(),
        )

    def per_class(self) -> dict[str, Tensor]:
        """Compute precision, recall and F1 of each class (0 if undefined), and its number of clips, ``[classes]``."""
        return precision_recall_f1(*self._counts())

    def clips(self) -> tuple[Float[Tensor, "clips classes"], Int64[Tensor, "clips"]]:
        """Return the probabilities, collected only if there are configured metrics, and the class indices."""
        return joined(self.probabilities, torch.empty(0, self.num_classes)), self._pairs()[0]

    @property
    def confusion(self) -> Int64[Tensor, "classes classes"]:
        """Confusion matrix on the CPU: number of clips by label (rows) and prediction (columns)."""
        target, predicted = self._pairs()
        places = target * self.num_classes + predicted
        return torch.bincount(places, minlength=self.num_classes**2).view(self.num_classes, self.num_classes)

    def _counts(self) -> tuple[Tensor, Tensor, Tensor]:
        target, predicted = self._pairs()
        device = "cpu" if self.device.type == "mps" else self.device
        hits, targets, predictions = (
            torch.bincount(found, minlength=self.num_classes).double().to(device)
            for found in (target[target == predicted], target, predicted)
        )
        return hits, targets, predictions

    def _pairs(self) -> Int64[Tensor, "2 clips"]:
        """Targets and predictions, on the CPU: bincount has no deterministic implementation on CUDA."""
        return joined(self.pairs, torch.empty(0, 2, dtype=torch.int64)).cpu().T
