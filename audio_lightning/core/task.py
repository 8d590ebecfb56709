"""The classification task that a data set defines, and the input shapes of front ends and networks."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

InputKind = Literal["waveform", "spectrogram"]
Padding = Literal["zero", "repeat", "reflect"]


@dataclass(frozen=True)
class AudioTask:
    """Classification task: classes, and sample rate and length of the clips.

    The data module creates it; it determines the shapes of front end and network, and is stored in the checkpoint.

    Attributes:
        classes: class names; the position is the index of the logit.
        sample_rate: rate in hertz to which every recording is resampled.
        num_samples: length of a clip in samples at that rate.
        padding: how a recording shorter than ``num_samples`` is padded at its end: with zeros (``"zero"``), by
            repeating it (``"repeat"``), or by reflecting it (``"reflect"``).
        multilabel: whether a clip may have several labels.
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
        """Number of classes, equal to the number of logits."""
        return len(self.classes)

    @property
    def clip_seconds(self) -> float:
        """Length of a clip in seconds."""
        return self.num_samples / self.sample_rate

    @property
    def classes_sha256(self) -> str:
        """SHA-256 of the ordered class names, to detect a file with other classes."""
        return hashlib.sha256(json.dumps(self.classes).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain Python containers, the only ones that a checkpoint can hold."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "AudioTask":
        """Inverse of :meth:`to_dict`."""
        return cls(**{**values, "classes": tuple(values["classes"])})


@dataclass(frozen=True)
class FeatureShape:
    """Shape of the network's input as the front end computes it, without the batch dimension.

    Attributes:
        kind: ``"waveform"`` with ``dims == (channels, samples)``, or ``"spectrogram"`` with
            ``dims == (channels, bins, frames)``.
        dims: sizes of the dimensions.
        sample_rate: sample rate of the recordings in hertz; None if no network needs it.
        is_sound: whether the last axis is time. False for a vector of summary features, which a waveform network can
            process, but a network with filters in hertz cannot.
    """

    kind: InputKind
    dims: tuple[int, ...]
    # Provenance, not part of the shape.
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

    @property
    def bins(self) -> int:
        """Number of frequency bins of a spectrogram.

        Raises:
            ValueError: a waveform.
        """
        return self._of_spectrogram("bins", 1)

    @property
    def frames(self) -> int:
        """Number of frames of a spectrogram.

        Raises:
            ValueError: a waveform.
        """
        return self._of_spectrogram("frames", 2)

    def _of_spectrogram(self, name: str, axis: int) -> int:
        if self.kind != "spectrogram":
            raise ValueError(f"a waveform has no {name}; its dims are (channels, samples)")
        return self.dims[axis]

    def __str__(self) -> str:
        return f"{self.kind} [{', '.join(map(str, self.dims))}]"


UNKNOWN = "unknown"
"""Predicted label of a clip whose most probable class is below the confidence threshold (single-label only)."""

LABEL_SEPARATOR = "|"
"""Separator between the labels of one prediction, in a text with several."""

METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "loss")
"""Metrics of one evaluation of single-label clips; logged as ``validation/<name>`` and ``test/<name>``."""

MULTILABEL_METRICS = ("mean_average_precision", "f1_macro", "f1_micro", "accuracy", "loss")
"""Metrics of multi-label clips; ``accuracy`` is the share of clips with exactly the right set of labels."""


PER_CLASS = ("none", None)
"""Values of a metric's ``average`` that give one value for each class."""


def metric_names(*, multilabel: bool) -> tuple[str, ...]:
    """Names of the metrics of one evaluation; the first is the default metric for model selection."""
    return MULTILABEL_METRICS if multilabel else METRICS


def monitorable_metrics(*, multilabel: bool) -> tuple[str, ...]:
    """Metrics that every training logs each epoch, and that ``monitor`` can name."""
    names = metric_names(multilabel=multilabel)
    return f"train/{names[0]}", "train/loss", *(f"validation/{name}" for name in names)


def configured_metric(metric: str, nodes: Mapping[str, Any] | None) -> str | None:
    """Find the key in ``metrics`` that computes a metric, overall or for one class; None if there is none.

    Args:
        metric: such as ``validation/auroc``, or ``test/recall_siren``, which needs ``metrics.recall.average=none``.
        nodes: the node ``metrics`` of a configuration.
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
    """Whether lower values of ``metric`` are better.

    Args:
        metric: such as ``validation/accuracy``, or ``test/recording_loss`` for whole recordings.
        others: names of metrics besides the loss for which lower is better.
    """
    return metric.rpartition("/")[2].removeprefix("recording_") in ("loss", *others)
