"""Metrics where every clip has one label."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from audio_lightning.metrics.base import EvaluationMetrics, joined, precision_recall_f1


class ClassificationMetrics(EvaluationMetrics):
    """Accuracy, balanced accuracy, macro F1 and loss, over all clips and so independent of the batches.

    Balanced accuracy is the mean recall over the classes that occur in the targets; macro F1 is the mean over the
    classes that occur in targets or predictions (both as scikit-learn defines them).
    """

    pairs: list[Tensor]

    def __init__(self, num_classes: int, *options: Any, **named: Any) -> None:
        super().__init__(num_classes, *options, **named)
        # Of every clip, and no matrix: that of thousands of classes would take gigabytes before anything is counted.
        self.add_state("pairs", [], dist_reduce_fx="cat")
        if self.configured:
            self.add_state("probabilities", [], dist_reduce_fx="cat")

    def update(
        self, logits: Float[Tensor, "batch classes"], target: Int64[Tensor, "batch"], loss: Float[Tensor, "batch"]
    ) -> None:
        """Add a batch.

        Args:
            logits: of every clip and class; the largest is the prediction.
            target: index of the label.
            loss: of every clip.
        """
        super().update(logits, target, loss)
        self.pairs.append(torch.stack((target, logits.argmax(dim=1))).T)
        if self.configured:
            self.probabilities.append(logits.detach().float().softmax(dim=1))

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name, as scalars in float64 (float32 where the device lacks it)."""
        hits, targets, predictions = self._counts()
        recall = hits / targets
        f1 = 2 * hits / (targets + predictions)
        return self._scalars(
            accuracy=hits.sum() / targets.sum(),
            balanced_accuracy=recall[targets > 0].mean(),
            f1_macro=f1[targets + predictions > 0].mean(),
        )

    def per_class(self) -> dict[str, Tensor]:
        """Precision, recall, F1 (each ``[classes]``, 0 where undefined) and the number of clips of every class."""
        return precision_recall_f1(*self._counts())

    def clips(self) -> tuple[Float[Tensor, "clips classes"], Int64[Tensor, "clips"]]:
        """Probabilities, which are collected for configured metrics alone, and indices of the labels."""
        return joined(self.probabilities, torch.empty(0, self.num_classes)), self._pairs()[0]

    @property
    def confusion(self) -> Int64[Tensor, "classes classes"]:
        """Number of clips of each class (row) for which each class (column) was predicted, on the CPU."""
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
