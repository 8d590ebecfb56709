"""What an evaluation found, class by class."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.classification import binary_precision_recall_curve, binary_roc

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.figures import evaluation as figures
from audio_lightning.loggers.media.items import Confusion, Curves, Item, Table
from audio_lightning.loggers.media.outputs import Answers
from audio_lightning.metrics import ClassificationMetrics, MultilabelMetrics, average_precision, make_metrics

MOST_CURVES = 12
"""Classes whose curves have a name: all, or those with the smallest areas."""

MOST_POINTS = 150
"""Points of a curve that are kept."""


def results(classifier: AudioClassifier, answers: Answers) -> list[Item]:
    """The table of classes, ROC and precision-recall curves (one class against the rest), and the confusion matrix.

    There is none of the last where clips have several labels, and no curve of a class that all clips have, or none.

    Args:
        classifier: that answered.
        answers: what it answered.
    """
    task, part, targets, probabilities = classifier.task, answers.part, answers.targets, answers.probabilities
    metrics = make_metrics(task)
    if isinstance(metrics, MultilabelMetrics):
        metrics.thresholds = classifier.thresholds.cpu()
        logits = torch.logit(probabilities, eps=1e-7)
        labelled = targets > 0.5
    else:
        logits = probabilities.clamp(min=1e-12).log()
        labelled = torch.nn.functional.one_hot(targets, task.num_classes).bool()
    metrics.update(logits, targets, classifier.objective.per_clip(logits, targets))

    drawn = _Curves(task.classes, probabilities, labelled, part)
    columns = {name: values.tolist() for name, values in metrics.per_class().items()}
    columns |= {"average_precision": drawn.precisions, "roc_auc": drawn.areas}
    rows = [[name, *cells] for name, *cells in zip(task.classes, *columns.values())]
    items: list[Item] = [Table(f"{part}/per_class", ["class", *columns], rows)]
    if isinstance(metrics, ClassificationMetrics):
        counts = metrics.confusion.numpy()
        figure = figures.draw_confusion(counts, task.classes, part)
        items.append(Confusion(f"{part}/confusion_matrix", figures.png(figure), task.classes, counts))
    return [*items, *drawn.items()]


class _Curves:
    """The curves of all classes that have any, and the areas under them (NaN for those that have none)."""

    def __init__(
        self,
        classes: tuple[str, ...],
        probabilities: Float[Tensor, "clips classes"],
        labelled: Bool[Tensor, "clips classes"],
        part: str,
    ) -> None:
        self.part = part
        self.roc: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.precision_recall: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.areas, self.precisions = [float("nan")] * len(classes), [float("nan")] * len(classes)
        for place, name in enumerate(classes):
            scores, target = probabilities[:, place], labelled[:, place]
            if target.all() or not target.any():
                continue
            wrong, right, _ = binary_roc(scores, target.long())
            self.roc[name] = wrong.numpy(), right.numpy()
            self.areas[place] = float(torch.trapezoid(right.double(), wrong.double()))
            precision, recall, _ = binary_precision_recall_curve(scores, target.long())
            reached = int((recall == 1).sum()) - 1  # with still lower thresholds, precision falls and recall stays
            self.precision_recall[name] = recall.numpy()[reached:][::-1], precision.numpy()[reached:][::-1]
            self.precisions[place] = float(average_precision(scores, target))
        self._area_of = dict(zip(classes, self.areas))
        self._precision_of = dict(zip(classes, self.precisions))

    def items(self) -> list[Item]:
        if not self.roc:
            return []
        roc = ("false positive rate", "true positive rate")
        return [
            self._item("roc", self.roc, self._area_of, roc, "ROC, area {:.3f}"),
            self._item("pr", self.precision_recall, self._precision_of, ("recall", "precision"), "mAP {:.3f}"),
        ]

    def _item(
        self,
        name: str,
        lines: dict[str, tuple[np.ndarray, np.ndarray]],
        areas: dict[str, float],
        axes: tuple[str, str],
        quality: str,
    ) -> Curves:
        order = list(lines)
        if len(order) > MOST_CURVES:
            order.sort(key=areas.__getitem__)
        thin = [(label, *_thinned(*lines[label])) for label in order]
        shown = [f"{figures.legible(label)} {areas[label]:.3f}" for label in order[:MOST_CURVES]]
        mean = float(np.mean([areas[label] for label in order]))
        count = f"{len(order)} classes" + (f", the {MOST_CURVES} lowest named" if len(order) > MOST_CURVES else "")
        title = f"{self.part}: {quality.format(mean)} (mean of {count})"
        figure = figures.curves(thin, shown, axes, title, diagonal=name == "roc")
        points = [(label, float(across), float(up)) for label, x, y in thin[:MOST_CURVES] for across, up in zip(x, y)]
        return Curves(f"{self.part}/{name}", figures.png(figure), title, axes, points)


def _thinned(
    x: Float[np.ndarray, "points"], y: Float[np.ndarray, "points"]
) -> tuple[Float[np.ndarray, "some"], Float[np.ndarray, "some"]]:
    """A curve with fewer points, evenly along its length, the first and the last among them."""
    if len(x) <= MOST_POINTS:
        return x, y
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], MOST_POINTS)))
    kept = np.union1d(kept, [0, len(x) - 1])
    return x[kept], y[kept]
