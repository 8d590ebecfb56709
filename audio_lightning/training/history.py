"""Training history: ``history.csv`` and one terminal line per epoch."""

import csv
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core import clock
from audio_lightning.core.errors import FileError
from audio_lightning.core.files import write_csv
from audio_lightning.core.messages import fitting, print_and_log, terminal_width
from audio_lightning.run_folder import TIMED, RunFolder


class History(Callback):
    """Callback that writes ``history.csv``, one row per epoch; a resumed run continues the same file.

    Args:
        path: path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        self._epoch_start = self._training_end = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the rows of the epochs before the checkpoint.

        Raises:
            FileError: rows are missing; checked before the training because ``metrics.json`` is made from these rows.
        """
        if trainer.current_epoch:
            self.rows = self._read(trainer.current_epoch)[: trainer.current_epoch]

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read all rows if no epoch was left to train, in which case Lightning calls no ``on_train_start``."""
        if not self.rows and self.path.exists():  # the file is missing if no epoch ended
            self.rows = self._read(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._epoch_start, self._training_end = clock.perf_counter(), 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note when training ended and validation began."""
        self._training_end = clock.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row before the checkpoint: a surplus row is dropped on resume, a missing one would be lost."""
        assert isinstance(pl_module, AudioClassifier)
        now = clock.perf_counter()
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("validation/") and self._training_end  # otherwise the value is from an earlier epoch
        }
        metrics |= {name: float(value) for name, value in pl_module.train_epoch_metrics().items()}
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": round(now - self._epoch_start, 4),
            "training_seconds": round((self._training_end or now) - self._epoch_start, 4),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            **dict(sorted(metrics.items())),
        }
        self.rows.append({name: str(value) for name, value in row.items()})
        if trainer.is_global_zero:
            header = list(dict.fromkeys(name for kept in self.rows for name in kept))
            write_csv(self.path, header, [[kept.get(name, "") for name in header] for kept in self.rows])

    def _read(self, epochs: int) -> list[dict[str, str]]:
        """Read the rows of at least ``epochs`` epochs."""
        RunFolder(self.path.parent).read_history(TIMED)  # checks that the file is complete
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if len(rows) < epochs:
            raise FileError(
                f"{self.path} has {len(rows)} epochs, but checkpoints/last.ckpt has {epochs}; restore a copy"
            )
        return rows


class EpochBar(RichProgressBar):
    """Progress bar of an epoch that counts epochs from 1, as the epoch lines do."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}"


class EpochLines(Callback):
    """Callback that prints one line per epoch, which remains after the progress bar has disappeared.

    Args:
        history: history whose last row is printed.
    """

    def __init__(self, history: History) -> None:
        self.history = history

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the newest row of the history."""
        if not trainer.is_global_zero:
            return
        row = self.history.rows[-1]
        most = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        lines = epoch_lines(row, f"{row['epoch']}{most}")
        width = terminal_width() if sys.stdout.isatty() else None
        print_and_log(lines[0], shown=fitting(lines, width) or lines[-1])


def epoch_lines(row: Mapping[str, str], epoch: str) -> list[str]:
    """Format an epoch as one line, in three lengths for terminals of different widths, the longest first.

    Args:
        row: row of the history.
        epoch: number of the epoch as text, such as ``3/20``.
    """
    short = {"loss": "loss", "accuracy": "acc", "mean_average_precision": "mAP"}
    seconds = f"{float(row['seconds']):.1f} s"
    whole, brief = list[str](), list[str]()
    for part, prefix in (("train", "train"), ("validation", "val")):
        values = {name: float(row.get(f"{part}/{name}") or math.nan) for name in short}
        found = {name: f"{value:.3f}" for name, value in values.items() if math.isfinite(value)}
        whole += [f"{part}/{name} {value}" for name, value in found.items()]
        if found:
            brief.append(" ".join([prefix, *(f"{short[name]} {value}" for name, value in found.items())]))
    return [
        "  ".join([f"epoch {epoch}", *whole, seconds]),
        "  ".join([f"epoch {epoch}", *brief, seconds]),
        "  ".join([epoch, *(brief[1:] or brief)]),
    ]
