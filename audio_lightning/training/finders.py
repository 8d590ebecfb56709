"""What can be found out before a training: the largest batch that fits, and a learning rate."""

import contextlib
import io
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig, OmegaConf

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import write_csv
from audio_lightning.core.messages import print_and_log
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TRAIN
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.precision import interruptible

LOWEST_RATE, HIGHEST_RATE, STEPS = 1e-6, 1.0, 100
"""Learning rates that are tried, and in how many steps."""

STEPS_PER_SIZE = 3
"""Steps that a batch size has to stand."""

SMOOTHED = 11
"""Losses, about two thirds of a decade of rates, that are taken together."""

DIVERGED = 4.0
"""How many times the lowest loss, both smoothed, ends the search."""

USED = (
    "accelerator", "precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm",
    "deterministic", "benchmark",
)  # fmt: skip
"""Arguments of the training's own Trainer that a search shares."""

FOUND = {"scale_batch_size": "data.batch_size", "lr_find": "optimizer.lr"}
"""By the key of ``tuner`` that asks for a search, the key that the search fills in; in the order of the searches."""

Make = Callable[[], AudioClassifier]


def searches(config: DictConfig) -> list[str]:
    """The keys of :data:`FOUND` that a configuration turns on."""
    tuner = config.get("tuner") or {}
    return [search for search in FOUND if tuner.get(search)]


def find(config: DictConfig, make: Make, datamodule: AudioDataModule, folder: RunFolder) -> None:
    """Search for what the configuration asks for, and put it there in place of what it said.

    The searches train classifiers of their own, and leave the state of all random generators as it was: the training
    is the one that it would have been if what was found had been typed.

    Args:
        config: ``optimizer.lr`` and ``data.batch_size`` are changed.
        make: makes a classifier with its initial weights.
        datamodule: after its ``setup``; its ``batch_size`` is changed.
        folder: gets the curve of losses over learning rates.

    Raises:
        ConfigError: a loss that falls at no rate, or nothing to choose a batch from.
    """
    if "scale_batch_size" in searches(config):
        config.data.batch_size = datamodule.batch_size = _batch_size(config, make, datamodule)
        print_and_log(f"data.batch_size={datamodule.batch_size} was found and is used")
    if "lr_find" in searches(config):
        rates, losses = _loss_by_rate(config, make, datamodule)
        write_csv(folder.lr_finder, ["learning_rate", "loss"], list(zip(rates.tolist(), losses.tolist())))
        config.optimizer.lr = suggested(rates, losses)
        print_and_log(f"optimizer.lr={config.optimizer.lr:g} was found and is used ({folder.lr_finder})")


def keep_found(config: DictConfig, trained: Mapping[str, Any]) -> None:
    """Put what the searches of a run found into the configuration that it is resumed with.

    Args:
        config: as it was composed, perhaps anew; changed.
        trained: the configuration in the checkpoint of the run.
    """
    for search in searches(config):
        group, _, name = FOUND[search].partition(".")
        if name in trained[group]:
            config[group][name] = trained[group][name]


def suggested(rates: Float[np.ndarray, "steps"], losses: Float[np.ndarray, "steps"]) -> float:
    """The rate at which the loss falls fastest over the logarithm of the rate (Smith 2017, arXiv 1506.01186).

    Lightning's own suggestion goes by the rate itself, by which noise at the lowest rates is steeper than anything,
    and by losses that are smoothed over what came before, which are half a decade of rates behind or more. And its
    search loses count where an epoch does not divide into ``accumulate_grad_batches``, and forgets ``layer_decay``.

    Args:
        rates: ascending, each a constant factor above the one before.
        losses: of the batches that were trained on at each.

    Raises:
        ConfigError: the loss does not fall.
    """
    finite = int(np.argmin(np.isfinite([*losses, np.nan])))
    if finite > SMOOTHED:
        rates, losses = rates[:finite], losses[:finite]
        padded = np.pad(losses, SMOOTHED // 2, mode="edge")
        smooth = np.convolve(padded, np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")
        lowest = int(smooth.argmin())
        # Before the lowest loss, since it is no use to fall fast after a rate that was too high.
        slope = np.gradient(smooth, np.log(rates))[: lowest + 1]
        if smooth[lowest] < 0.98 * smooth[0]:
            return float(f"{rates[int(slope.argmin())]:.3g}")
    raise ConfigError("tuner.lr_find=true: the loss fell at no learning rate; give optimizer.lr=... instead")


class _RisingRate(Callback):
    """Raises the learning rate of the head in every step, and those of the other layers with it.

    Attributes:
        rates: of the head.
        losses: of the batches of every step.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._batches: list[float] = []
        self._shares: list[float] = []
        self._lowest = math.inf

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the rates."""
        assert isinstance(pl_module, AudioClassifier)
        self._rate = LOWEST_RATE * (HIGHEST_RATE / LOWEST_RATE) ** (trainer.global_step / (STEPS - 1))
        groups = trainer.optimizers[0].param_groups
        if not self._shares:
            head = groups[0]["lr"] or 1.0
            self._shares = [group["lr"] / head for group in groups]
        for group, share in zip(groups, self._shares):
            group["lr"] = self._rate * share

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss of a step when it has been taken, and stop where it is hopeless."""
        self._batches.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)  # Lightning has divided it
        if trainer.global_step == len(self.losses):
            return
        self.rates.append(self._rate)
        self.losses.append(float(np.mean(self._batches)))
        self._batches.clear()
        if len(self.losses) >= SMOOTHED:
            recent = float(np.mean(self.losses[-SMOOTHED:]))
            self._lowest = min(self._lowest, recent)
            trainer.should_stop = not recent <= DIVERGED * self._lowest


def _loss_by_rate(
    config: DictConfig, make: Make, datamodule: AudioDataModule
) -> tuple[Float[np.ndarray, "steps"], Float[np.ndarray, "steps"]]:
    rising = _RisingRate()
    with few_steps(config) as train:
        train(make(), datamodule, STEPS, rising)
    return np.array(rising.rates), np.array(rising.losses)


def _batch_size(config: DictConfig, make: Make, datamodule: AudioDataModule) -> int:
    most = min(int(config.tuner.max_batch_size), len(datamodule.numbers(TRAIN)))
    if most < 2:
        raise ConfigError(
            f"tuner.scale_batch_size=true: at most {most} clips a batch leave nothing to find; see tuner.max_batch_size"
        )
    found = 0
    with few_steps(config) as train:
        classifier = make()
        for size in (2**power for power in range(1, most.bit_length())):
            datamodule.batch_size = size
            try:
                train(classifier, datamodule, STEPS_PER_SIZE)
            except RuntimeError as error:
                if not is_oom_error(error):
                    raise
                break
            found = size
        garbage_collection_cuda()
    if not found:
        raise ConfigError("tuner.scale_batch_size=true: the memory is too small for 2 clips: try a smaller model")
    return found


@contextlib.contextmanager
def few_steps(config: DictConfig) -> Iterator[Callable[..., None]]:
    """What trains a classifier for so many steps, and leaves no traces."""
    arguments: Any = OmegaConf.to_container(config.trainer, resolve=True)

    def train(
        classifier: AudioClassifier, datamodule: pl.LightningDataModule, steps: int, *callbacks: Callback
    ) -> None:
        trainer = pl.Trainer(
            **{name: arguments[name] for name in USED},
            devices=1,
            max_epochs=-1,
            max_steps=steps,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            callbacks=list(callbacks),
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        with interruptible(trainer):
            trainer.fit(classifier, datamodule=datamodule)

    with tempfile.TemporaryDirectory() as folder, isolate_rng(), contextlib.redirect_stderr(io.StringIO()):
        yield train
