"""From logits to a loss and to probabilities, where a clip has one label and where it may have several."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from audio_lightning.core.task import AudioTask


class CrossEntropy:
    """One label a clip: softmax over the classes."""

    def activate(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Probabilities, which sum to one."""
        return logits.softmax(dim=1)

    def energy(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        """Negative free energy (Liu et al. 2020, arXiv 2010.03759): low for clips unlike those trained on."""
        return logits.float().logsumexp(dim=1)

    def pool(
        self, logits: Float[Tensor, "members batch classes"], weights: Float[Tensor, "members"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits whose probabilities are the weighted mean of the probabilities of several classifiers."""
        return (logits.log_softmax(dim=2) + weights.log()[:, None, None]).logsumexp(dim=0)

    def balanced_weights(self, counts: Float[Tensor, "classes"], clips: int) -> Float[Tensor, "classes"]:
        """Weight of the clips of every class: clips / (classes * clips of the class), as scikit-learn has it."""
        filled = counts.clamp(min=1)
        return filled.sum() / (len(counts) * filled)

    def per_clip(self, logits: Float[Tensor, "batch classes"], target: Tensor) -> Float[Tensor, "batch"]:
        """Cross-entropy, by which trainings with any loss are compared."""
        return F.cross_entropy(logits, target, reduction="none")

    def mean(
        self,
        losses: Float[Tensor, "batch"],
        target: Int64[Tensor, "batch"] | Float[Tensor, "batch classes"],
        weights: Float[Tensor, "classes"],
    ) -> Float[Tensor, ""]:
        """Mean over the batch, weighted as the clips are."""
        weight = target @ weights if target.is_floating_point() else weights[target]
        return losses.sum() / weight.sum()


class BinaryCrossEntropy:
    """Any number of labels a clip: a sigmoid for every class."""

    def activate(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Probabilities, each on its own."""
        return logits.sigmoid()

    def energy(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch"]:
        """Negative joint energy (Wang et al. 2021, arXiv 2109.14162): low for clips unlike those trained on."""
        return F.softplus(logits.float()).sum(dim=1)

    def pool(
        self, logits: Float[Tensor, "members batch classes"], weights: Float[Tensor, "members"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits whose probabilities are the weighted mean of the probabilities of several classifiers."""
        shares = weights.log()[:, None, None]
        present, absent = (F.logsigmoid(sign * logits) + shares for sign in (1, -1))
        return present.logsumexp(dim=0) - absent.logsumexp(dim=0)

    def balanced_weights(self, counts: Float[Tensor, "classes"], clips: int) -> Float[Tensor, "classes"]:
        """Weight of the clips that have a label: clips without it / clips with it.

        Where no clip has a label, or every clip, that would be no number or nothing; one clip is counted instead.

        Raises:
            ValueError: fewer clips than have some label.
        """
        if counts.max() > clips:
            raise ValueError(f"{clips} training clips cannot hold {int(counts.max())} with one label")
        return (clips - counts).clamp(min=1) / counts.clamp(min=1)

    def per_clip(self, logits: Float[Tensor, "batch classes"], target: Tensor) -> Float[Tensor, "batch"]:
        """Binary cross-entropy, mean over the classes, by which trainings with any loss are compared."""
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)

    def mean(
        self,
        losses: Float[Tensor, "batch"],
        target: Float[Tensor, "batch classes"],
        weights: Float[Tensor, "classes"],
    ) -> Float[Tensor, ""]:
        """Mean over the batch."""
        return losses.mean()


Objective = CrossEntropy | BinaryCrossEntropy


def shares(target: Tensor, classes: int) -> Float[Tensor, "batch classes"]:
    """The share of each class in a clip, which can be mixed with those of other clips.

    Args:
        target: index of the class, ``[batch]``, or the shares already, ``[batch, classes]``.
        classes: number of classes.
    """
    return target if target.is_floating_point() else F.one_hot(target, classes).float()


def make_objective(task: AudioTask) -> Objective:
    """The loss and the activation that fit a task."""
    return BinaryCrossEntropy() if task.multilabel else CrossEntropy()


def class_weights(mode: str, objective: Objective, counts: list[int], clips: int) -> Float[Tensor, "classes"]:
    """Weight of every class in the loss.

    Args:
        mode: ``none``, or ``balanced``: see ``balanced_weights`` of the objective.
        objective: whose loss it is.
        counts: training clips of every class.
        clips: training clips.
    """
    if mode == "none":
        return torch.ones(len(counts))
    return objective.balanced_weights(torch.tensor(counts, dtype=torch.float32), clips)
