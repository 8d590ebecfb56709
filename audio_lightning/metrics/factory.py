"""The metrics of a task."""

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.core.task import AudioTask
from audio_lightning.losses.objective import make_objective
from audio_lightning.metrics.base import EvaluationMetrics
from audio_lightning.metrics.configured import ConfiguredMetrics
from audio_lightning.metrics.multiclass import ClassificationMetrics
from audio_lightning.metrics.multilabel import MultilabelMetrics


def make_metrics(task: AudioTask, configured: ConfiguredMetrics | None = None) -> EvaluationMetrics:
    """The metrics that every evaluation of a task has, and further ones.

    Args:
        task: whose logits and targets come.
        configured: the further ones.
    """
    return (MultilabelMetrics if task.multilabel else ClassificationMetrics)(task.num_classes, configured)


def metrics_of(
    task: AudioTask,
    probabilities: Float[Tensor, "clips classes"],
    targets: Tensor,
    *,
    thresholds: Float[Tensor, "*clips classes"] | None = None,
    configured: ConfiguredMetrics | None = None,
) -> EvaluationMetrics:
    """The metrics of probabilities that are there already, such as the means over the windows of recordings.

    Args:
        task: of the classifier.
        probabilities: of every clip and class.
        targets: index of the label, ``[clips]``, or whether each label is the clip's, ``[clips, classes]``.
        thresholds: where clips may have several labels, see :class:`MultilabelMetrics`.
        configured: the further ones.
    """
    metrics = make_metrics(task, configured)
    if thresholds is not None and isinstance(metrics, MultilabelMetrics):
        metrics.thresholds = thresholds
    logits = torch.logit(probabilities, eps=1e-7) if task.multilabel else probabilities.clamp(min=1e-12).log()
    metrics.update(logits, targets, make_objective(task).per_clip(logits, targets))
    return metrics
