"""What a data set asks for, and the shapes that flow from the data through the front end into the network."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

InputKind = Literal["waveform", "spectrogram"]
Padding = Literal["zero", "repeat", "reflect"]


@dataclass(frozen=True)
class AudioTask:
    """What the network has to answer, and on what kind of clip.

    It is made by the data module, shapes the front end and the network, and travels in the checkpoint.

    Attributes:
        classes: names of the classes; the position is the index of the logit.
        sample_rate: rate in hertz to which every recording is resampled.
        num_samples: length of a clip in samples at that rate.
        padding: how a recording shorter than ``num_samples`` is filled up: with zeros, by repeating it, or by
            reflecting it at its end.
        multilabel: whether a clip may carry several labels at once.
    """

    classes: tuple[str, ...]
    sample_rate: int
    num_samples: int
    padding: Padding = "zero"
    multilabel: bool = False

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("there are no classes")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"class names must be unique, got {self.classes}")
        if self.sample_rate <= 0 or self.num_samples <= 0:
            raise ValueError(
                f"sample_rate and num_samples must be positive, got {self.sample_rate} and {self.num_samples}"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes, which is the number of logits."""
        return len(self.classes)

    @property
    def clip_seconds(self) -> float:
        """Length of a clip in seconds."""
        return self.num_samples / self.sample_rate

    @property
    def classes_sha256(self) -> str:
        """Hash of the names of the classes in their order, by which it is found out that a file has others."""
        return hashlib.sha256(json.dumps(self.classes).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain Python containers only, as a checkpoint may hold them."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "AudioTask":
        """The inverse of :meth:`to_dict`."""
        return cls(**{**values, "classes": tuple(values["classes"])})


@dataclass(frozen=True)
class FeatureShape:
    """Shape of what a front end hands to the network, without the batch dimension.

    Attributes:
        kind: ``"waveform"`` with ``dims == (channels, samples)``, or ``"spectrogram"`` with
            ``dims == (channels, bins, frames)``.
        dims: the sizes.
        sample_rate: rate in hertz of the recordings that it is of; None where nobody needs to know.
        is_sound: whether neighbours in the last axis are neighbours in time; a row of numbers that is none can be given
            to networks that take a waveform for what it is worth, but means nothing to those that know of hertz.
    """

    kind: InputKind
    dims: tuple[int, ...]
    # Where it comes from, and not what it is like.
    sample_rate: int | None = field(default=None, compare=False)
    is_sound: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        expected = 2 if self.kind == "waveform" else 3
        if len(self.dims) != expected or min(self.dims) < 1:
            raise ValueError(f"a {self.kind} has {expected} positive sizes, got {self.dims}")

    @property
    def channels(self) -> int:
        """Number of input channels of the network."""
        return self.dims[0]

    def __str__(self) -> str:
        return f"{self.kind} [{', '.join(map(str, self.dims))}]"


UNKNOWN = "unknown"
"""What is predicted for a clip with one label, where its most probable class is not probable enough."""

LABEL_SEPARATOR = "|"
"""What stands between the labels of a prediction, where there are several in one text."""

METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "loss")
"""Metrics of one evaluation; logged as ``validation/<name>`` and ``test/<name>``."""

MULTILABEL_METRICS = ("mean_average_precision", "f1_macro", "f1_micro", "accuracy", "loss")
"""The same where clips have several labels; accuracy is the share of clips whose whole set of labels is right."""


PER_CLASS = ("none", None)
"""Values of a metric's ``average`` that ask for one value a class."""


def metric_names(*, multilabel: bool) -> tuple[str, ...]:
    """Metrics of one evaluation; the first is the one to choose by unless somebody names another."""
    return MULTILABEL_METRICS if multilabel else METRICS


def monitorable_metrics(*, multilabel: bool) -> tuple[str, ...]:
    """Everything that a training logs every epoch, and so can be monitored."""
    names = metric_names(multilabel=multilabel)
    return f"train/{names[0]}", "train/loss", *(f"validation/{name}" for name in names)


def configured_metric(metric: str, nodes: Mapping[str, Any] | None) -> str | None:
    """The key in ``metrics`` that a metric is measured by, itself or for one of the classes; None where none is.

    Args:
        metric: such as ``validation/auroc``, or ``test/recall_siren``, which needs ``metrics.recall.average=none``.
        nodes: ``metrics`` of a configuration.
    """
    name = metric.rpartition("/")[2].removeprefix("recording_")
    found = [
        key
        for key, node in (nodes or {}).items()
        if isinstance(node, Mapping)
        and (name == key or (name.startswith(f"{key}_") and node.get("average", "") in PER_CLASS))
    ]
    return max(found, key=len, default=None)


def lower_is_better(metric: str, others: Iterable[str] = ()) -> bool:
    """Whether a smaller value of ``metric`` is the better one.

    Args:
        metric: such as ``validation/accuracy``, or ``test/recording_loss`` of whole recordings.
        others: metrics beside the loss for which lower is better.
    """
    return metric.rpartition("/")[2].removeprefix("recording_") in ("loss", *others)
