"""Construction of Lightning's Trainer with the callbacks and loggers of a configuration."""

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

from audio_lightning.classifier.optimizers import needs_whole_weights
from audio_lightning.config import build, resolve
from audio_lightning.config.targets import check_arguments, split_node
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
from audio_lightning.training.precision import check_compiler, trainer_arguments, trainer_message
from audio_lightning.training.ratejump import RateJump

TRAINER = "lightning.pytorch.Trainer"
"""Default class of the trainer, for configurations of earlier versions without ``_target_``."""


def make_callbacks(config: DictConfig, history: History, more: Sequence[Callback] = ()) -> list[Callback]:
    """Make the callbacks: those of every training, those of the configuration, and further ones.

    Args:
        config: composed and checked configuration.
        history: history of the run.
        more: further callbacks, called before those of the configuration.

    Raises:
        ConfigError: an unsuitable callback, two averages of the weights, or no ``callbacks.best``.
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
        raise ConfigError(f"callbacks=[{','.join(averages)}]: each replaces the weights by its average; choose one")
    if averages and config.trainer.strategy == "fsdp":
        raise ConfigError(
            f"callbacks={averages[0]}: averages whole networks, but trainer=fsdp shards them; choose trainer=ddp"
        )
    if needs_whole_weights(config.optimizer) and config.trainer.strategy == "fsdp":
        raise ConfigError(
            "optimizer=muon: needs whole weight matrices, but trainer=fsdp shards them; choose trainer=ddp"
        )
    if not any(isinstance(callback, BestCheckpoint) for callback in named):
        raise ConfigError("callbacks.best: missing, but it keeps the weights for the test; do not remove it")
    always: list[Callback] = [FiniteLoss(), LastStep(), RateJump(), history, EpochLines(history), *more]
    has_bar = any(isinstance(callback, ProgressBar) for callback in named)
    if sys.stdout.isatty() and not has_bar:  # in a file or a pipe, a bar would be noise
        always.append(EpochBar(leave=False))
    return [*always, Together(), *sorted(named, key=lambda callback: isinstance(callback, LastCheckpoint))]


def make_loggers(config: DictConfig, folder: RunFolder) -> list[Logger]:
    """Make the loggers of the configuration; ``save_dir`` is the run folder by default.

    Raises:
        ConfigError: a target that is no logger, invalid arguments, or a package that is not installed.
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
                f"logger={name}: needs a package that is not installed ({reason}); "
                f"pip install 'audio-lightning[{name}]'"
            ) from error
    return loggers


def make_trainer(
    config: DictConfig, folder: RunFolder, callbacks: Sequence[Callback], loggers: Sequence[Logger] = ()
) -> pl.Trainer:
    """Build the Trainer.

    Args:
        config: composed and checked configuration.
        folder: run folder.
        callbacks: callbacks from :func:`make_callbacks`.
        loggers: loggers from :func:`make_loggers`.

    Raises:
        ConfigError: arguments that the Trainer refuses, or that cannot be combined.
    """
    given: Any = OmegaConf.to_container(config.trainer, resolve=True)
    target, arguments = split_node({"_target_": TRAINER, **given}, where="trainer")
    cls = resolve(target, pl.Trainer, where="trainer")
    supplied: dict[str, Any] = {
        "callbacks": list(callbacks),
        "plugins": [CheckpointFiles(folder)],
        "logger": list(loggers) or False,
        "default_root_dir": str(folder.path),
        "enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks),
        "enable_model_summary": False,
        # Metrics of a sanity check would count as the best so far, and the data has already been checked.
        "num_sanity_val_steps": 0,
        # The data module divides clips among processes, so that none counts twice in an evaluation.
        "use_distributed_sampler": False,
    }
    typed = {name: value for name, value in arguments.items() if name != "precision"}  # fewer than Lightning has
    check_arguments(cls, typed, supplied, where="trainer")
    try:
        arguments = trainer_arguments(arguments, folder, compiled=bool(config.get("compile")))
    except (KeyError, TypeError) as error:  # a key that is missing, or a value of another type
        raise ConfigError(f"trainer: {type(error).__name__}: {error}") from error
    if arguments["strategy"] == "fsdp":
        if config.finetune.unfreeze_epoch is not None:
            raise ConfigError(
                "finetune.unfreeze_epoch: freezes single layers, but trainer=fsdp handles the network as one; choose "
                "trainer=ddp, or keep the layers frozen (finetune.unfreeze_epoch=null)"
            )
        arguments["strategy"] = ShardedStrategy()
    elif arguments["strategy"] == "ddp" and isinstance(OmegaConf.select(config, "model.layers"), ListConfig):
        # Blocks after the last chosen layer get no gradient, for which DDP would wait.
        arguments["strategy"] = "ddp_find_unused_parameters_true"
    try:
        trainer = cls(**arguments, **supplied)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"trainer: {trainer_message(error)}") from error
    if trainer.world_size > 1 and searches(config):
        raise ConfigError(
            "tuner.lr_find=true and tuner.scale_batch_size=true search on one device only; run them with "
            "trainer.devices=1, and set the found values as optimizer.lr and data.batch_size"
        )
    if config.get("compile"):
        check_compiler(trainer.strategy.root_device)
    return trainer


def silence_lightning() -> None:
    """Hide Lightning's messages about itself; facts about the run are printed or raised by this package."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*log_every_n_steps.*",
        ".*LeafSpec.*",
        ".*Total length of .tuple. across ranks is zero.*",  # no validation clips, as configured
        ".*Trying to infer the .batch_size.*",
        ".*callbacks used to create the checkpoint.*",
        ".*could not find the monitored key.*",  # no validation in this epoch, as configured
        ".*ReduceLROnPlateau conditioned on metric.*",  # the same
        ".*AMP with fp16 is not supported on CPU.*",  # say_precision prints the precision in use
        ".*in eval mode at the start of training.*",  # a frozen pretrained network
        ".*sync_dist=True.*",  # logged values are already reduced over all processes
    ):
        warnings.filterwarnings("ignore", message=message)
