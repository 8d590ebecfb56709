"""Callbacks of a training: checkpoints, early stopping, checks of the loss, the load of the device."""

import os
import time
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.trainer_state import logs_at
from audio_lightning.core.errors import ConfigError, UserError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import VALIDATION
from audio_lightning.metrics.configured import mode_of
from audio_lightning.training.averaging import averaged


def measurable(monitor: str, datamodule: AudioDataModule) -> str:
    """The metric to choose by: ``monitor``, or the loss where the clips of its part do not define it.

    Where clips may have several labels and none of a part has any, average precision and F1 are means over no class.
    """
    part, _, name = monitor.partition("/")
    if name in ("loss", "accuracy") or not datamodule.task.multilabel or any(datamodule.class_counts(part)):
        return monitor
    return f"{part}/loss"


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

    They are those of the last epoch where there are no validation clips: training metrics do not say which is best. An
    epoch in which the metric is NaN is never the best; where it is so in all of them, the last one is taken, too.

    Args:
        monitor: name of the metric. Where the clips do not define it, the loss takes its place (:func:`measurable`).
        mode: ``min`` where less of it is better, ``max`` where more is; by default, as its name says.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"] | None = None) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode or mode_of(monitor),
            save_top_k=1,
            save_weights_only=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find out whether there is anything to choose by.

        Raises:
            ConfigError: there never will be.
        """
        data: Any = getattr(trainer, "datamodule", None)
        epochs, every = trainer.max_epochs or -1, trainer.check_val_every_n_epoch or 1
        if isinstance(data, AudioDataModule) and not len(data.numbers(VALIDATION)):
            self.monitor = None
        elif isinstance(data, AudioDataModule) and (chosen := measurable(str(self.monitor), data)) != self.monitor:
            self.monitor, self.mode = chosen, mode_of(chosen)
        if stage == "fit" and self.monitor and 0 < epochs < every and str(self.monitor).startswith("validation/"):
            raise ConfigError(
                f"trainer.check_val_every_n_epoch={every} of trainer.max_epochs={epochs} validates no epoch, so there "
                "is nothing to choose by"
            )
        super().setup(trainer, pl_module, stage)

    @property
    def chosen_by(self) -> str:
        """What chose the epoch: the name of a metric, or ``last epoch``."""
        score = self.best_model_score
        return self.monitor if self.monitor and score is not None and torch.isfinite(score) else "last epoch"

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Whether this epoch is to be kept: of those without a finite metric the last one, until there is another."""
        if current is not None and not torch.isfinite(current) and self.best_model_score is not None:
            return not torch.isfinite(self.best_model_score)
        return super().check_monitor_top_k(trainer, current)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        """Save the weights that were validated: Lightning leaves averages out where only weights are saved."""
        with averaged(trainer):
            super()._save_checkpoint(trainer, filepath)


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
    """Stop when a metric has not improved for some epochs; those in which it is NaN do not count.

    Args:
        monitor: name of the metric. Where the clips do not define it, the loss takes its place (:func:`measurable`).
        patience: epochs without improvement that are waited for.
        min_delta: change that counts as improvement.
        mode: ``min`` where less of it is better, ``max`` where more is; by default, as its name says.

    Raises:
        ConfigError: less than no patience.
    """

    def __init__(
        self, monitor: str, patience: int, min_delta: float, mode: Literal["min", "max"] | None = None
    ) -> None:
        if patience < 0:
            raise ConfigError(f"callbacks.early_stopping.patience={patience}: expected 0 or more")
        super().__init__(monitor=monitor, patience=patience, min_delta=min_delta, mode=mode or mode_of(monitor))
        self._min_delta = min_delta

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Choose by what the clips define."""
        data: Any = getattr(trainer, "datamodule", None)
        if isinstance(data, AudioDataModule) and (chosen := measurable(self.monitor, data)) != self.monitor:
            super().__init__(monitor=chosen, patience=self.patience, min_delta=self._min_delta, mode=mode_of(chosen))
        super().setup(trainer, pl_module, stage)

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        """Pass over an epoch without a finite metric, in which the network may still be at its beginning."""
        return super()._evaluate_stopping_criteria(current) if torch.isfinite(current) else (False, None)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop again where a training is resumed that had been stopped."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= max(1, self.patience)


class FiniteLoss(Callback):
    """End a training whose loss is not a number: it would go on and look finished.

    The training loss is looked at as often as losses are logged, and over every epoch; that of the validation, too.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss of this batch, now and then: each look waits for the device."""
        if outputs and logs_at(trainer, batch_idx + 1):
            self._check("training", outputs["loss"], trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the loss over the validation clips."""
        if trainer.state.fn == TrainerFn.FITTING and "validation/loss" in trainer.callback_metrics:
            self._check("validation", trainer.callback_metrics["validation/loss"], trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the loss over the epoch first: it says what is wrong with the other one."""
        if trainer.state.fn == TrainerFn.FITTING:
            self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the loss over the epoch, before anything is written about it."""
        assert isinstance(pl_module, AudioClassifier)
        self._check("training", pl_module.train_epoch_metrics()["train/loss"], trainer)

    def _check(self, part: str, loss: Tensor, trainer: pl.Trainer) -> None:
        if not torch.isfinite(loss):
            wider = ", or trainer.precision=bf16-mixed" if trainer.precision == "16-mixed" else ""
            raise UserError(
                f"the {part} loss became {loss.item()} in epoch {trainer.current_epoch + 1} "
                f"(step {trainer.global_step}): try a smaller optimizer.lr, or trainer.gradient_clip_val=1{wider}"
            )


class LastStep(Callback):
    """Validate where ``trainer.max_steps`` ends a training within an epoch: Lightning would leave that out."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask to stop, which is preceded by a validation."""
        trainer.should_stop = trainer.should_stop or trainer.global_step == trainer.max_steps


class DeviceStats(Callback):
    """Log how busy the device is: clips a second in training, and what Lightning's accelerator says about its load.

    On a CPU these are shares of the cores and of the memory in use, on a GPU gigabytes that are held, and the most so
    far. They are logged as ``device/...``, as often as losses are.
    """

    BYTES = {
        "allocated_bytes.all.current": "device/allocated_gb",
        "allocated_bytes.all.peak": "device/allocated_gb_peak",
        "reserved_bytes.all.current": "device/reserved_gb",
    }

    def __init__(self) -> None:
        self._since, self._clips, self._logged = 0.0, 0, 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """See that there is somewhere to write.

        Raises:
            ConfigError: there is not.
        """
        if not trainer.loggers:
            raise ConfigError("callbacks=device_stats logs, and logger=none leaves nothing to log to: try logger=csv")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the validation out."""
        self._since, self._clips = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the clips, and log where losses are logged."""
        self._clips += len(batch["clip"]) * trainer.world_size
        step = trainer.global_step  # that of several batches, where they are accumulated
        if step == self._logged or not logs_at(trainer, step):
            return
        self._logged = step
        stats = trainer.accelerator.get_device_stats(trainer.strategy.root_device)
        if any(name in stats for name in self.BYTES):
            stats = {shown: stats.get(name, 0) / 1e9 for name, shown in self.BYTES.items()}
        else:
            stats = {f"device/{name}": value for name, value in stats.items()}
        now = time.perf_counter()
        stats["device/clips_per_second"] = self._clips / (now - self._since)
        self._since, self._clips = now, 0
        for logger in trainer.loggers:
            logger.log_metrics({**stats, "epoch": trainer.current_epoch}, step=step - 1)
