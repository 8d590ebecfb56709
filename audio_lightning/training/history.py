"""``history.csv``, and the line on the screen, of every epoch."""

import csv
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import FileError
from audio_lightning.core.files import write_csv
from audio_lightning.core.messages import fitting, print_and_log, terminal_width
from audio_lightning.run_folder import TIMED, RunFolder


class History(Callback):
    """``history.csv``: one row an epoch; a resumed run goes on in the same file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        self._epoch_start = self._training_end = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the rows of the epochs that the checkpoint has behind it.

        Raises:
            FileError: there are fewer of them: said now, for the metrics of the run are taken from these rows.
        """
        if trainer.current_epoch:
            self.rows = self._read(trainer.current_epoch)[: trainer.current_epoch]

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep all of them where there was nothing left to train, and so no start."""
        if not self.rows and self.path.exists():  # where no epoch ended, there is none
            self.rows = self._read(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._epoch_start, self._training_end = time.perf_counter(), 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note when training ended and validation began."""
        self._training_end = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch's row, before its checkpoint: a row too many is dropped, one too few would be lost."""
        assert isinstance(pl_module, AudioClassifier)
        now = time.perf_counter()
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("validation/") and self._training_end  # else it is of an earlier epoch
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
        RunFolder(self.path.parent).read_history(TIMED)  # whether it is whole
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if len(rows) < epochs:
            raise FileError(f"{self.path} has {len(rows)} epochs, and checkpoints/last.ckpt is from after {epochs}")
        return rows


class EpochBar(RichProgressBar):
    """A progress bar within the epoch, which counts epochs from 1 as the lines above it do."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}"


class EpochLines(Callback):
    """A line an epoch, which stays when the progress bar of a terminal has gone.

    Args:
        history: whose last row is printed.
    """

    def __init__(self, history: History) -> None:
        self.history = history

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the row that the history has just got."""
        if not trainer.is_global_zero:
            return
        row = self.history.rows[-1]
        most = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        lines = epoch_lines(row, f"{row['epoch']}{most}")
        width = terminal_width() if sys.stdout.isatty() else None
        print_and_log(lines[0], shown=fitting(lines, width) or lines[-1])


def epoch_lines(row: Mapping[str, str], epoch: str) -> list[str]:
    """An epoch in a line, and shorter ones for narrow terminals.

    Args:
        row: of the history.
        epoch: its number.
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
