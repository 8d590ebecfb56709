"""Activations and cross-entropies for single-label and multi-label classification."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from audio_lightning.core.task import AudioTask


class CrossEntropy:
    """Single-label objective: softmax over the classes."""

    def activate(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Compute class probabilities, which sum to 1."""
        return logits.softmax(dim=1)

    def energy(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        """Compute the negative free energy (Liu et al. 2020, arXiv 2010.03759): low if unlike the training clips."""
        return logits.float().logsumexp(dim=1)

    def pool(
        self, logits: Float[Tensor, "members batch classes"], weights: Float[Tensor, "members"]
    ) -> Float[Tensor, "batch classes"]:
        """Compute logits whose probabilities are the weighted mean of the probabilities of several classifiers."""
        return (logits.log_softmax(dim=2) + weights.log()[:, None, None]).logsumexp(dim=0)

    def balanced_weights(self, counts: Float[Tensor, "classes"], clips: int) -> Float[Tensor, "classes"]:
        """Compute the weight of each class: clips / (classes * clips of the class), as scikit-learn's ``balanced``."""
        filled = counts.clamp(min=1)
        return filled.sum() / (len(counts) * filled)

    def per_clip(self, logits: Float[Tensor, "batch classes"], target: Tensor) -> Float[Tensor, "batch"]:
        """Compute the cross-entropy; it is the logged loss, so that trainings with different losses can be compared."""
        return F.cross_entropy(logits, target, reduction="none")

    def mean(
        self,
        losses: Float[Tensor, "batch"],
        target: Int64[Tensor, "batch"] | Float[Tensor, "batch classes"],
        weights: Float[Tensor, "classes"],
    ) -> Float[Tensor, ""]:
        """Compute the weighted mean over the batch, from losses that are already multiplied by the class weights."""
        weight = target @ weights if target.is_floating_point() else weights[target]
        return losses.sum() / weight.sum()


class BinaryCrossEntropy:
    """Multi-label objective: one sigmoid per class."""

    def activate(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Compute class probabilities, independent of each other."""
        return logits.sigmoid()

    def energy(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        """Compute the negative joint energy (Wang et al. 2021, arXiv 2109.14162): low if unlike the training clips."""
        return F.softplus(logits.float()).sum(dim=1)

    def pool(
        self, logits: Float[Tensor, "members batch classes"], weights: Float[Tensor, "members"]
    ) -> Float[Tensor, "batch classes"]:
        """Compute logits whose probabilities are the weighted mean of the probabilities of several classifiers."""
        shares = weights.log()[:, None, None]
        present, absent = (F.logsigmoid(sign * logits) + shares for sign in (1, -1))
        return present.logsumexp(dim=0) - absent.logsumexp(dim=0)

    def balanced_weights(self, counts: Float[Tensor, "classes"], clips: int) -> Float[Tensor, "classes"]:
        """Compute the weight of the positives of each class: clips without the label / clips with it.

        Both counts are at least 1, so that the weight is finite and positive for a label of no clip or of every clip.

        Raises:
            ValueError: a label has more clips than there are.
        """
        if counts.max() > clips:
            raise ValueError(f"{clips} training clips cannot hold {int(counts.max())} with one label")
        return (clips - counts).clamp(min=1) / counts.clamp(min=1)

    def per_clip(self, logits: Float[Tensor, "batch classes"], target: Tensor) -> Float[Tensor, "batch"]:
        """Compute the binary cross-entropy, averaged over the classes; it is the logged loss."""
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)

    def mean(
        self,
        losses: Float[Tensor, "batch"],
        target: Float[Tensor, "batch classes"],
        weights: Float[Tensor, "classes"],
    ) -> Float[Tensor, ""]:
        """Compute the mean over the batch."""
        return losses.mean()


Objective = CrossEntropy | BinaryCrossEntropy


def shares(target: Tensor, classes: int) -> Float[Tensor, "batch classes"]:
    """Convert targets to class probabilities, which augmentations can mix.

    Args:
        target: class index ``[batch]``, or probabilities ``[batch, classes]``, which are returned as they are.
        classes: number of classes.
    """
    return target if target.is_floating_point() else F.one_hot(target, classes).float()


def make_objective(task: AudioTask) -> Objective:
    """Make the objective of a task: binary cross-entropy for multi-label clips, otherwise cross-entropy."""
    return BinaryCrossEntropy() if task.multilabel else CrossEntropy()


def class_weights(mode: str, objective: Objective, counts: list[int], clips: int) -> Float[Tensor, "classes"]:
    """Compute the weight of each class in the loss, ``[classes]``.

    Args:
        mode: ``none``, or ``balanced`` (see ``balanced_weights`` of the objective).
        objective: objective of the task.
        counts: number of training clips of each class.
        clips: number of training clips.
    """
    if mode == "none":
        return torch.ones(len(counts))
    return objective.balanced_weights(torch.tensor(counts, dtype=torch.float32), clips)
