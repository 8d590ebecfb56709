"""Per-class results of the best weights on test or validation clips."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics.functional.classification import binary_precision_recall_curve, binary_roc

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST
from audio_lightning.figures import evaluation as figures
from audio_lightning.loggers.media.items import Confusion, Curves, Figure, Item, Table
from audio_lightning.metrics.calibration import reliability, top
from audio_lightning.metrics.factory import metrics_of
from audio_lightning.metrics.multiclass import ClassificationMetrics
from audio_lightning.metrics.multilabel import average_precision

MAX_NAMED_CURVES = 12
"""Maximum number of labelled curves; with more classes, those with the smallest areas are labelled."""

MAX_POINTS = 150
"""Maximum number of points of a curve."""


@dataclass(frozen=True)
class Outputs:
    """Predictions for the clips of one split.

    Attributes:
        part: name of the split, ``test`` or ``validation``.
        position: position of each clip within the split.
        row: manifest row of each clip.
        targets: ``[clips]``, or ``[clips, classes]`` for multi-label tasks.
        probabilities: predicted probabilities ``[clips, classes]``.
    """

    part: str
    position: Int64[np.ndarray, "clips"]
    row: Int64[np.ndarray, "clips"]
    targets: Tensor
    probabilities: Float[Tensor, "clips classes"]


@dataclass(frozen=True)
class Curve:
    """A curve in the unit square, and the area under it."""

    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    area: float


def collect_outputs(classifier: AudioClassifier, datamodule: AudioDataModule, part: str) -> Outputs:
    """Return the outputs of the test that has just run; for another split, compute them."""
    numbers = datamodule.numbers(part)
    if part == TEST:
        number, probabilities = classifier.last_predictions()
        position = np.searchsorted(numbers, number.numpy())
    else:
        position = np.arange(len(numbers))
        batches = np.split(position, range(datamodule.batch_size, len(position), datamodule.batch_size))
        found = [classifier.probabilities(datamodule.batch(part, batch)["waveform"]).cpu() for batch in batches]
        probabilities = torch.cat(found)
    row = datamodule.clips.row[numbers[position]]
    return Outputs(part, position, row, torch.from_numpy(datamodule.manifest.targets()[row]), probabilities)


def per_class_items(classifier: AudioClassifier, outputs: Outputs) -> list[Item]:
    """Make the per-class table, ROC and precision-recall curves, the confusion matrix and the reliability diagram.

    Multi-label tasks have no confusion matrix and no reliability diagram. A class without positive or without negative
    clips has no curve.
    """
    task, part, targets, probabilities = classifier.task, outputs.part, outputs.targets, outputs.probabilities
    thresholds = classifier.thresholds.cpu() if task.multilabel else None
    metrics = metrics_of(task, probabilities, targets, thresholds=thresholds)
    labelled = targets > 0.5 if task.multilabel else torch.nn.functional.one_hot(targets, task.num_classes).bool()

    roc, precision_recall = make_curves(task.classes, probabilities, labelled)
    columns = {name: values.tolist() for name, values in metrics.per_class().items()}
    for column, curves in (("average_precision", precision_recall), ("roc_auc", roc)):
        columns[column] = [curves[name].area if name in curves else float("nan") for name in task.classes]
    rows = [[name, *cells] for name, *cells in zip(task.classes, *columns.values())]
    items: list[Item] = [Table(f"{part}/per_class", ["class", *columns], rows)]
    if isinstance(metrics, ClassificationMetrics):
        counts = metrics.confusion.numpy()
        figure = figures.draw_confusion(counts, task.classes, part)
        items.append(Confusion(f"{part}/confusion_matrix", figures.png(figure), task.classes, counts))
        confidence, right = top(probabilities, targets)
        found = reliability(confidence.numpy(), right.numpy())
        figure = figures.draw_reliability(found, f"{part}: calibration error {found.error:.3f} in ten bins")
        items.append(Figure(f"{part}/reliability", figures.png(figure)))
    if roc:
        axes = ("false positive rate", "true positive rate")
        items.append(draw_curves(f"{part}/roc", roc, axes, f"{part}: ROC, area"))
        items.append(draw_curves(f"{part}/pr", precision_recall, ("recall", "precision"), f"{part}: mAP"))
    return items


def make_curves(
    classes: tuple[str, ...], probabilities: Float[Tensor, "clips classes"], labelled: Bool[Tensor, "clips classes"]
) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """Compute ROC and precision-recall curves by class, without the classes for which they are undefined."""
    roc, precision_recall = dict[str, Curve](), dict[str, Curve]()
    for name, scores, target in zip(classes, probabilities.T, labelled.T):
        if target.all() or not target.any():
            continue
        fpr, tpr, _ = binary_roc(scores, target.long())
        roc[name] = Curve(fpr.numpy(), tpr.numpy(), float(torch.trapezoid(tpr.double(), fpr.double())))
        precision, recall, _ = binary_precision_recall_curve(scores, target.long())
        first = int((recall == 1).sum()) - 1  # at lower thresholds, precision falls and recall stays 1
        x, y = recall.numpy()[first:][::-1], precision.numpy()[first:][::-1]
        precision_recall[name] = Curve(x, y, float(average_precision(scores, target)))
    return roc, precision_recall


def draw_curves(name: str, curves: Mapping[str, Curve], axes: tuple[str, str], title: str) -> Curves:
    """Draw the curves of all classes; with many classes, only those with the smallest areas are labelled."""
    order = list(curves)
    if len(order) > MAX_NAMED_CURVES:
        order.sort(key=lambda label: curves[label].area)
    named = order[:MAX_NAMED_CURVES]
    mean = float(np.mean([curve.area for curve in curves.values()]))
    count = f"{len(order)} classes" + (f", the {len(named)} lowest labelled" if len(order) > len(named) else "")
    title = f"{title} {mean:.3f} (mean of {count})"
    lines = [(label, *_thinned(curves[label])) for label in order]
    legend = [f"{figures.legible(label)} {curves[label].area:.3f}" for label in named]
    figure = figures.curves(lines, legend, axes, title, diagonal=name.endswith("/roc"))
    points = [(label, float(x), float(y)) for label, xs, ys in lines[: len(named)] for x, y in zip(xs, ys)]
    return Curves(name, figures.png(figure), title, axes, points)


def _thinned(curve: Curve) -> tuple[Float[np.ndarray, "some"], Float[np.ndarray, "some"]]:
    """Reduce a curve to points at even distances along its length, including the first and the last."""
    x, y = curve.x, curve.y
    if len(x) <= MAX_POINTS:
        return x, y
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.union1d(np.searchsorted(along, np.linspace(0, along[-1], MAX_POINTS)), [0, len(x) - 1])
    return x[kept], y[kept]
