"""Training loss: a loss class of ``torch.nn``, of this package or of a trusted module, adapted to a task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from audio_lightning.config.targets import REFUSALS, build, resolve, split_node, takes
from audio_lightning.config.trust import is_trusted
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import as_yaml
from audio_lightning.core.task import AudioTask
from audio_lightning.losses.objective import Objective, make_objective, shares

PROGRAM_KEYS = ("class_weights", "label_smoothing")
"""Keys of ``loss`` that :class:`TrainingLoss` applies itself if the loss class has no such argument."""


def _indices(target: Tensor, classes: int) -> Tensor:
    """Return class indices ``[batch]`` or probabilities ``[batch, classes]`` unchanged."""
    return target


def _signs(target: Tensor, classes: int) -> Tensor:
    """Return targets ``[batch, classes]`` of +1 for the labels of a clip and -1 for the other classes."""
    return 2 * shares(target, classes) - 1


def _positions(target: Tensor, classes: int) -> Tensor:
    """Return the indices of the labels of each clip, padded with -1: ``[batch, classes]``."""
    labels = shares(target, classes) > 0.5
    order = labels.int().argsort(dim=1, descending=True, stable=True)
    return torch.where(labels.gather(1, order), order, -1)


@dataclass(frozen=True)
class Form:
    """Target format of a loss.

    Attributes:
        target: function that converts the target of a task and the number of classes to the target of the loss.
        soft: whether targets may be fractional, as mixing and label smoothing make them.
        multilabel: whether a clip may have several labels.
    """

    target: Callable[[Tensor, int], Tensor] = _indices
    soft: bool = True
    multilabel: bool = True


FORMS: Mapping[str, Form] = {
    "BCEWithLogitsLoss": Form(shares),
    "CrossEntropyLoss": Form(_indices, multilabel=False),
    "HuberLoss": Form(shares),
    "L1Loss": Form(shares),
    "MSELoss": Form(shares),
    "MultiLabelMarginLoss": Form(_positions, soft=False),
    "MultiLabelSoftMarginLoss": Form(shares),
    "MultiMarginLoss": Form(_indices, soft=False, multilabel=False),
    "SmoothL1Loss": Form(shares),
    "SoftMarginLoss": Form(_signs, soft=False),
}
"""Losses of ``torch.nn`` for logits and labels, with their target formats."""

UNSUITABLE = {
    "BCELoss": "it takes probabilities, which lose precision; use torch.nn.BCEWithLogitsLoss",
    "CTCLoss": "it compares sequences, and a clip has labels without an order",
    "CosineEmbeddingLoss": "it compares pairs of embeddings",
    "GaussianNLLLoss": "it needs a variance for each prediction",
    "HingeEmbeddingLoss": "it takes distances between pairs",
    "KLDivLoss": "it takes log-probabilities; torch.nn.CrossEntropyLoss has the same gradient",
    "LinearCrossEntropyLoss": "it takes embeddings, and has a linear layer of its own that no checkpoint would hold",
    "MarginRankingLoss": "it compares pairs of scores",
    "NLLLoss": "it takes log-probabilities; use torch.nn.CrossEntropyLoss",
    "NLLLoss2d": "it takes log-probabilities of pixels; use torch.nn.CrossEntropyLoss",
    "PoissonNLLLoss": "it takes counts",
    "TripletMarginLoss": "it compares triplets of embeddings",
    "TripletMarginWithDistanceLoss": "it compares triplets of embeddings",
}
"""Losses of ``torch.nn`` that cannot train a classifier, with the reason."""


class TrainingLoss(nn.Module):
    """Loss with class weights, label smoothing and the target format of a task.

    Without a ``_target_`` it is cross-entropy, or binary cross-entropy for multi-label clips.

    Args:
        node: node ``loss`` of the configuration.
        task: task of the classifier.
        mixed: whether an augmentation mixes the targets of clips.
        distilled: whether targets contain the probabilities of a teacher.

    Raises:
        ConfigError: invalid target, value or combination.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import AudioTask
        >>> task = AudioTask(("dog", "rain", "siren"), sample_rate=8000, num_samples=8000)
        >>> node = {"_target_": "torch.nn.CrossEntropyLoss", "class_weights": "none", "label_smoothing": 0.1}
        >>> loss = TrainingLoss(node, task)
        >>> logits, target, weights = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), torch.ones(3)
        >>> loss(logits, target, weights).shape
        torch.Size([4])
    """

    def __init__(
        self, node: Mapping[str, Any], task: AudioTask, *, mixed: bool = False, distilled: bool = False
    ) -> None:
        super().__init__()
        check_loss(node)
        self.objective: Objective = make_objective(task)
        self.multilabel, self.classes = task.multilabel, task.num_classes
        self.weighted = node["class_weights"] != "none"
        self.smoothing = float(node["label_smoothing"])
        default = "torch.nn.BCEWithLogitsLoss" if task.multilabel else "torch.nn.CrossEntropyLoss"
        node = {**node, "_target_": node.get("_target_") or default}
        target, arguments = split_node(node, where="loss")
        cls: type[nn.Module] = resolve(target, nn.Module, where="loss")
        self.form = _form(cls, target)
        name = cls.__name__
        if task.multilabel and not self.form.multilabel:
            raise ConfigError(f"loss: {name} takes one label per clip, and these clips have several; use loss=bce")
        causes = {
            "augment mixes the labels of clips": mixed,
            "distill.teacher gives a probability for each class": distilled,
            "loss.label_smoothing spreads them": self.smoothing,
        }
        if not self.form.soft and any(causes.values()):
            cause = next(cause for cause, present in causes.items() if present)
            raise ConfigError(f"loss: {name} takes whole labels, and {cause}; remove that, or use loss=auto")
        # Arguments of the loss class take precedence over the weights and the smoothing that are applied here.
        self.weight_argument = "pos_weight" if task.multilabel else "weight" * (self.form.target is _indices)
        if not self.weight_argument or not takes(cls, self.weight_argument) or is_trusted(target):
            self.weight_argument = ""
        given = {key: value for key, value in arguments.items() if key not in PROGRAM_KEYS}
        for key in ("weight", "pos_weight"):
            if isinstance(given.get(key), list):
                if self.weighted:
                    raise ConfigError(f"loss.{key}: class weights are given twice; set loss.class_weights=none")
                given[key] = _weights(given[key], task.num_classes, where=f"loss.{key}")
                self.weight_argument = ""
        offered: dict[str, Any] = {"multilabel": task.multilabel}
        self.smooths = not takes(cls, "label_smoothing")
        if not self.smooths:
            offered["label_smoothing"] = self.smoothing
        supplied = {"reduction": "none"} if takes(cls, "reduction") else {}
        self.loss = build({"_target_": target, **given}, nn.Module, where="loss", offered=offered, **supplied)
        for module in self.loss.modules():  # class weights come from the configuration, not from a checkpoint
            for key, buffer in list(module.named_buffers(recurse=False)):
                module.register_buffer(key, buffer, persistent=False)
        if self.weight_argument:
            self.loss.register_buffer(self.weight_argument, None, persistent=False)
        self._try(task, mixed or distilled, name)

    def forward(self, logits: Float[Tensor, "batch classes"], target: Tensor, weights: Tensor) -> Tensor:
        """Compute the loss per clip, ``[batch]``.

        Args:
            logits: raw scores, ``[batch, classes]``.
            target: class index ``[batch]``, or probability of each class ``[batch, classes]``.
            weights: class weights, ``[classes]``.
        """
        shaped = self.form.target(self._smoothed(target), self.classes)
        if self.weight_argument:
            setattr(self.loss, self.weight_argument, weights)
            losses: Tensor = self.loss(logits, shaped)
        else:
            losses = self.loss(logits, shaped)
            if self.weighted and self.multilabel:
                losses = losses * (1 + (weights - 1) * target)
            elif self.weighted:
                of_clip = target @ weights if target.is_floating_point() else weights[target]
                losses = losses * (of_clip[:, None] if losses.dim() == 2 else of_clip)
        return losses.mean(dim=1) if losses.dim() == 2 else losses

    def mean(self, losses: Float[Tensor, "batch"], target: Tensor, weights: Tensor) -> Float[Tensor, ""]:
        """Compute the mean over the batch of the losses of :meth:`forward`, which include the class weights."""
        return self.objective.mean(losses, target, weights)

    def _smoothed(self, target: Tensor) -> Tensor:
        if not self.smoothing or not self.smooths:
            return target
        spread = 1 / 2 if self.multilabel else 1 / self.classes
        return shares(target, self.classes) * (1 - self.smoothing) + self.smoothing * spread

    def _try(self, task: AudioTask, soft: bool, name: str) -> None:
        """Compute the loss of two clips, so that an invalid loss fails before any audio is read."""
        target = torch.arange(2) % task.num_classes
        if task.multilabel or soft:
            target = shares(target, task.num_classes)
        logits = torch.linspace(-1, 1, 2 * task.num_classes).reshape(2, -1)
        try:
            of_classes = self.loss(logits, self.form.target(self._smoothed(target), self.classes))
        except REFUSALS as error:
            message = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ConfigError(f"loss: {name} cannot be computed from logits and labels: {message}") from error
        if not isinstance(of_classes, Tensor) or of_classes.shape not in ((2,), logits.shape):
            found = list(of_classes.shape) if isinstance(of_classes, Tensor) else type(of_classes).__name__
            raise ConfigError(f"loss: {name} returns {found} for 2 clips; return one loss per clip, [2]")
        if task.multilabel and self.weighted and not self.weight_argument and of_classes.dim() == 1:
            raise ConfigError(
                f"loss.class_weights=balanced: {name} does not return a loss for each class, so classes cannot be "
                "weighted; use loss=bce, loss=focal or loss.class_weights=none"
            )


def check_loss(loss: Mapping[str, Any] | None) -> None:
    """Check ``class_weights`` and ``label_smoothing`` of the node ``loss``.

    Raises:
        ConfigError: a missing or invalid value.
    """
    if loss is None:
        raise ConfigError("loss=null: a training needs a loss; use loss=auto")
    for key in PROGRAM_KEYS:
        if key not in loss:
            raise ConfigError(f"loss.{key}: missing; add `- _options` to the `defaults` of the YAML file of the loss")
    if (mode := loss["class_weights"]) not in ("none", "balanced"):
        raise ConfigError(f"loss.class_weights={mode}: expected none or balanced")
    smoothing = loss["label_smoothing"]
    if not isinstance(smoothing, (int, float)) or isinstance(smoothing, bool) or not 0 <= smoothing < 1:
        raise ConfigError(f"loss.label_smoothing={as_yaml(smoothing)}: expected at least 0 and less than 1")


def _form(cls: type[nn.Module], target: Any) -> Form:
    """Target format of a loss class.

    Raises:
        ConfigError: the class is not a loss, or not one for logits and labels.
    """
    if is_trusted(target) or not cls.__module__.startswith("torch."):
        return Form()
    if cls.__name__ in UNSUITABLE:
        raise ConfigError(f"loss._target_={target} cannot be used: {UNSUITABLE[cls.__name__]}")
    if not issubclass(cls, _Loss) or cls.__name__ not in FORMS:
        raise ConfigError(f"loss._target_={target} is not a loss of logits and labels; use one of {', '.join(FORMS)}")
    return FORMS[cls.__name__]


def _weights(values: list[Any], classes: int, *, where: str) -> Tensor:
    """A list of class weights as a tensor."""
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        raise ConfigError(f"{where}={values}: expected a list of numbers, one per class")
    return torch.tensor(values, dtype=torch.float32)
