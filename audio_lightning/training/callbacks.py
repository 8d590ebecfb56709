"""What happens at the end of an epoch: checkpoints, stopping early, the history, a line on the screen."""

import csv
import os
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping

from audio_lightning.classifier import AudioClassifier
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import VALIDATION
from audio_lightning.files import write_csv
from audio_lightning.task import lower_is_better


class _RunCheckpoint(ModelCheckpoint):
    """A checkpoint under a fixed name in the run folder, which may have been moved before it is resumed."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Put checkpoints beside the other files of the run."""
        self.dirpath = os.path.join(trainer.default_root_dir, "checkpoints")
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore, with paths in the folder as it is called now: Lightning drops scores when it was renamed."""

        def moved(path: str) -> str:
            return os.path.join(str(self.dirpath), os.path.basename(path)) if path else path

        state = {**state_dict, "dirpath": self.dirpath}
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = moved(state[key])
        state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
        super().load_state_dict(state)


class BestCheckpoint(_RunCheckpoint):
    """``checkpoints/best.ckpt``: the weights of the epoch with the best value of a metric.

    They are those of the last epoch where there are no validation clips: training metrics do not say which is best.

    Args:
        monitor: name of the metric; whether more or less of it is better follows from the name.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode="min" if lower_is_better(monitor) else "max",
            save_top_k=1,
            save_weights_only=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find out whether there is anything to choose by."""
        data: Any = getattr(trainer, "datamodule", None)
        if isinstance(data, AudioDataModule) and not len(data.numbers(VALIDATION)):
            self.monitor = None
        super().setup(trainer, pl_module, stage)


class LastCheckpoint(_RunCheckpoint):
    """``checkpoints/last.ckpt``: everything a training needs to go on, after every epoch.

    ``ModelCheckpoint(save_last=True)`` writes it only when there is a new best one. It must be the last of all
    checkpoints in an epoch, because it holds the state of the others.
    """

    def __init__(self) -> None:
        super().__init__(
            filename="last",
            save_top_k=1,
            every_n_epochs=1,
            save_weights_only=False,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )


class EarlyStopping(LightningEarlyStopping):
    """Stop when a metric has not improved for some epochs.

    Args:
        monitor: name of the metric; whether more or less of it is better follows from the name.
        patience: epochs without improvement that are waited for.
        min_delta: change that counts as improvement.
    """

    def __init__(self, monitor: str, patience: int, min_delta: float) -> None:
        mode = "min" if lower_is_better(monitor) else "max"
        super().__init__(monitor=monitor, patience=patience, min_delta=min_delta, mode=mode)


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
        """Keep the rows of the epochs that the checkpoint has behind it."""
        if trainer.current_epoch and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self.rows = [row for row in rows if int(row["epoch"]) <= trainer.current_epoch]

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
            name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("validation/")
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
        epochs = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        shown = [
            f"{part}/{name}"
            for part in ("train", "validation")
            for name in ("loss", "accuracy", "mean_average_precision")
        ]
        values = "  ".join(f"{name} {float(row[name]):.3f}" for name in shown if row.get(name))
        print(f"epoch {row['epoch']}{epochs}  {values}  {float(row['seconds']):.1f} s", flush=True)
