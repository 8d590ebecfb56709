"""Lightning's Trainer, with the callbacks and loggers that a configuration names."""

import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, ListConfig, OmegaConf

from audio_lightning.config import build, resolve
from audio_lightning.config.targets import split_node
from audio_lightning.core.errors import ConfigError
from audio_lightning.distributed.fsdp import ShardedStrategy
from audio_lightning.distributed.ranks import Together
from audio_lightning.metrics.configured import mode_of
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.averaging import Averaging
from audio_lightning.training.callbacks import (
    BestCheckpoint,
    FiniteLoss,
    LastCheckpoint,
    LastStep,
)
from audio_lightning.training.checkpoints import CheckpointFiles
from audio_lightning.training.finders import searches
from audio_lightning.training.history import EpochBar, EpochLines, History
from audio_lightning.training.lightning_callbacks import check_callback
from audio_lightning.training.precision import check_compiler, say_precision, trainer_arguments
from audio_lightning.training.ratejump import RateJump

TRAINER = "lightning.pytorch.Trainer"
"""The trainer of configurations that name none, as those of earlier versions do."""


def make_callbacks(config: DictConfig, history: History, more: Sequence[Callback] = ()) -> list[Callback]:
    """The callbacks of every training, those that the configuration names, and further ones.

    Args:
        config: composed and checked.
        history: of the run.
        more: further callbacks, before the named ones.

    Raises:
        ConfigError: a callback that cannot work here, two averages of the weights, or no ``callbacks.best``.
    """
    chosen = {name: node for name, node in config.callbacks.items() if node is not None}
    for name, node in chosen.items():
        check_callback(node.get("_target_"), where=f"callbacks.{name}")
    directions = {
        name: {"mode": mode_of(node["monitor"], config.get("metrics"))}
        for name, node in chosen.items()
        if node.get("monitor")
    }
    named = [
        build(node, Callback, where=f"callbacks.{name}", offered=directions.get(name, {}))
        for name, node in chosen.items()
    ]
    averages = [name for name, callback in zip(chosen, named) if isinstance(callback, Averaging)]
    if len(averages) > 1:
        raise ConfigError(
            f"callbacks=[{','.join(averages)}]: each puts its average in place of the weights; choose one"
        )
    if averages and config.trainer.strategy == "fsdp":
        raise ConfigError(
            f"callbacks={averages[0]} averages whole networks, and trainer=fsdp divides them: choose trainer=ddp"
        )
    if not any(isinstance(callback, BestCheckpoint) for callback in named):
        raise ConfigError("callbacks.best is not there, and it keeps the weights that are tested: leave it as it is")
    always: list[Callback] = [FiniteLoss(), LastStep(), RateJump(), history, EpochLines(history), *more]
    has_bar = any(isinstance(callback, ProgressBar) for callback in named)
    if sys.stdout.isatty() and not has_bar:  # elsewhere, in a file or a pipe, a bar would be noise
        always.append(EpochBar(leave=False))
    return [*always, Together(), *sorted(named, key=lambda callback: isinstance(callback, LastCheckpoint))]


def make_loggers(config: DictConfig, folder: RunFolder) -> list[Logger]:
    """The loggers that the configuration names; where one takes ``save_dir``, it is the run folder by default.

    Raises:
        ConfigError: a logger that is none, arguments that it does not take, or a package that is not installed.
    """
    loggers = []
    for name, node in config.logger.items():
        if node is None:
            continue
        try:
            loggers.append(build(node, Logger, where=f"logger.{name}", offered={"save_dir": str(folder.path)}))
        except ModuleNotFoundError as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"logger={name} needs a package that is not installed ({reason}): pip install 'audio-lightning[{name}]'"
            ) from error
    return loggers


def make_trainer(
    config: DictConfig, folder: RunFolder, callbacks: Sequence[Callback], loggers: Sequence[Logger] = ()
) -> pl.Trainer:
    """Lightning's Trainer.

    Args:
        config: composed and checked.
        folder: of the run.
        callbacks: of :func:`make_callbacks`.
        loggers: of :func:`make_loggers`.

    Raises:
        ConfigError: arguments that the Trainer refuses, or that do not go together.
    """
    given: Any = OmegaConf.to_container(config.trainer, resolve=True)
    target, arguments = split_node({"_target_": TRAINER, **given}, where="trainer")
    cls = resolve(target, pl.Trainer, where="trainer")
    try:
        arguments = trainer_arguments(arguments, folder, compiled=bool(config.get("compile")))
    except (KeyError, TypeError) as error:  # a key that is missing, or a value of another type
        raise ConfigError(f"trainer: {type(error).__name__}: {error}") from error
    if arguments["strategy"] == "fsdp":
        if config.finetune.unfreeze_epoch is not None:
            raise ConfigError(
                "finetune.unfreeze_epoch freezes parts of what trainer=fsdp takes as one: choose trainer=ddp, or "
                "freeze them for good"
            )
        arguments["strategy"] = ShardedStrategy()
    elif arguments["strategy"] == "ddp" and isinstance(OmegaConf.select(config, "model.layers"), ListConfig):
        # Blocks behind the last of the chosen layers get no gradient, for which the other processes would wait.
        arguments["strategy"] = "ddp_find_unused_parameters_true"
    try:
        trainer = cls(
            **arguments,
            callbacks=list(callbacks),
            plugins=[CheckpointFiles(folder)],
            logger=list(loggers) or False,
            default_root_dir=str(folder.path),
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            enable_model_summary=False,
            # Its metrics would count as the best so far; the data has been checked by then anyway.
            num_sanity_val_steps=0,
            # The data module divides clips among processes, without any of them counting twice in an evaluation.
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {str(error).strip().splitlines()[0]}") from error
    if trainer.world_size > 1 and searches(config):
        raise ConfigError(
            "tuner.lr_find=true and tuner.scale_batch_size=true search on one device: do so with trainer.devices=1, "
            "and give what is found as optimizer.lr and data.batch_size"
        )
    say_precision(trainer, config.trainer.precision)
    if config.get("compile"):
        check_compiler(trainer.strategy.root_device)
    return trainer


def silence_lightning() -> None:
    """Keep what Lightning says about itself off the screen; what concerns the user's run is said here or raised."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*log_every_n_steps.*",
        ".*LeafSpec.*",
        ".*Total length of .tuple. across ranks is zero.*",  # there are no validation clips, as asked for
        ".*Trying to infer the .batch_size.*",
        ".*callbacks used to create the checkpoint.*",
        ".*could not find the monitored key.*",  # nothing is validated in this epoch, as asked for
        ".*ReduceLROnPlateau conditioned on metric.*",  # the same
        ".*AMP with fp16 is not supported on CPU.*",  # what runs instead is said by say_precision
        ".*in eval mode at the start of training.*",  # a published network is used as it is
        ".*sync_dist=True.*",  # what is logged has been gathered from all processes already
    ):
        warnings.filterwarnings("ignore", message=message)
