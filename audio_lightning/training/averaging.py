"""Averages of the weights that a training goes through, which often classify better than the last ones.

Lightning's :class:`WeightAveraging` puts the average in place of the weights for a validation and into a full
checkpoint. What is done otherwise here: only what trains is averaged, not recordings of noise and tables of the front
end, of which it would keep a second copy; nothing is put in place before there is an average; and ``best.ckpt``, which
Lightning would fill with the weights of the moment, gets the average that was validated.
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
"""Most training clips, drawn by the seed, from which batch normalization learns what averaged weights give."""


class Averaging(WeightAveraging):
    """An average of weights; subclasses say which one."""

    def __init__(self) -> None:
        super().__init__(multi_avg_fn=self._mix)
        self._trained: nn.Module = nn.Module()

    @abstractmethod
    def share(self, averaged: int) -> float:
        """Share of the newest weights in the average, when so many have gone into it already."""

    @contextmanager
    def applied(self, pl_module: pl.LightningModule) -> Iterator[None]:
        """Have the average in place of the weights."""
        self._swap_models(pl_module)
        yield
        self._swap_models(pl_module)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make room for the average."""
        assert isinstance(pl_module, AudioClassifier)
        self._average_model = None  # else one that a finished training was resumed with would be evaluated
        if stage == "fit":
            parts: dict[str, nn.Module] = {"network": pl_module.network}
            if pl_module.front_end.learnable:
                parts["front_end"] = pl_module.front_end
            self._trained = nn.ModuleDict(parts)
            device = trainer.strategy.root_device
            self._average_model = AveragedModel(self._trained, device, multi_avg_fn=self._mix, use_buffers=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the module, and later evaluations alone."""
        if self._begun:
            super().on_train_end(trainer, pl_module)
        self._average_model = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the average as the weights, and beside it what a resumed training goes on with."""
        if self._begun:
            whole = checkpoint["state_dict"]
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
            checkpoint["state_dict"] = {**whole, **checkpoint["state_dict"]}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore both."""
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
        """Interpolate, which leaves values that do not change exactly as they are; counters are taken over."""
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, newest, self.share(int(averaged)))
        else:
            torch._foreach_copy_(average, newest)


class EMA(Averaging):
    """Exponential moving average of the weights, and of the statistics of batch normalization, over the steps.

    Validation measures the average, and ``best.ckpt`` holds it. The share that is kept in a step grows from 1/5 to
    ``decay``, as (1 + n) / (10 + n) does over n steps (as in TensorFlow's ``ExponentialMovingAverage``), because short
    trainings would otherwise keep much of the weights that they began with.

    Args:
        decay: share of the average that is kept in a step.
        every_n_steps: steps after which the weights are taken in.

    Raises:
        ConfigError: an option that cannot work.
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
        """See the class."""
        return 1 - min(self.decay, (1 + averaged) / (10 + averaged))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every so many optimizer steps, the first one included."""
        return step_idx is not None and step_idx % self.every_n_steps == 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights in."""
        super().on_train_batch_end(trainer, self._trained, outputs, batch, batch_idx)  # type: ignore[arg-type]


class SWA(Averaging):
    """Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407): the mean of the weights of the last epochs.

    From ``start`` on, weights are taken in at the end of every epoch, before it is validated; batch normalization then
    learns anew what the average gives, from up to 1,024 training clips. Validation measures the average, and
    ``best.ckpt`` holds it. The schedule is left as it is.

    Args:
        start: share of ``trainer.max_epochs`` after which it begins.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(self, start: float = 0.75) -> None:
        super().__init__()
        if not 0 <= start < 1:
            raise ConfigError(f"callbacks.swa.start={start}: expected at least 0 and less than 1")
        self.start = start

    def share(self, averaged: int) -> float:
        """An equal one for all."""
        return 1 / (averaged + 1)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find out when to begin.

        Raises:
            ConfigError: the length of the training is not known.
        """
        if trainer.max_epochs is None or trainer.max_epochs < 1:
            raise ConfigError("callbacks=swa begins after a share of the epochs: give trainer.max_epochs")
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights in at the end of an epoch; Lightning would only do so when it has been validated."""
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
    """Measure the statistics of batch normalization anew, for weights that no training has brought about.

    Everything else is as in evaluation meanwhile, where :func:`torch.optim.swa_utils.update_bn` would have dropout on.
    What is not in training mode, because it is frozen, is kept.

    Args:
        classifier: whose network has these weights.
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
            network.forward(features)  # not compiled for so few batches
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module in training:
        module.training = True


@contextmanager
def averaged(trainer: pl.Trainer) -> Iterator[None]:
    """Have the average in place of the weights, where a training has one."""
    found = next(iter(callbacks_of(trainer, Averaging)), None)
    if found is None:
        yield
    else:
        with found.applied(trainer.lightning_module):
            yield
