"""Checkpoint files: tensors and plain containers only, so that to read one runs nothing."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from audio_lightning import __version__
from audio_lightning.errors import CheckpointError

CHECKPOINT_VERSION = 1


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint file, after a look at what it is.

    Raises:
        CheckpointError: the file is missing, is no checkpoint of this program, holds more than tensors and plain
            containers, or was written by a later version.
    """
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in zipfile, pickle, torch or the system
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise CheckpointError(
                f"{path}: refused: it holds Python objects, whose loading could run code; a checkpoint of this "
                "program holds tensors and plain values only"
            ) from error
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged ({type(error).__name__})") from error
    written = checkpoint.get("audio_lightning") if isinstance(checkpoint, dict) else None
    if not isinstance(written, dict) or not {"hyper_parameters", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{path} was not written by this program: expected checkpoints/best.ckpt of a run")
    if written.get("format") != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{path} has format {written.get('format')} (written by version {written.get('version')}); "
            f"version {__version__} reads format {CHECKPOINT_VERSION}"
        )
    return checkpoint


def write_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a whole checkpoint, or leave the old one as it was."""
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # mkstemp makes files that only their owner can read
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
