"""Weight averaging (EMA and SWA): averages of the weights often classify better than the last weights.

The callbacks extend Lightning's :class:`WeightAveraging`, which swaps the average in for validation and full
checkpoints, in three points. Only trained modules are averaged, because Lightning would keep a second copy of noise
recordings and of tables of the front end. Nothing is swapped before an average exists. ``best.ckpt`` holds the average
that was validated, where Lightning would save the current weights.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.trainer_state import callbacks_of
from audio_lightning.core.errors import ConfigError
from audio_lightning.data.datamodule import AudioDataModule

BATCH_NORM_CLIPS = 1024
"""Maximum number of training clips, sampled with the seed, to estimate batch normalization of averaged weights."""


class Averaging(WeightAveraging):
    """Base class of weight averages; subclasses define the share of the newest weights."""

    def __init__(self) -> None:
        super().__init__(multi_avg_fn=self._mix)
        self._trained: nn.Module = nn.Module()

    @abstractmethod
    def share(self, averaged: int) -> float:
        """Return the share of the newest weights in the average.

        Args:
            averaged: number of updates of the average so far.
        """

    @contextmanager
    def applied(self, pl_module: pl.LightningModule) -> Iterator[None]:
        """Replace the weights by their average while the context lasts."""
        self._swap_models(pl_module)
        yield
        self._swap_models(pl_module)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Create the average model of a training."""
        assert isinstance(pl_module, AudioClassifier)
        self._average_model = None  # otherwise that of a resumed, finished training would be evaluated
        if stage == "fit":
            parts: dict[str, nn.Module] = {"network": pl_module.network}
            if pl_module.front_end.learnable:
                parts["front_end"] = pl_module.front_end
            self._trained = nn.ModuleDict(parts)
            device = trainer.strategy.root_device
            self._average_model = AveragedModel(self._trained, device, multi_avg_fn=self._mix, use_buffers=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the average into the module, and drop it, so that later evaluations do not swap."""
        if self._begun:
            super().on_train_end(trainer, pl_module)
        self._average_model = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the average as the weights, and the current weights separately, to resume from."""
        if self._begun:
            whole = checkpoint["state_dict"]
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
            checkpoint["state_dict"] = {**whole, **checkpoint["state_dict"]}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average and the current weights."""
        if self._average_model is not None and "averaging_state" in checkpoint:
            averaged = {name.removeprefix("module.") for name in self._average_model.state_dict()}
            weights = {name: value for name, value in checkpoint["state_dict"].items() if name in averaged}
            super().on_load_checkpoint(trainer, pl_module, {**checkpoint, "state_dict": weights})

    @property
    def _begun(self) -> bool:
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        if self._begun:
            super()._swap_models(self._trained)  # type: ignore[arg-type]

    def _copy_average_to_current(self, pl_module: pl.LightningModule) -> None:
        super()._copy_average_to_current(self._trained)  # type: ignore[arg-type]

    def _mix(self, average: Any, newest: Any, averaged: Tensor | int) -> None:
        """Interpolate floating-point values, which keeps constant values exact; copy integer counters."""
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, newest, self.share(int(averaged)))
        else:
            torch._foreach_copy_(average, newest)


class EMA(Averaging):
    """Exponential moving average (EMA) of the weights and of the batch normalization statistics, over the steps.

    Validation uses the average, and ``best.ckpt`` holds it. The first update copies the weights. Then the decay grows
    from 2/11 to ``decay``: it is (1 + n) / (10 + n) after n updates, as in TensorFlow's ``ExponentialMovingAverage``.
    The average of a short training would otherwise keep much of the initial weights.

    Args:
        decay: share of the average that is kept at each update.
        every_n_steps: number of optimizer steps between updates of the average.

    Raises:
        ConfigError: an option is out of range.

    Example:
        >>> ema = EMA(decay=0.99)
        >>> round(ema.share(0), 3), round(ema.share(100_000), 3)  # share of the newest weights: early, late
        (0.9, 0.01)
    """

    def __init__(self, decay: float = 0.999, every_n_steps: int = 1) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ConfigError(f"callbacks.ema.decay={decay}: expected at least 0 and less than 1")
        if every_n_steps < 1:
            raise ConfigError(f"callbacks.ema.every_n_steps={every_n_steps}: expected 1 or more")
        self.decay = decay
        self.every_n_steps = every_n_steps

    def share(self, averaged: int) -> float:
        """Return one minus the decay, which grows with the number of updates."""
        return 1 - min(self.decay, (1 + averaged) / (10 + averaged))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return True at every ``every_n_steps``-th optimizer step, beginning with the first."""
        return step_idx is not None and step_idx % self.every_n_steps == 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average."""
        super().on_train_batch_end(trainer, self._trained, outputs, batch, batch_idx)  # type: ignore[arg-type]


class SWA(Averaging):
    """Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407): mean of the weights of the last epochs.

    From ``start`` on, the average is updated at the end of every epoch, before validation; the batch normalization
    statistics are then estimated again on up to 1,024 training clips. Validation uses the average, and ``best.ckpt``
    holds it. The learning rate schedule is unchanged.

    Args:
        start: share of ``trainer.max_epochs`` after which averaging begins.

    Raises:
        ConfigError: ``start`` is out of range.

    Example:
        >>> swa = SWA(start=0.5)
        >>> swa.share(0), swa.share(3)  # all epochs have the same weight
        (1.0, 0.25)
    """

    def __init__(self, start: float = 0.75) -> None:
        super().__init__()
        if not 0 <= start < 1:
            raise ConfigError(f"callbacks.swa.start={start}: expected at least 0 and less than 1")
        self.start = start

    def share(self, averaged: int) -> float:
        """Return equal shares for all weights."""
        return 1 / (averaged + 1)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that the number of epochs is known.

        Raises:
            ConfigError: ``trainer.max_epochs`` is not set.
        """
        if trainer.max_epochs is None or trainer.max_epochs < 1:
            raise ConfigError("callbacks=swa: begins after a share of the epochs; set trainer.max_epochs")
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average at the end of an epoch, before validation; Lightning would do so only after it."""
        due = self._begun or trainer.current_epoch >= int(self.start * (trainer.max_epochs or 1))
        if not trainer.is_last_batch or not due:
            return
        data: Any = getattr(trainer, "datamodule", None)
        assert self._average_model is not None
        assert isinstance(pl_module, AudioClassifier)
        assert isinstance(data, AudioDataModule)
        self._average_model.update_parameters(self._trained)
        with self.applied(pl_module), trainer.precision_plugin.forward_context():
            _estimate_batch_norm(pl_module, data.sample_waveforms(BATCH_NORM_CLIPS, seed=data.seed))


@torch.no_grad()
def _estimate_batch_norm(classifier: AudioClassifier, batches: Iterable[Tensor]) -> None:
    """Estimate the batch normalization statistics of averaged weights.

    All other modules are in evaluation mode; :func:`torch.optim.swa_utils.update_bn` would leave dropout on.
    Frozen modules, which are not in training mode, keep their statistics.

    Args:
        classifier: classifier with the averaged weights.
        batches: waveforms, ``[batch, samples]``.
    """
    network = classifier.network
    training = [module for module in network.modules() if module.training]
    norms = [module for module in training if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    for waveform in batches:
        if len(waveform) > 1:
            features = classifier.arranged(classifier.front_end(waveform.to(classifier.device)))
            network.forward(features)  # not the compiled network, for so few batches
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module in training:
        module.training = True


@contextmanager
def averaged(trainer: pl.Trainer) -> Iterator[None]:
    """Replace the weights by their average while the context lasts, if the trainer has an averaging callback."""
    found = next(iter(callbacks_of(trainer, Averaging)), None)
    if found is None:
        yield
    else:
        with found.applied(trainer.lightning_module):
            yield
