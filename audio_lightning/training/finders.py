"""Tuner: batch size finder and learning rate finder, run before a training."""

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
"""Range of the learning rates that are tried, and the number of steps."""

STEPS_PER_SIZE = 3
"""Number of steps for which a batch size must fit into memory."""

SMOOTHED = 11
"""Width of the moving average over losses, about two thirds of a decade of learning rates."""

DIVERGED = 4.0
"""Ratio of the smoothed loss to its minimum at which the search ends."""

USED = (
    "accelerator", "precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm",
    "deterministic", "benchmark",
)  # fmt: skip
"""Arguments of the training's Trainer that the search uses, too."""

FOUND = {"scale_batch_size": "data.batch_size", "lr_find": "optimizer.lr"}
"""Keys that the searches set, by their key in ``tuner``, in the order of the searches."""

Make = Callable[[], AudioClassifier]


def searches(config: DictConfig) -> list[str]:
    """Return the searches of :data:`FOUND` that a configuration enables."""
    tuner = config.get("tuner") or {}
    return [search for search in FOUND if tuner.get(search)]


def find(config: DictConfig, make: Make, datamodule: AudioDataModule, folder: RunFolder) -> None:
    """Run the enabled searches, and write their results into the configuration.

    The searches train separate classifiers and restore the state of all random generators. The training is therefore
    the same as if the found values had been set by hand.

    Args:
        config: configuration, in which ``optimizer.lr`` and ``data.batch_size`` are changed.
        make: function that makes a classifier with its initial weights.
        datamodule: data module after its ``setup``; its ``batch_size`` is changed.
        folder: run folder, for the curve of the loss over the learning rate.

    Raises:
        ConfigError: the loss falls at no learning rate, or no batch size can be chosen.
    """
    if "scale_batch_size" in searches(config):
        config.data.batch_size = datamodule.batch_size = _batch_size(config, make, datamodule)
        print_and_log(f"tuner.scale_batch_size: using data.batch_size={datamodule.batch_size}")
    if "lr_find" in searches(config):
        rates, losses = _loss_by_rate(config, make, datamodule)
        write_csv(folder.lr_finder, ["learning_rate", "loss"], list(zip(rates.tolist(), losses.tolist())))
        config.optimizer.lr = suggested(rates, losses)
        print_and_log(f"tuner.lr_find: using optimizer.lr={config.optimizer.lr:g} ({folder.lr_finder})")


def keep_found(config: DictConfig, trained: Mapping[str, Any]) -> None:
    """Copy the results of a run's searches into the configuration that it is resumed with.

    Args:
        config: configuration of the resumed run; changed in place.
        trained: configuration in the checkpoint of the run.
    """
    for search in searches(config):
        group, _, name = FOUND[search].partition(".")
        if name in trained[group]:
            config[group][name] = trained[group][name]


def suggested(rates: Float[np.ndarray, "steps"], losses: Float[np.ndarray, "steps"]) -> float:
    """Return the learning rate at which the loss falls fastest over the log learning rate.

    This is the learning rate range test (Smith 2017, arXiv 1506.01186).

    Lightning's suggestion uses the slope over the learning rate itself, where noise at the lowest rates is steepest. It
    also uses losses smoothed over past steps only, which lag by half a decade or more. Its search miscounts steps if
    ``accumulate_grad_batches`` does not divide an epoch, and ignores ``layer_decay``.

    Args:
        rates: learning rates in ascending order, with a constant ratio.
        losses: training loss at each learning rate.

    Raises:
        ConfigError: the loss does not fall.
    """
    finite = int(np.argmin(np.isfinite([*losses, np.nan])))
    if finite > SMOOTHED:
        rates, losses = rates[:finite], losses[:finite]
        padded = np.pad(losses, SMOOTHED // 2, mode="edge")
        smooth = np.convolve(padded, np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")
        lowest = int(smooth.argmin())
        # Only up to the lowest loss: a fast fall after a learning rate that was too high is useless.
        slope = np.gradient(smooth, np.log(rates))[: lowest + 1]
        if smooth[lowest] < 0.98 * smooth[0]:
            return float(f"{rates[int(slope.argmin())]:.3g}")
    raise ConfigError("tuner.lr_find=true: the loss fell at no learning rate; set optimizer.lr=... instead")


class _RisingRate(Callback):
    """Learning rate range test: raises the learning rates of all layers exponentially, step by step.

    Attributes:
        rates: learning rates of the head, one per step.
        losses: training losses, one per step.
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
        """Set the learning rates of the step."""
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
        """Record the loss of a completed step, and stop if the loss diverges."""
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
            f"tuner.scale_batch_size=true: at most {most} clips per batch leave no choice; raise tuner.max_batch_size"
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
        raise ConfigError("tuner.scale_batch_size=true: the memory is too small for 2 clips; try a smaller model")
    return found


@contextlib.contextmanager
def few_steps(config: DictConfig) -> Iterator[Callable[..., None]]:
    """Yield a function that trains a classifier for a number of steps, without logs or files."""
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
