"""Classifiers and recordings as callers name them: a path, an object of this package, or several paths."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from audio_lightning.api.training import PathLike, Run, Trust

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier


def load(checkpoint: PathLike, *, trust: Trust = None, device: str = "cpu") -> "Classifier":
    """The classifier of a checkpoint file, a run folder or the folder of a fit, in evaluation mode.

    Args:
        checkpoint: the file or folder; ``hf://OWNER/NAME``, or ``hf://OWNER/NAME@REVISION``, for a model of the Hugging
            Face hub.
        trust: modules of one's own whose classes it may name.
        device: such as ``"cuda"``.

    Raises:
        CheckpointError: there is none, or one that asks for what it must not.
        ConfigError: a device or a module that is not there.
    """
    from audio_lightning.inference.load import load_classifier

    return load_classifier(Path(checkpoint).expanduser(), device, trust=trust)


def as_folder(checkpoint: "Run | PathLike") -> Path:
    """The folder of a run, or a path as it is named."""
    return checkpoint.folder if isinstance(checkpoint, Run) else Path(checkpoint).expanduser()


def as_classifier(classifier: "Classifier | Run | PathLike", trust: Trust) -> "Classifier":
    """A loaded classifier as it is; that of a run, or of a path."""
    if isinstance(classifier, Run):
        return classifier.classifier
    return load(classifier, trust=trust) if isinstance(classifier, str | Path) else classifier


def as_recordings(recordings: PathLike | Iterable[PathLike]) -> list[Path]:
    """Recordings that are named, and those below folders that are named."""
    from audio_lightning.audio import find_recordings

    return find_recordings(as_paths(recordings))


def as_paths(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    """One path, or several."""
    return [Path(path).expanduser() for path in ([paths] if isinstance(paths, str | Path) else paths)]
