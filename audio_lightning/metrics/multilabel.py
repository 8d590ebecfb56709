"""Metrics where a clip may have any number of labels, and the thresholds from which on labels are predicted."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from audio_lightning.metrics.base import EvaluationMetrics, joined, precision_recall_f1


class MultilabelMetrics(EvaluationMetrics):
    """Mean average precision, macro and micro F1, accuracy and loss, where a clip may have any number of labels.

    All scores are kept, because average precision depends on the order of all of them. It is the step-wise area under
    the precision-recall curve, without interpolation, where equal scores count as one step (scikit-learn's
    ``average_precision_score``); its mean is over the classes that occur in the targets. Macro F1 is the mean over the
    classes that occur in targets or predictions. Accuracy is the share of clips whose whole set of labels is right.
    A metric that nothing defines, such as the mean over no class, is NaN.

    Attributes:
        thresholds: probability of every class, ``[classes]``, from which on it is predicted; ``[clips, classes]`` where
            each clip has its own.
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
            logits: of every clip and class.
            target: 1 for the labels of a clip, 0 for the others.
            loss: of every clip.
        """
        super().update(logits, target, loss)
        self.probabilities.append(logits.detach().float().sigmoid())
        self.targets.append((target > 0.5).to(torch.uint8))  # bytes, as not every backend can exchange truth values

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name, as scalars in float64 (float32 where the device lacks it)."""
        probabilities, targets = self.clips()
        hits, labelled, predicted = self._counts()
        return self._scalars(
            mean_average_precision=self._average_precision().nanmean(),
            f1_macro=(2 * hits / (labelled + predicted)).nanmean(),
            f1_micro=2 * hits.sum() / (labelled + predicted).sum(),
            accuracy=(self._guesses(probabilities) == targets).all(dim=1).double().mean(),
        )

    def per_class(self) -> dict[str, Tensor]:
        """Columns of ``[classes]``.

        ``average_precision`` is NaN where no clip has the label; precision, recall and F1 at ``threshold`` are 0 where
        undefined; ``clips`` is the number of clips that have the label.
        """
        scores = precision_recall_f1(*self._counts())
        clips = scores.pop("clips")
        thresholds = self.thresholds.to(clips.device)
        return {"average_precision": self._average_precision(), **scores, "threshold": thresholds, "clips": clips}

    def clips(self) -> tuple[Float[Tensor, "clips classes"], Bool[Tensor, "clips classes"]]:
        """Probabilities, and whether each label is one of the clip's."""
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
    """Mean of the precision over the clips that have the label, in float64; NaN if none has."""
    _, hits, guesses = _at_distinct_scores(scores, targets)
    gained = hits.diff(prepend=hits.new_zeros(1))
    return (hits.double() / guesses * gained).sum() / gained.sum()


def best_thresholds(
    probabilities: Float[Tensor, "clips classes"], targets: Bool[Tensor, "clips classes"]
) -> Float[Tensor, "classes"]:
    """:func:`best_threshold` of every class."""
    return torch.stack([best_threshold(*pair) for pair in zip(probabilities.T, targets.T)])


def best_threshold(scores: Float[Tensor, "clips"], targets: Bool[Tensor, "clips"]) -> Float[Tensor, ""]:
    """The threshold from which on a label is predicted with the highest F1.

    It lies halfway between two neighbouring scores, or between 0 and the lowest one. Of several that are equally good
    the one nearest to 0.5 is taken, and of two equally near the higher one. It is 0.5 if no clip has the label.
    """
    if not targets.any():
        return scores.new_tensor(0.5)
    scores, hits, guesses = _at_distinct_scores(scores, targets)
    below = torch.cat((scores[1:], scores.new_zeros(1)))
    halfway = ((scores.double() + below.double()) / 2).to(scores.dtype)
    # No number lies between two neighbouring floats; rounded down, the threshold would let the lower one in.
    candidates = torch.where(halfway > below, halfway, scores)
    f1 = 2 * hits.double() / (hits[-1] + guesses)
    best = candidates[f1 == f1.max()]
    return best[(best - 0.5).abs().argmin()]


def _at_distinct_scores(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The distinct scores, highest first; how many clips with the label reach each, and how many clips at all."""
    scores, order = scores.sort(descending=True)
    last_of_equals = torch.ones_like(targets)
    last_of_equals[:-1] = scores[1:] != scores[:-1]
    (positions,) = last_of_equals.nonzero(as_tuple=True)
    return scores[positions], targets[order].cumsum(0)[positions], positions + 1
