"""Load a classifier from a checkpoint, a run, a fit or the Hugging Face hub."""

from collections.abc import Iterable
from pathlib import Path

import torch

from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import first_line
from audio_lightning.inference.hub import is_hub_name, pull
from audio_lightning.run_folder import find_checkpoint


def load_classifier(path: Path, device: str = "cpu", *, trust: str | Iterable[str] | None = None) -> Classifier:
    """Load the classifier of a checkpoint, a run or a fit (a single network or an ensemble), in evaluation mode.

    Args:
        path: file or folder; ``hf://OWNER/NAME`` for a model of the Hugging Face hub.
        device: torch device, such as ``"cuda"``.
        trust: modules of the user's own whose classes the checkpoint may name.

    Raises:
        CheckpointError: see :func:`audio_lightning.run_folder.find_checkpoint` and
            :meth:`AudioClassifier.load_from_checkpoint`.
        ConfigError: a device that is not available, or that cannot compute; see also
            :func:`audio_lightning.inference.hub.pull`.
    """
    _check_device(device)
    file = pull(path) if is_hub_name(path) else find_checkpoint(path)
    return AudioClassifier.load_from_checkpoint(file, map_location=device, trust=trust)


def _check_device(device: str) -> None:
    """Check that a device computes; tensors on the device ``meta`` have shapes but no values."""
    try:
        torch.ones(1, device=device).sum().item()
    except (RuntimeError, AssertionError) as error:
        devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        devices += ["mps"] if torch.backends.mps.is_available() else []
        raise ConfigError(
            f"--device {device}: not available ({first_line(error)}); use {' or '.join(devices)}"
        ) from error
