"""Multi-label classification metrics, and thresholds of the predicted labels."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from audio_lightning.metrics.base import EvaluationMetrics, joined, precision_recall_f1


class MultilabelMetrics(EvaluationMetrics):
    """Mean average precision, macro and micro F1, subset accuracy and mean loss of multi-label predictions.

    All scores are kept, because average precision depends on the order of all of them. It is the step-wise area under
    the precision-recall curve, without interpolation, and equal scores count as one step (scikit-learn's
    ``average_precision_score``). Its mean is over the classes that occur in the targets. Macro F1 is the mean over the
    classes that occur in targets or predictions. Accuracy is the share of clips whose set of labels is predicted
    exactly. An undefined metric, such as a mean over no class, is NaN.

    Attributes:
        thresholds: minimum probability at which each class is predicted, ``[classes]``, or ``[clips, classes]`` if each
            clip has its own.

    Example:
        >>> import torch
        >>> metrics = MultilabelMetrics(num_classes=2)
        >>> logits, target = torch.tensor([[2.0, 1.0], [-1.0, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> metrics.update(logits, target, torch.zeros(2))
        >>> float(metrics.compute()["mean_average_precision"]), float(metrics.compute()["accuracy"])
        (1.0, 0.5)
    """

    targets: list[Tensor]

    def __init__(self, num_classes: int, *options: Any, **named: Any) -> None:
        super().__init__(num_classes, *options, **named)
        self.thresholds: Float[Tensor, "*clips classes"] = torch.full((num_classes,), 0.5)
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(
        self,
        logits: Float[Tensor, "batch classes"],
        target: Float[Tensor, "batch classes"],
        loss: Float[Tensor, "batch"],
    ) -> None:
        """Add a batch.

        Args:
            logits: raw scores, ``[batch, classes]``.
            target: 1 for the labels of a clip and 0 otherwise, ``[batch, classes]``.
            loss: loss of each clip, ``[batch]``.
        """
        super().update(logits, target, loss)
        self.probabilities.append(logits.detach().float().sigmoid())
        self.targets.append((target > 0.5).to(torch.uint8))  # not every distributed backend can gather booleans

    def compute(self) -> dict[str, Tensor]:
        """Compute the metrics by name, as scalars in float64 (float32 on devices without it)."""
        probabilities, targets = self.clips()
        hits, labelled, predicted = self._counts()
        return self._scalars(
            mean_average_precision=self._average_precision().nanmean(),
            f1_macro=(2 * hits / (labelled + predicted)).nanmean(),
            f1_micro=2 * hits.sum() / (labelled + predicted).sum(),
            accuracy=(self._guesses(probabilities) == targets).all(dim=1).double().mean(),
        )

    def per_class(self) -> dict[str, Tensor]:
        """Compute metrics of each class, each ``[classes]``.

        ``average_precision`` is NaN if no clip has the label. Precision, recall and F1 at ``threshold`` are 0 if
        undefined. ``clips`` is the number of clips with the label.
        """
        scores = precision_recall_f1(*self._counts())
        clips = scores.pop("clips")
        thresholds = self.thresholds.to(clips.device)
        return {"average_precision": self._average_precision(), **scores, "threshold": thresholds, "clips": clips}

    def clips(self) -> tuple[Float[Tensor, "clips classes"], Bool[Tensor, "clips classes"]]:
        """Return the probabilities, and whether each clip has each label."""
        none = self.thresholds.new_empty(0, self.thresholds.shape[-1])
        return joined(self.probabilities, none), joined(self.targets, none).bool()

    def _guesses(self, probabilities: Float[Tensor, "clips classes"]) -> Bool[Tensor, "clips classes"]:
        return probabilities >= self.thresholds.to(probabilities.device)

    def _counts(self) -> tuple[Tensor, Tensor, Tensor]:
        probabilities, targets = self.clips()
        guesses = self._guesses(probabilities)
        return (guesses & targets).sum(0).double(), targets.sum(0).double(), guesses.sum(0).double()

    def _average_precision(self) -> Float[Tensor, "classes"]:
        probabilities, targets = self.clips()
        return torch.stack([average_precision(*pair) for pair in zip(probabilities.T, targets.T)])


def average_precision(scores: Float[Tensor, "clips"], targets: Bool[Tensor, "clips"]) -> Float[Tensor, ""]:
    """Compute the average precision of one class in float64; NaN if no clip has the label.

    Args:
        scores: score of each clip.
        targets: whether each clip has the label.
    """
    _, hits, guesses = _at_distinct_scores(scores, targets)
    gained = hits.diff(prepend=hits.new_zeros(1))
    return (hits.double() / guesses * gained).sum() / gained.sum()


def best_thresholds(
    probabilities: Float[Tensor, "clips classes"], targets: Bool[Tensor, "clips classes"]
) -> Float[Tensor, "classes"]:
    """Compute :func:`best_threshold` of every class."""
    return torch.stack([best_threshold(*pair) for pair in zip(probabilities.T, targets.T)])


def best_threshold(scores: Float[Tensor, "clips"], targets: Bool[Tensor, "clips"]) -> Float[Tensor, ""]:
    """Return the threshold with the highest F1 of one class.

    The threshold is halfway between two neighbouring scores, or between 0 and the lowest one. Ties are resolved in
    favour of the threshold nearest to 0.5, and of the higher of two equally near ones. The threshold is 0.5 if no clip
    has the label.

    Args:
        scores: probability of each clip.
        targets: whether each clip has the label.
    """
    if not targets.any():
        return scores.new_tensor(0.5)
    scores, hits, guesses = _at_distinct_scores(scores, targets)
    below = torch.cat((scores[1:], scores.new_zeros(1)))
    halfway = ((scores.double() + below.double()) / 2).to(scores.dtype)
    # No number lies between two adjacent floats; rounded down, the threshold would include the lower one.
    candidates = torch.where(halfway > below, halfway, scores)
    f1 = 2 * hits.double() / (hits[-1] + guesses)
    best = candidates[f1 == f1.max()]
    return best[(best - 0.5).abs().argmin()]


def _at_distinct_scores(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct scores in descending order, with the numbers of positives and of clips that reach each of them."""
    scores, order = scores.sort(descending=True)
    last_of_equals = torch.ones_like(targets)
    last_of_equals[:-1] = scores[1:] != scores[:-1]
    (positions,) = last_of_equals.nonzero(as_tuple=True)
    return scores[positions], targets[order].cumsum(0)[positions], positions + 1
