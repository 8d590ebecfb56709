"""Construction of the metrics of a task."""

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
    """Make the standard metrics of a task.

    Args:
        task: task of the classifier.
        configured: additional metrics.
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
    """Make the metrics of given probabilities, such as the means over the windows of recordings.

    Args:
        task: task of the classifier.
        probabilities: class probabilities, ``[clips, classes]``.
        targets: class index ``[clips]``, or whether a clip has each label ``[clips, classes]``.
        thresholds: thresholds of multi-label predictions, see :class:`MultilabelMetrics`.
        configured: additional metrics.
    """
    metrics = make_metrics(task, configured)
    if thresholds is not None and isinstance(metrics, MultilabelMetrics):
        metrics.thresholds = thresholds
    logits = torch.logit(probabilities, eps=1e-7) if task.multilabel else probabilities.clamp(min=1e-12).log()
    metrics.update(logits, targets, make_objective(task).per_clip(logits, targets))
    return metrics
