"""Arguments and files that several commands have in common."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Annotated

import typer

from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.files import nearest_path

Checkpoint = Annotated[Path, typer.Argument(metavar="RUN_DIR_or_CKPT", help="A run folder, or a checkpoint file.")]
Recordings = Annotated[list[Path], typer.Argument(help="Files, and folders to look through.")]
Window = Annotated[float | None, typer.Option(help="Seconds a window; default: a clip of the training.")]
Hop = Annotated[float | None, typer.Option(help="Seconds from window to window; default: as trained, or a window.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows at once.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Trust = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="A module of your own whose classes may be named; may be repeated."),
]


def find_existing(checkpoint: Path) -> Path:
    """The checkpoint, found before torch is imported, which takes seconds, and missed before Hydra is."""
    path = checkpoint.expanduser()
    if not os.path.lexists(path):
        raise CheckpointError(f"{path}: there is no such checkpoint or run folder{nearest_path(path)}")
    from audio_lightning.run_folder import find_checkpoint

    return find_checkpoint(path)


def few(recordings: list[Path]) -> list[Path]:
    """Recordings for a command that is shown: those of a shell's pattern are named by their folder."""
    return recordings if len(recordings) <= 3 else [recordings[0].parent]


@contextmanager
def output_file(path: Path | None) -> Iterator[IO[str]]:
    """The file to write to; None for the standard output."""
    with writable(path):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") if path else nullcontext(sys.stdout) as file:
            yield file


@contextmanager
def writable(path: Path | None) -> Iterator[None]:
    """Say in a line that nothing can be written where the user wants it; a full disk is said by all commands alike."""
    try:
        yield
    except OSError as error:
        if path is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror or error})") from error
