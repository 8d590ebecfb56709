"""What a classifier was trained on: kept in its checkpoint, and compared with other data."""

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
"""Key in a checkpoint. Under ``trained_on`` version 0.1.0 kept hashes of resampled audio, which match nothing now."""


def packed(segments: Shaped[np.ndarray, "segments"]) -> Tensor:
    """Fingerprints of segments as a tensor of bytes, ``[segments, bytes]``, which a checkpoint may hold."""
    return torch.from_numpy(segments.view(np.uint8).reshape(-1, SEGMENT.itemsize))


def unpacked(checkpoint: Mapping[str, Any]) -> Shaped[np.ndarray, "segments"] | None:
    """Fingerprints of the segments that a checkpoint was trained on; None where it has none."""
    known = checkpoint["audio_lightning"].get(TRAINED_ON)
    return None if known is None else known.numpy().astype(np.uint8, casting="no").view(SEGMENT).reshape(-1)


def described_data(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of the data of its training (:func:`fingerprints.describe`); older ones say less.

    Raises:
        KeyError, TypeError, ValueError: its parts do not fit one another.
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
    """Refuse data other than that of a checkpoint's training, so that no clip changes its class or its split.

    Args:
        checkpoint: its contents.
        datamodule: after its :meth:`setup`.

    Raises:
        CheckpointError: its parts do not fit one another.
        DataError: with what changed.
    """
    try:
        found = difference(described_data(checkpoint), datamodule)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the checkpoint does not say what it was trained on ({error})") from error
    if found:
        raise DataError(
            f"{datamodule.root}: the data is not what this run was trained on: {found}; put it back, name where it "
            "lies now by data.root=DIR, or start another run"
        )


def check_task(data: AudioTask, classifier: AudioTask) -> None:
    """Refuse data whose targets or samples mean something else to a classifier.

    Raises:
        DataError: other classes, or in another order; several labels a clip for one; or another sample rate.
    """
    if (data.classes, data.multilabel) != (classifier.classes, classifier.multilabel):
        raise DataError(
            f"the classifier has the classes {', '.join(classifier.classes)}, and the data has "
            f"{', '.join(data.classes)}: match them by name with "
            "datamodule.match_classes(classifier.task.classes), or train another classifier"
        )
    if data.sample_rate != classifier.sample_rate:
        raise DataError(
            f"the classifier takes {classifier.sample_rate} Hz, and the data has {data.sample_rate} Hz: give "
            f"data.sample_rate={classifier.sample_rate}"
        )
