"""Callbacks: checkpoints, early stopping, finite-loss check, device load."""

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
    """Return ``monitor``, or the loss of the same split if its clips do not define that metric.

    In a multi-label split without any label, average precision and F1 are means over zero classes.
    """
    part, _, name = monitor.partition("/")
    if name in ("loss", "accuracy") or not datamodule.task.multilabel or any(datamodule.class_counts(part)):
        return monitor
    return f"{part}/loss"


class _RunCheckpoint(ModelCheckpoint):
    """Checkpoint with a fixed name in the run folder, which may be moved before the run is resumed."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Set the checkpoint folder to ``checkpoints`` in the run folder."""
        self.dirpath = os.path.join(trainer.default_root_dir, "checkpoints")
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state with paths in the current run folder: Lightning drops scores if the folder was renamed."""

        def moved(path: str) -> str:
            return os.path.join(str(self.dirpath), os.path.basename(path)) if path else path

        state = {**state_dict, "dirpath": self.dirpath}
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = moved(state[key])
        state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
        super().load_state_dict(state)


class BestCheckpoint(_RunCheckpoint):
    """Checkpoint of the best epoch, ``checkpoints/best.ckpt``: the weights with the best value of a metric.

    Without validation clips these are the weights of the last epoch, because training metrics do not show which epoch
    is best. An epoch whose metric is NaN is never the best; if the metric is NaN in all epochs, the last one is kept.

    With few validation clips, the best of many epochs is best by chance, and while the learning rate is high, such an
    epoch can be far worse on other clips than the last one. ``from_share`` therefore leaves out the first epochs.

    Args:
        monitor: name of the metric. If the clips do not define it, the loss takes its place (:func:`measurable`).
        mode: ``min`` if lower is better, ``max`` if higher is better; None: derived from the name.
        from_share: share of ``trainer.max_epochs`` after which an epoch may be the best. A training that ends before,
            such as by ``trainer.max_time``, keeps its last validated epoch. No effect with early stopping.

    Raises:
        ConfigError: ``from_share`` is not at least 0 and less than 1.

    Example:
        >>> best = BestCheckpoint("validation/loss")
        >>> best.monitor, best.mode
        ('validation/loss', 'min')
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"] | None = None, *, from_share: float = 0.0) -> None:
        if isinstance(from_share, bool) or not isinstance(from_share, (int, float)) or not 0 <= from_share < 1:
            raise ConfigError(f"callbacks.best.from_share={from_share}: expected at least 0.0 and less than 1.0")
        self.from_share = from_share
        self._keeps_early_epoch = False
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
        """Replace a metric that the clips do not define.

        Raises:
            ConfigError: no epoch would be validated.
        """
        data: Any = getattr(trainer, "datamodule", None)
        epochs, every = trainer.max_epochs or -1, trainer.check_val_every_n_epoch or 1
        if isinstance(data, AudioDataModule) and not len(data.numbers(VALIDATION)):
            self.monitor = None
        elif isinstance(data, AudioDataModule) and (chosen := measurable(str(self.monitor), data)) != self.monitor:
            self.monitor, self.mode = chosen, mode_of(chosen)
        if stage == "fit" and self.monitor and 0 < epochs < every and str(self.monitor).startswith("validation/"):
            raise ConfigError(
                f"trainer.check_val_every_n_epoch={every}: no epoch of trainer.max_epochs={epochs} is validated; "
                f"set it to {epochs} or less"
            )
        if any(isinstance(callback, LightningEarlyStopping) for callback in getattr(trainer, "callbacks", [])):
            self.from_share = 0.0  # it may end the training at any epoch
        super().setup(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, with whether the kept epoch is before ``from_share``."""
        return {**super().state_dict(), "keeps_early_epoch": self._keeps_early_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; checkpoints of earlier versions keep no early epoch."""
        self._keeps_early_epoch = bool(state_dict.get("keeps_early_epoch", False))
        super().load_state_dict(state_dict)

    @property
    def chosen_by(self) -> str:
        """Name of the metric that chose the epoch, or ``last epoch``."""
        score = self.best_model_score
        return self.monitor if self.monitor and score is not None and torch.isfinite(score) else "last epoch"

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Return whether to keep this epoch; epochs with a NaN metric replace each other until one is finite."""
        if current is not None and not torch.isfinite(current) and self.best_model_score is not None:
            return not torch.isfinite(self.best_model_score)
        early = trainer.current_epoch + 1 <= self.from_share * (trainer.max_epochs or -1)
        replaced, self._keeps_early_epoch = self._keeps_early_epoch, early
        return early or replaced or super().check_monitor_top_k(trainer, current)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        """Save the validated weights: Lightning omits the average if only weights are saved."""
        with averaged(trainer):
            super()._save_checkpoint(trainer, filepath)


class LastCheckpoint(_RunCheckpoint):
    """Checkpoint to resume from, ``checkpoints/last.ckpt``: the full training state after every epoch.

    ``ModelCheckpoint(save_last=True)`` writes it only after a new best epoch. This callback must be the last checkpoint
    callback of an epoch, because its file holds the state of the others.

    Example:
        >>> last = LastCheckpoint()
        >>> last.filename, last.save_weights_only
        ('last', False)
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
    """Early stopping: end the training when a metric has not improved for some epochs; epochs with NaN do not count.

    Args:
        monitor: name of the metric. If the clips do not define it, the loss takes its place (:func:`measurable`).
        patience: number of epochs without improvement after which the training stops.
        min_delta: smallest change that counts as an improvement.
        mode: ``min`` if lower is better, ``max`` if higher is better; None: derived from the name.

    Raises:
        ConfigError: ``patience`` is negative.

    Example:
        >>> stopping = EarlyStopping("validation/accuracy", patience=3, min_delta=0.0)
        >>> stopping.mode, stopping.patience
        ('max', 3)
    """

    def __init__(
        self, monitor: str, patience: int, min_delta: float, mode: Literal["min", "max"] | None = None
    ) -> None:
        if patience < 0:
            raise ConfigError(f"callbacks.early_stopping.patience={patience}: expected 0 or more")
        super().__init__(monitor=monitor, patience=patience, min_delta=min_delta, mode=mode or mode_of(monitor))
        self._min_delta = min_delta

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Replace a metric that the clips do not define."""
        data: Any = getattr(trainer, "datamodule", None)
        if isinstance(data, AudioDataModule) and (chosen := measurable(self.monitor, data)) != self.monitor:
            super().__init__(monitor=chosen, patience=self.patience, min_delta=self._min_delta, mode=mode_of(chosen))
        super().setup(trainer, pl_module, stage)

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        """Skip an epoch without a finite metric, as may occur early in training."""
        return super()._evaluate_stopping_criteria(current) if torch.isfinite(current) else (False, None)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once if the resumed training had already been stopped early."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= max(1, self.patience)


class FiniteLoss(Callback):
    """Callback that ends a training whose loss is NaN or infinite; otherwise the run would look finished.

    The training loss is checked at every logged step and over every epoch, the validation loss over every epoch.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss of this batch at logged steps only: each check synchronizes with the device."""
        if outputs and logs_at(trainer, batch_idx + 1):
            self._check("training", outputs["loss"], trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the loss over the validation clips."""
        if trainer.state.fn == TrainerFn.FITTING and "validation/loss" in trainer.callback_metrics:
            self._check("validation", trainer.callback_metrics["validation/loss"], trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the training loss of the epoch first: it explains a validation loss that is not finite."""
        if trainer.state.fn == TrainerFn.FITTING:
            self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the loss over the epoch before anything is written about the epoch."""
        assert isinstance(pl_module, AudioClassifier)
        self._check("training", pl_module.train_epoch_metrics()["train/loss"], trainer)

    def _check(self, part: str, loss: Tensor, trainer: pl.Trainer) -> None:
        if not torch.isfinite(loss):
            wider = ", or trainer.precision=bf16-mixed" if trainer.precision == "16-mixed" else ""
            raise UserError(
                f"the {part} loss became {loss.item()} in epoch {trainer.current_epoch + 1} "
                f"(step {trainer.global_step}); try a smaller optimizer.lr, or trainer.gradient_clip_val=1{wider}"
            )


class LastStep(Callback):
    """Callback that validates when ``trainer.max_steps`` ends a training within an epoch, which Lightning does not."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Request a stop, before which Lightning validates."""
        trainer.should_stop = trainer.should_stop or trainer.global_step == trainer.max_steps


class DeviceStats(Callback):
    """Callback that logs training throughput in clips per second, and the device load reported by Lightning.

    The load of a CPU is the share of cores and memory in use; that of a GPU is the allocated and reserved memory in GB,
    with the peak so far. Values are logged as ``device/...`` at every logged step.

    Example:
        >>> DeviceStats().BYTES["allocated_bytes.all.peak"]  # name of PyTorch -> logged name
        'device/allocated_gb_peak'
    """

    BYTES = {
        "allocated_bytes.all.current": "device/allocated_gb",
        "allocated_bytes.all.peak": "device/allocated_gb_peak",
        "reserved_bytes.all.current": "device/reserved_gb",
    }

    def __init__(self) -> None:
        self._since, self._clips, self._logged = 0.0, 0, 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that the run has a logger.

        Raises:
            ConfigError: the run has no logger.
        """
        if not trainer.loggers:
            raise ConfigError("callbacks=device_stats: needs a logger, and logger=none has none; try logger=csv")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the clock, so that validation time does not count."""
        self._since, self._clips = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the clips, and log at every logged step."""
        self._clips += len(batch["clip"]) * trainer.world_size
        step = trainer.global_step  # several batches per step with gradient accumulation
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
