"""Checkpoint files: tensors and plain containers with a checksum; reading one executes no code."""

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import torch

from audio_lightning import __version__
from audio_lightning.config.renamed import upgrade
from audio_lightning.config.saved import check_resolved
from audio_lightning.core.archive import DamagedArchive, RefusedArchive, check_contents, check_seal, seal
from audio_lightning.core.errors import CheckpointError, FileError

CHECKPOINT_VERSION = 1


class DamagedCheckpointError(CheckpointError):
    """The file is missing or corrupt; the previous checkpoint may be intact."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read and validate a checkpoint file; old names in its configuration are replaced by current ones.

    Raises:
        DamagedCheckpointError: the file is missing, or its checksum does not match.
        CheckpointError: see :func:`read_contents` and :func:`check_checkpoint`; also an ensemble of checkpoints.
    """
    contents = read_contents(path)
    if is_ensemble(contents):
        raise CheckpointError(
            f"{path} is an ensemble of checkpoints, which can only predict and be tested; give one of the checkpoints "
            "that it was made of (checkpoints/best.ckpt of a run)"
        )
    return check_checkpoint(contents, where=str(path))


def read_contents(path: Path) -> Any:
    """Read a file written by :func:`write_checkpoint`: a checkpoint, or an ensemble of checkpoints.

    Raises:
        DamagedCheckpointError: the file is missing, or its checksum does not match.
        CheckpointError: the file cannot be read, holds more than tensors and plain containers, or would take more
            memory than it has bytes.
    """
    try:
        # Reading a pipe would block until there is a writer, and some devices never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path}: a folder, a pipe or a device, not a file; give a checkpoint")
        with path.open("rb") as file:
            check_seal(file)
            check_contents(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DamagedCheckpointError(f"{path}: no such file; give checkpoints/best.ckpt of a run") from error
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except DamagedArchive as error:
        raise DamagedCheckpointError(
            f"{path} is not a checkpoint, or is damaged ({error}); use another file"
        ) from error
    except RefusedArchive as error:
        raise CheckpointError(f"{path}: refused: {error}") from error
    except CheckpointError:
        raise
    except Exception as error:  # any exception of torch's unpickler
        raise CheckpointError(
            f"{path} is not a checkpoint, or is damaged ({type(error).__name__}); use another file"
        ) from error


def is_ensemble(contents: Any) -> bool:
    """Return whether a file holds an ensemble of checkpoints (:mod:`audio_lightning.classifier.ensemble_file`)."""
    written = contents.get("audio_lightning") if isinstance(contents, dict) else None
    return isinstance(written, dict) and "ensemble_format" in written


def check_checkpoint(checkpoint: Any, *, where: str) -> dict[str, Any]:
    """Validate the contents of a checkpoint, and replace old names in its configuration by current ones.

    Args:
        checkpoint: contents of a file, or one member of an ensemble.
        where: the file, for messages.

    Raises:
        CheckpointError: not a checkpoint of this program, one of a later version, or one with interpolations in its
            configuration.
    """
    written = checkpoint.get("audio_lightning") if isinstance(checkpoint, dict) else None
    if not isinstance(written, dict) or not {"hyper_parameters", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{where} was not written by this program; give checkpoints/best.ckpt of a run")
    if written.get("format") != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{where} has format {written.get('format')} (written by version {written.get('version')}); "
            f"version {__version__} reads format {CHECKPOINT_VERSION}"
        )
    parameters = checkpoint["hyper_parameters"]
    if not isinstance(parameters, dict):
        found = type(parameters).__name__
        raise CheckpointError(
            f"{where} does not fit the classifier it describes: hyper_parameters is a {found}; use another checkpoint"
        )
    try:
        check_resolved(parameters, where=where)
    except FileError as error:
        raise CheckpointError(str(error)) from error
    if isinstance(config := parameters.get("config"), dict):
        upgrade(config)
    return dict(checkpoint)


def write_checkpoint(path: Path, checkpoint: dict[str, Any], *, previous: Path | None = None) -> None:
    """Write a checkpoint atomically and verify it by reading it back; on errors, the old file stays.

    Args:
        path: the file.
        checkpoint: its contents.
        previous: new name of the old file; None to replace it.

    Raises:
        OSError: the file cannot be written, or its content differs when read back.
        CheckpointError: the contents would be refused by :func:`read_contents`.
    """
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            torch.save(checkpoint, file)
            seal(file)
            file.flush()
            os.fsync(file.fileno())
        with open(partial, "rb") as file:
            check_seal(file)
            check_contents(file)
        os.chmod(partial, 0o644)  # mkstemp creates files that only their owner can read
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(partial, path)
    except BaseException as error:
        os.unlink(partial)
        if isinstance(error, DamagedArchive):
            text = f"the file differs when read back ({error}); check the disk"
            raise OSError(errno.EIO, text, str(path)) from error
        if isinstance(error, RefusedArchive):
            text = f"{path} is not written, as it could not be read: {error}; check the state of networks and callbacks"
            raise CheckpointError(text) from error
        # If the disk is full, torch raises a second error when it closes the archive.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise
