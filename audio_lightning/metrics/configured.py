"""Metrics of the node ``metrics``: classes of ``torchmetrics.classification``, this package or a trusted module."""

import inspect
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
import torchmetrics.classification as library
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.config.targets import REFUSALS, build, resolve, split_node
from audio_lightning.config.trust import is_trusted
from audio_lightning.core.errors import ConfigError, UserError
from audio_lightning.core.task import (
    METRICS,
    MULTILABEL_METRICS,
    PER_CLASS,
    AudioTask,
    configured_metric,
    lower_is_better,
)
from audio_lightning.metrics.collected import Collected

TASKS = ("binary", "multiclass", "multilabel")

UNSUITABLE = {
    "ConfusionMatrix": "it returns a matrix; predictions.csv and confusion_matrix.png have the counts",
    "Fairness": "it compares groups of people, which audio data here does not have",
    "GroupStatRates": "it compares groups of people, which audio data here does not have",
    "PrecisionRecallCurve": "it returns a curve; use torchmetrics.classification.AveragePrecision",
    "ROC": "it returns a curve; use torchmetrics.classification.AUROC",
    "StatScores": "it returns counts; use torchmetrics.classification.Precision, Recall or Specificity",
}
"""Metrics of torchmetrics (without the task prefix) that return neither a number nor one number per class."""

HIGHER_IS_BETTER = {
    "EER": False,
    "NegativePredictiveValue": True,
    "PrecisionAtFixedRecall": True,
    "RecallAtFixedPrecision": True,
    "SensitivityAtSpecificity": True,
    "Specificity": True,
    "SpecificityAtSensitivity": True,
}
"""Metrics of torchmetrics whose own ``higher_is_better`` is None."""

COUNTS = ("num_classes", "num_labels")
"""Arguments that hold the number of classes."""

MAX_CELLS = 10_000_000
"""Largest product of an argument, such as a number of thresholds, and the number of classes.

Metrics allocate tables of this size in advance, and a checkpoint of unknown origin can request any size.
"""


class ConfiguredMetrics:
    """Metrics of the node ``metrics``, each computed once from the probabilities of all clips of an evaluation.

    A torchmetrics class that takes a ``task``, such as ``AUROC``, is replaced by the class for this task. With
    ``average: none``, every metric returns one value per class, named after the metric and the class. Other vectors are
    averaged over the classes. Metrics at a fixed precision, recall, sensitivity or specificity also return the
    threshold of each class.

    Args:
        nodes: ``_target_`` and arguments (named as in the class) of each metric, by the name of the metric.
        task: task of the classifier.

    Attributes:
        names: names of the values that :meth:`compute` returns, in order.
        lower_is_better: names of the metrics for which lower is better.

    Raises:
        ConfigError: invalid name, target or argument, or a metric that cannot be computed for this task.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import AudioTask
        >>> task = AudioTask(("dog", "rain"), sample_rate=8000, num_samples=8000)
        >>> metrics = ConfiguredMetrics({"auroc": {"_target_": "torchmetrics.classification.AUROC"}}, task)
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        >>> metrics.compute(probabilities, torch.tensor([0, 1, 0]))
        {'auroc': tensor(1.)}
    """

    def __init__(self, nodes: Mapping[str, Any] | None, task: AudioTask) -> None:
        self._task = task
        self._metrics: dict[str, tuple[Metric, bool]] = {}
        self.names: list[str] = []
        self.lower_is_better: list[str] = []
        for name, node in _given(nodes):
            self._metrics[name] = _build(name, node, task)
            found = list(self._result(name, *_sample(task)))
            if again := sorted({*found} & {*self.names}):
                raise ConfigError(f"metrics.{name}: {again[0]} is the name of two metrics; rename one of them")
            self.names += found
            self.lower_is_better += found if _higher_is_better(name, node) is False else []

    def __len__(self) -> int:
        return len(self.names)

    def check_monitors(self, config: Mapping[str, Any]) -> None:
        """Check the class in the name of each monitor, once the classes are known.

        Raises:
            ConfigError: no metric has that name; the message lists the existing ones.
        """
        nodes = [config, config["scheduler"], *(config.get("callbacks") or {}).values()]
        for monitor in sorted({str(node["monitor"]) for node in nodes if node and node.get("monitor")}):
            name = monitor.rpartition("/")[2]
            if configured_metric(monitor, config.get("metrics")) and name not in self.names:
                hint = did_you_mean(name, self.names, listing="there are")
                raise ConfigError(f"monitor={monitor}: no such metric with these classes{hint}")

    def compute(self, probabilities: Float[Tensor, "clips classes"], targets: Tensor) -> dict[str, Tensor]:
        """Compute the metrics by name, as scalars; NaN without clips.

        Args:
            probabilities: class probabilities, ``[clips, classes]``.
            targets: class index ``[clips]``, or whether a clip has each label ``[clips, classes]``.

        Raises:
            UserError: a metric cannot be computed from these clips.
        """
        if not len(targets):
            return dict.fromkeys(self.names, torch.tensor(math.nan))
        clips = probabilities.cpu(), targets.cpu().long()
        try:
            return {key: value for name in self._metrics for key, value in self._result(name, *clips).items()}
        except ConfigError as error:
            raise UserError(f"{error} ({len(targets)} clips)") from error

    def _result(self, name: str, probabilities: Tensor, targets: Tensor) -> dict[str, Tensor]:
        metric, per_class = self._metrics[name]
        where = f"metrics.{name}: {type(metric).__name__}"
        if getattr(library, type(metric).__name__, None) is type(metric) and _parts(type(metric))[0] == "binary":
            probabilities = probabilities[:, 1]
        metric.reset()
        with warnings.catch_warnings(action="ignore"):  # about classes without clips, whose values are NaN or 0
            try:
                metric.update(probabilities, targets)
                value = metric.compute()
            except REFUSALS as error:
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise ConfigError(f"{where} cannot be computed from probabilities and labels: {reason}") from error
        parts = list(value) if isinstance(value, (tuple, list)) else [value]
        shapes = [part.shape for part in parts if isinstance(part, Tensor)]
        if len(shapes) != len(parts) or len(parts) > 2 or {*shapes} not in ({()}, {(self._task.num_classes,)}):
            found = " and ".join(str(list(part.shape)) if isinstance(part, Tensor) else repr(part) for part in parts)
            raise ConfigError(f"{where} returns {found}; expected one number, or one per class")
        suffixed = list(zip(parts, ("", "_threshold")))
        if shapes[0] == ():
            return {f"{name}{suffix}": part for part, suffix in suffixed}
        if not per_class:
            return {name: parts[0].float().nanmean()}
        classes = _labels(self._task.classes)
        return {
            f"{name}_{label}{suffix}": part[place] for place, label in enumerate(classes) for part, suffix in suffixed
        }


def check_metrics(nodes: Mapping[str, Any] | None, *, multilabel: bool) -> None:
    """Build and compute metrics before the classes are known.

    The number of classes is the largest in the arguments, and at least two.

    Raises:
        ConfigError: see :class:`ConfiguredMetrics`.
    """
    for name, node in _given(nodes):
        counts = [node.get(key) for key in (*COUNTS, "top_k")] if isinstance(node, Mapping) else []
        number = max(2, *(count for count in counts if isinstance(count, int)), 2)
        classes = tuple(map(str, range(min(number, 10_000))))
        ConfiguredMetrics({name: node}, AudioTask(classes, 8000, 8000, multilabel=multilabel))


def mode_of(monitor: str, nodes: Mapping[str, Any] | None = None) -> Literal["min", "max"]:
    """Return whether a lower (``min``) or higher (``max``) value of a metric is better.

    Args:
        monitor: name of the metric, such as ``validation/accuracy``.
        nodes: node ``metrics`` of the configuration.

    Raises:
        ConfigError: the class of the metric does not define ``higher_is_better``.
    """
    name = configured_metric(monitor, nodes)
    if nodes is None or name is None:
        return "min" if lower_is_better(monitor) else "max"
    higher = _higher_is_better(name, nodes[name])
    if higher is None:
        raise ConfigError(
            f"{monitor}: metrics.{name} does not define whether higher is better; set higher_is_better of its class to "
            "True or False"
        )
    return "max" if higher else "min"


def _given(nodes: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    return ((str(name), node) for name, node in (nodes or {}).items() if node is not None)


def _higher_is_better(name: str, node: Mapping[str, Any]) -> bool | None:
    target, _ = split_node(node, where=f"metrics.{name}")
    cls = resolve(target, Metric, where=f"metrics.{name}")
    _, base = _parts(cls)
    variants = [cls, *(getattr(library, f"{task.capitalize()}{base}", None) for task in TASKS)]
    found = [getattr(variant, "higher_is_better", None) for variant in variants]
    return next((value for value in found if isinstance(value, bool)), HIGHER_IS_BETTER.get(base))


def _parts(cls: type) -> tuple[str | None, str]:
    """Task of a torchmetrics class (None: any) and its name without the task."""
    task = next((task for task in TASKS if cls.__name__.startswith(task.capitalize())), None)
    return task, cls.__name__.removeprefix((task or "").capitalize())


def _build(name: str, node: Mapping[str, Any], task: AudioTask) -> tuple[Metric, bool]:
    """The metric, and whether it returns one value per class."""
    where = f"metrics.{name}"
    if not re.fullmatch(r"[^\W\d]\w*", name) or name.startswith("recording_"):
        raise ConfigError(
            f"{where}: invalid name; use letters, digits and underscores, and do not begin with a digit or recording_"
        )
    if name in METRICS + MULTILABEL_METRICS:
        raise ConfigError(f"{where}: every evaluation has a metric of this name; rename this one")
    target, arguments = split_node(node, where=where)
    cls = resolve(target, Metric, where=where)
    if issubclass(cls, Collected):
        raise ConfigError(f"{where}._target_={target} is an internal collector of clips; use a metric")
    if cls.__module__.startswith("torchmetrics.") and not is_trusted(cls.__module__):
        cls = _of_task(cls, target, arguments, task, where=where)
        target = f"{library.__name__}.{cls.__name__}"
    per_class = "average" in arguments and arguments["average"] in PER_CLASS
    averages = "average" in inspect.signature(cls).parameters  # some classes pass it to a base class that ignores it
    if not averages and (average := arguments.pop("average", "macro")) not in ("macro", *PER_CLASS):
        raise ConfigError(
            f"{where}.average={average}: {cls.__name__} returns one value per class; expected macro or none"
        )
    count = task.num_classes
    for key, value in arguments.items():
        if key in COUNTS and value not in (None, count):
            raise ConfigError(f"{where}.{key}={value}: these clips have {count} classes; remove this key")
        if isinstance(value, int) and value * count > MAX_CELLS:
            raise ConfigError(f"{where}.{key}={value}: expected at most {MAX_CELLS // count} for {count} classes")
    offered = {"num_classes": count, "num_labels": count, "multilabel": task.multilabel}
    metric = build({"_target_": target, **arguments}, Metric, where=where, offered=offered)
    metric.sync_on_compute = False  # it is computed from the gathered clips of all processes
    return metric, per_class


def _of_task(cls: type[Metric], target: Any, arguments: dict[str, Any], task: AudioTask, *, where: str) -> type[Metric]:
    """The torchmetrics class for a task; removes ``task`` from the arguments.

    Raises:
        ConfigError: the class cannot be used, or not for this task.
    """
    wanted, base = _parts(cls)
    if getattr(library, cls.__name__, None) is not cls:
        raise ConfigError(f"{where}._target_={target} is not a metric of {library.__name__}; name another class")
    if base in UNSUITABLE:
        raise ConfigError(f"{where}._target_={target} cannot be used: {UNSUITABLE[base]}")
    usual = "multilabel" if task.multilabel else "multiclass"
    if wanted is None:
        wanted = arguments.pop("task", None) or usual
        if wanted not in TASKS:
            raise ConfigError(f"{where}.task={wanted}: expected {' | '.join(TASKS)}")
    if wanted not in (usual, "binary") or (wanted == "binary" and (task.multilabel or task.num_classes != 2)):
        labels = "several labels" if task.multilabel else "one label"
        kinds = {"binary": "two classes", "multiclass": "one label per clip", "multilabel": "several labels per clip"}
        raise ConfigError(
            f"{where}: {wanted} metrics are for {kinds[wanted]}, and these clips have {labels} of "
            f"{task.num_classes} classes; use the {usual} metric"
        )
    found: type[Metric] | None = getattr(library, f"{wanted.capitalize()}{base}", None)
    if found is None or (base, wanted) == ("ExactMatch", "multiclass"):
        raise ConfigError(
            f"{where}._target_={target} cannot be used: torchmetrics does not have it for {wanted} tasks; choose "
            "another metric"
        )
    return found


def _sample(task: AudioTask) -> tuple[Tensor, Tensor]:
    """Sample probabilities and labels; each class has positives and negatives, unless there are thousands."""
    number = task.num_classes
    labels = torch.arange(max(8, min(2 * number + 1, MAX_CELLS // number))) % number
    probabilities = torch.rand(len(labels), number, generator=torch.Generator().manual_seed(0))
    if task.multilabel:
        return probabilities, torch.nn.functional.one_hot(labels, number)
    return probabilities.softmax(dim=1), labels


def _labels(classes: Iterable[str]) -> list[str]:
    """Class names as part of a metric name; class numbers if two names would be equal."""
    labels = [re.sub(r"[^\w.-]+", "_", name) for name in classes]
    return labels if len({*labels}) == len(labels) else [str(place) for place in range(len(labels))]
