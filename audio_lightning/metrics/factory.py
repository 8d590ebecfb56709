"""The metrics of a task."""

from audio_lightning.core.task import AudioTask
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
