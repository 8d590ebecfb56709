"""Checkpoint files: tensors and plain containers only, so that to read one runs nothing, and each with a checksum."""

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
    """A file that is missing, or does not hold what was written to it: the one before may."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint file, after a look at what it is; its configuration has the names of this version.

    Raises:
        DamagedCheckpointError: the file is missing, or its checksum is another.
        CheckpointError: see :func:`read_contents` and :func:`check_checkpoint`; also an ensemble of checkpoints.
    """
    contents = read_contents(path)
    if is_ensemble(contents):
        raise CheckpointError(
            f"{path} is an ensemble of checkpoints, which predicts and is tested as it is; give one of the checkpoints "
            "that it was made of (checkpoints/best.ckpt of a run)"
        )
    return check_checkpoint(contents, where=str(path))


def read_contents(path: Path) -> Any:
    """What a file holds that :func:`write_checkpoint` wrote: a checkpoint, or an ensemble of them.

    Raises:
        DamagedCheckpointError: the file is missing, or its checksum is another.
        CheckpointError: it cannot be read, holds more than tensors and plain containers, or would take more memory than
            the file has bytes.
    """
    try:
        # A pipe would wait for somebody to write, and some devices never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path}: not a file but a folder, a pipe or a device; expected a checkpoint")
        with path.open("rb") as file:
            check_seal(file)
            check_contents(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DamagedCheckpointError(f"{path}: there is no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except DamagedArchive as error:
        raise DamagedCheckpointError(f"{path} is not a checkpoint, or is damaged ({error})") from error
    except RefusedArchive as error:
        raise CheckpointError(f"{path}: refused: {error}") from error
    except CheckpointError:
        raise
    except Exception as error:  # what torch itself finds wrong with it
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged ({type(error).__name__})") from error


def is_ensemble(contents: Any) -> bool:
    """Whether a file holds an ensemble of checkpoints (:mod:`audio_lightning.classifier.ensemble_file`)."""
    written = contents.get("audio_lightning") if isinstance(contents, dict) else None
    return isinstance(written, dict) and "ensemble_format" in written


def check_checkpoint(checkpoint: Any, *, where: str) -> dict[str, Any]:
    """Refuse what is no checkpoint, and give its configuration the names of this version.

    Args:
        checkpoint: what a file holds, or one member of an ensemble.
        where: the file, for messages.

    Raises:
        CheckpointError: no checkpoint of this program, one of a later version, or one with interpolations in its
            configuration.
    """
    written = checkpoint.get("audio_lightning") if isinstance(checkpoint, dict) else None
    if not isinstance(written, dict) or not {"hyper_parameters", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{where} was not written by this program: expected checkpoints/best.ckpt of a run")
    if written.get("format") != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{where} has format {written.get('format')} (written by version {written.get('version')}); "
            f"version {__version__} reads format {CHECKPOINT_VERSION}"
        )
    parameters = checkpoint["hyper_parameters"]
    if not isinstance(parameters, dict):
        found = type(parameters).__name__
        raise CheckpointError(f"{where} does not fit the classifier it describes: hyper_parameters is a {found}")
    try:
        check_resolved(parameters, where=where)
    except FileError as error:
        raise CheckpointError(str(error)) from error
    if isinstance(config := parameters.get("config"), dict):
        upgrade(config)
    return dict(checkpoint)


def write_checkpoint(path: Path, checkpoint: dict[str, Any], *, previous: Path | None = None) -> None:
    """Write a whole checkpoint and read it back, or leave the old one as it was.

    Args:
        path: the file.
        checkpoint: its contents.
        previous: what the old one is called from then on; None to replace it.

    Raises:
        OSError: it cannot be written, or what is read back differs.
        CheckpointError: it holds what :func:`read_contents` would refuse.
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
        os.chmod(partial, 0o644)  # mkstemp makes files that only their owner can read
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(partial, path)
    except BaseException as error:
        os.unlink(partial)
        if isinstance(error, DamagedArchive):
            text = f"what was written was read back otherwise ({error}); see to the disk"
            raise OSError(errno.EIO, text, str(path)) from error
        if isinstance(error, RefusedArchive):
            text = f"{path} is not written, since it could not be read: {error}; see what networks and callbacks keep"
            raise CheckpointError(text) from error
        # Where the disk is full, torch fails once more when it closes the archive.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise
