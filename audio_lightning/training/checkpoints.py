"""Checkpoint files with checksums; the previous ``last.ckpt`` is kept as a fallback."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from audio_lightning.classifier.checkpoint import DamagedCheckpointError, read_checkpoint, write_checkpoint
from audio_lightning.core.errors import CheckpointError
from audio_lightning.core.messages import print_and_log
from audio_lightning.run_folder import RunFolder


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoint plugin of the Trainer: writes a checksum, verifies the written file, and checks files when reading.

    Args:
        folder: run folder; its ``last`` checkpoint becomes ``previous`` when a new one has been written.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self._folder = folder
        self._last_is_sound = False  # a damaged last.ckpt must not replace the previous one

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
        """Read and check a checkpoint.

        Raises:
            CheckpointError: see :func:`read_checkpoint`.
        """
        self._last_is_sound |= Path(path).name == self._folder.last.name
        return read_checkpoint(Path(path))


def find_resumable(folder: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """Find the checkpoint to resume from, and read it.

    This is the last checkpoint; if it is damaged, a message names the previous one, which is used instead.

    Returns:
        The path and the contents of the checkpoint; None if there is none yet.

    Raises:
        CheckpointError: neither checkpoint can be used.
    """
    try:
        return folder.last, read_checkpoint(folder.last)
    except DamagedCheckpointError as error:
        if not folder.previous.exists():
            if not folder.last.exists():
                return None
            raise CheckpointError(f"{error}; remove it to begin the training again") from error
        try:
            found = read_checkpoint(folder.previous)
        except CheckpointError as other:
            raise CheckpointError(f"{error}, and the previous one cannot be used either: {other}") from other
        print_and_log(f"{error}; the training is resumed from {folder.previous}, after epoch {found['epoch'] + 1}")
        return folder.previous, found
