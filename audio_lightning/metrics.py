"""Metrics of one evaluation, exact over any number of batches and processes.

No state is a float64 tensor, because a module that holds one cannot be moved to Apple's GPUs.
"""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from audio_lightning.core.task import AudioTask


class Collected(Metric):
    """What the processes of a training collect, each from its own clips, until :meth:`gather` puts it together.

    Torchmetrics would put it together for each ``compute`` anew, and then only what is computed there.
    """

    full_state_update = False

    def __init__(self, **options: Any) -> None:
        super().__init__(sync_on_compute=False, **options)
        self._should_unsync = False  # compute() would undo it

    def gather(self) -> None:
        """Have what all processes collected; each must call this, once before anything is computed.

        Nothing more can be collected until :meth:`reset`. Where there is one process, nothing happens.
        """
        if not self._is_synced:
            self.sync()
            for name, state in self.metric_state.items():
                if isinstance(self._defaults[name], list) and isinstance(state, Tensor):
                    setattr(self, name, [state])  # as reset() expects it


class Predictions(Collected):
    """Probabilities of clips, in the order of the clips' numbers.

    Args:
        num_classes: number of classes.
    """

    clips: list[Tensor]
    probabilities: list[Tensor]

    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.num_classes = num_classes
        self.add_state("clips", [], dist_reduce_fx="cat")
        self.add_state("probabilities", [], dist_reduce_fx="cat")

    def update(self, clip: Int64[Tensor, "batch"], probabilities: Float[Tensor, "batch classes"]) -> None:
        """Keep a batch: the number of every clip, and its probabilities."""
        self.clips.append(clip.to(probabilities.device))
        self.probabilities.append(probabilities.detach())

    def compute(self) -> tuple[Int64[Tensor, "clips"], Float[Tensor, "clips classes"]]:
        """Numbers of the clips, ascending, and their probabilities, on the CPU."""
        clips = _joined(self.clips, torch.empty(0, dtype=torch.int64)).cpu()
        probabilities = _joined(self.probabilities, torch.empty(0, self.num_classes)).cpu()
        order = clips.argsort()
        return clips[order], probabilities[order]


class EvaluationMetrics(Collected):
    """What is counted over the clips of one evaluation: here their losses, in the subclasses the answers."""

    losses: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("losses", [], dist_reduce_fx="cat")

    @abstractmethod
    def update(self, logits: Float[Tensor, "batch classes"], target: Tensor, loss: Float[Tensor, "batch"]) -> None:
        """Count a batch: logits of every clip and class, what is right, and the loss of every clip."""
        self.losses.append(loss.detach().float())

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """The metrics by name, as scalars in float64 (float32 where the device lacks it)."""

    @abstractmethod
    def per_class(self) -> dict[str, Tensor]:
        """Columns of a table with one row a class."""

    def _scalars(self, **values: Tensor) -> dict[str, Tensor]:
        values["loss"] = _joined(self.losses, torch.empty(0)).double().mean()
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return {name: value.to(dtype) for name, value in values.items()}


class ClassificationMetrics(EvaluationMetrics):
    """Accuracy, balanced accuracy, macro F1 and loss, all from one confusion matrix.

    So nothing depends on how clips were put into batches: a mean of F1 over batches would be another number than the
    F1.

    Balanced accuracy is the mean recall over the classes that occur in the targets; macro F1 is the mean over the
    classes that occur in targets or predictions (both as scikit-learn defines them).

    Args:
        num_classes: number of classes.
    """

    pairs: list[Tensor]

    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.num_classes = num_classes
        # Of every clip, and no matrix: that of thousands of classes would take gigabytes before anything is counted.
        self.add_state("pairs", [], dist_reduce_fx="cat")

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
        super().update(logits, target, loss)
        self.pairs.append(torch.stack((target, logits.argmax(dim=1))).T)

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
        return _precision_recall_f1(*self._counts())

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
        return _joined(self.pairs, torch.empty(0, 2, dtype=torch.int64)).cpu().T


class MultilabelMetrics(EvaluationMetrics):
    """Mean average precision, macro and micro F1, accuracy and loss, where a clip may have any number of labels.

    All scores are kept, because average precision depends on the order of all of them. It is the step-wise area under
    the precision-recall curve, without interpolation, where equal scores count as one step (scikit-learn's
    ``average_precision_score``); its mean is over the classes that occur in the targets. Macro F1 is the mean over the
    classes that occur in targets or predictions. Accuracy is the share of clips whose whole set of labels is right.
    A metric that nothing defines, such as the mean over no class, is NaN.

    Args:
        num_classes: number of classes.

    Attributes:
        thresholds: probability of every class, ``[classes]``, from which on it is predicted; ``[clips, classes]`` where
            each clip has its own.
    """

    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.thresholds: Float[Tensor, "*clips classes"] = torch.full((num_classes,), 0.5)
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(
        self,
        logits: Float[Tensor, "batch classes"],
        target: Float[Tensor, "batch classes"],
        loss: Float[Tensor, "batch"],
    ) -> None:
        """Keep a batch.

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
        probabilities, targets = self._clips()
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
        scores = _precision_recall_f1(*self._counts())
        clips = scores.pop("clips")
        thresholds = self.thresholds.to(clips.device)
        return {"average_precision": self._average_precision(), **scores, "threshold": thresholds, "clips": clips}

    def best_thresholds(self) -> Float[Tensor, "classes"]:
        """Thresholds with which the F1 of every class is highest on the clips counted (:func:`best_threshold`)."""
        return best_thresholds(*self._clips())

    def _clips(self) -> tuple[Float[Tensor, "clips classes"], Bool[Tensor, "clips classes"]]:
        none = self.thresholds.new_empty(0, self.thresholds.shape[-1])
        return _joined(self.probabilities, none), _joined(self.targets, none).bool()

    def _guesses(self, probabilities: Float[Tensor, "clips classes"]) -> Bool[Tensor, "clips classes"]:
        return probabilities >= self.thresholds.to(probabilities.device)

    def _counts(self) -> tuple[Tensor, Tensor, Tensor]:
        probabilities, targets = self._clips()
        guesses = self._guesses(probabilities)
        return (guesses & targets).sum(0).double(), targets.sum(0).double(), guesses.sum(0).double()

    def _average_precision(self) -> Float[Tensor, "classes"]:
        probabilities, targets = self._clips()
        return torch.stack([average_precision(*pair) for pair in zip(probabilities.T, targets.T)])


def make_metrics(task: AudioTask) -> EvaluationMetrics:
    """The metrics that fit a task."""
    return MultilabelMetrics(task.num_classes) if task.multilabel else ClassificationMetrics(task.num_classes)


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


def _precision_recall_f1(hits: Tensor, targets: Tensor, predictions: Tensor) -> dict[str, Tensor]:
    return {
        "precision": (hits / predictions).nan_to_num(),
        "recall": (hits / targets).nan_to_num(),
        "f1": (2 * hits / (targets + predictions)).nan_to_num(),
        "clips": targets.long(),
    }


def _joined(state: list[Tensor], nothing: Tensor) -> Tensor:
    """All batches of a state, or ``nothing`` if there was none."""
    return _with_float64(dim_zero_cat(state)) if len(state) else nothing


def _with_float64(tensor: Tensor) -> Tensor:
    """On a device that has float64."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor
