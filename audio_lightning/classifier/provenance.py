"""Training data of a classifier: description in its checkpoint, and comparison with other data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from audio_lightning.core.errors import CheckpointError, DataError
from audio_lightning.core.task import AudioTask
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.store.fingerprints import SEGMENT, difference

TRAINED_ON = "trained_segments"
"""Key in a checkpoint. Version 0.1.0 stored hashes of resampled audio as ``trained_on``, which match nothing now."""


def packed(segments: Shaped[np.ndarray, "segments"]) -> Tensor:
    """Convert fingerprints of segments to a tensor of bytes, ``[segments, bytes]``, as stored in checkpoints."""
    return torch.from_numpy(segments.view(np.uint8).reshape(-1, SEGMENT.itemsize))


def unpacked(checkpoint: Mapping[str, Any]) -> Shaped[np.ndarray, "segments"] | None:
    """Return fingerprints of the segments that a checkpoint was trained on; None if it has none."""
    known = checkpoint["audio_lightning"].get(TRAINED_ON)
    return None if known is None else known.numpy().astype(np.uint8, casting="no").view(SEGMENT).reshape(-1)


def described_data(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a checkpoint's training data (:func:`fingerprints.describe`); partial in older ones.

    Raises:
        KeyError, TypeError, ValueError: the parts of the checkpoint are inconsistent.
    """
    parameters, written = checkpoint["hyper_parameters"], checkpoint["audio_lightning"]
    task = AudioTask.from_dict(parameters["task"])
    data = {"clips_of_classes": parameters["class_counts"], **written.get("data", {}), "classes": list(task.classes)}
    if written.get("classes_sha256", task.classes_sha256) != task.classes_sha256:
        raise ValueError(f"its classes are not {', '.join(task.classes)}")
    if len(data["clips_of_classes"]) != task.num_classes:
        raise ValueError(f"it counts clips of {len(data['clips_of_classes'])} classes in place of {task.num_classes}")
    return data


def check_same_data(checkpoint: Mapping[str, Any], datamodule: AudioDataModule) -> None:
    """Check that data equals that of a checkpoint's training, so that no clip changes its class or its split.

    Args:
        checkpoint: contents of the checkpoint.
        datamodule: the data, after :meth:`setup`.

    Raises:
        CheckpointError: the parts of the checkpoint are inconsistent.
        DataError: the data differs; the message names the differences.
    """
    try:
        found = difference(described_data(checkpoint), datamodule)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint does not describe its training data ({error}); use another checkpoint"
        ) from error
    if found:
        raise DataError(
            f"{datamodule.root}: the data is not what this run was trained on: {found}; restore it, give its new "
            "folder as data.root=DIR, or start another run"
        )


def check_task(data: AudioTask, classifier: AudioTask) -> None:
    """Check that targets and samples of data have the same meaning for a classifier.

    Raises:
        DataError: other classes or another order of them; several labels per clip instead of one; another sample rate.
    """
    if (data.classes, data.multilabel) != (classifier.classes, classifier.multilabel):
        raise DataError(
            f"the classifier has the classes {', '.join(classifier.classes)}, and the data has "
            f"{', '.join(data.classes)}; match them by name with "
            "datamodule.match_classes(classifier.task.classes), or train another classifier"
        )
    if data.sample_rate != classifier.sample_rate:
        raise DataError(
            f"the classifier needs {classifier.sample_rate} Hz, and the data has {data.sample_rate} Hz; use "
            f"data.sample_rate={classifier.sample_rate}"
        )
