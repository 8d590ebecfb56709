"""Resolve arguments of the API: classifiers, runs and recordings, given as objects or as paths."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from audio_lightning.api.training import PathLike, Run, Trust

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier


def load(checkpoint: PathLike, *, trust: Trust = None, device: str = "cpu") -> "Classifier":
    """Load a classifier from a checkpoint file, a run folder, the folder of a fit or the Hugging Face hub.

    Args:
        checkpoint: the file or folder; ``hf://OWNER/NAME``, or ``hf://OWNER/NAME@REVISION``, for a model of the Hugging
            Face hub.
        trust: modules of the user's own whose classes the checkpoint may name.
        device: torch device, such as ``"cuda"``.

    Returns:
        The classifier in evaluation mode. It maps waveforms ``[batch, samples]`` to logits ``[batch, classes]``.

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or it names a class that is not allowed.
        ConfigError: a device or a module that does not exist.

    Example:
        >>> import torch
        >>> import audio_lightning as al
        >>> classifier = al.load("runs/first")  # doctest: +SKIP
        >>> waveform = torch.zeros(1, classifier.task.num_samples)  # doctest: +SKIP
        >>> classifier.probabilities(waveform).shape  # doctest: +SKIP
    """
    from audio_lightning.inference.load import load_classifier

    return load_classifier(Path(checkpoint).expanduser(), device, trust=trust)


def as_folder(checkpoint: "Run | PathLike") -> Path:
    """Return the folder of a run, or the path that was given."""
    return checkpoint.folder if isinstance(checkpoint, Run) else Path(checkpoint).expanduser()


def as_classifier(classifier: "Classifier | Run | PathLike", trust: Trust) -> "Classifier":
    """Return a loaded classifier unchanged; load the classifier of a run or a path."""
    if isinstance(classifier, Run):
        return classifier.classifier
    return load(classifier, trust=trust) if isinstance(classifier, str | Path) else classifier


def as_recordings(recordings: PathLike | Iterable[PathLike]) -> list[Path]:
    """Return the recordings among the paths, and all recordings below the folders among them."""
    from audio_lightning.audio import find_recordings

    return find_recordings(as_paths(recordings))


def as_paths(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    """Return one or several paths as a list, with ``~`` expanded."""
    return [Path(path).expanduser() for path in ([paths] if isinstance(paths, str | Path) else paths)]
