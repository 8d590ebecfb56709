"""Checkpoint files of a training: written with a checksum, and the last one with the one before to fall back to."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from audio_lightning.classifier.checkpoint import DamagedCheckpointError, read_checkpoint, write_checkpoint
from audio_lightning.core.errors import CheckpointError
from audio_lightning.core.messages import print_and_log
from audio_lightning.run_folder import RunFolder


class CheckpointFiles(TorchCheckpointIO):
    """How a Trainer writes and reads the checkpoints of a run: sealed, read back, and checked when they are read.

    Args:
        folder: of the run, whose ``last`` becomes ``previous`` when a new one has been written.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self._folder = folder
        self._last_is_sound = False  # a damaged one must not take the place of the one before it

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: see :func:`write_checkpoint`.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_last = path.name == self._folder.last.name
        write_checkpoint(path, checkpoint, previous=self._folder.previous if is_last and self._last_is_sound else None)
        self._last_is_sound |= is_last

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """The contents of a checkpoint.

        Raises:
            CheckpointError: see :func:`read_checkpoint`.
        """
        self._last_is_sound |= Path(path).name == self._folder.last.name
        return read_checkpoint(Path(path))


def find_resumable(folder: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint that a training is resumed from, and its contents; None where it begins.

    That is the last one. Where it is damaged it is the one before, which is said.

    Raises:
        CheckpointError: neither can be used.
    """
    try:
        return folder.last, read_checkpoint(folder.last)
    except DamagedCheckpointError as error:
        if not folder.previous.exists():
            if not folder.last.exists():
                return None
            raise CheckpointError(f"{error}; remove it, and the training begins again") from error
        try:
            found = read_checkpoint(folder.previous)
        except CheckpointError as other:
            raise CheckpointError(f"{error}, and so is the one before: {other}") from other
        print_and_log(f"{error}; the training is resumed from {folder.previous}, after epoch {found['epoch'] + 1}")
        return folder.previous, found
