"""Precision, profilers and compilation: what a Trainer is asked for, and what is said where that cannot be had."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.bfloat16 import cpu_has_bfloat16, gpu_has_bfloat16
from audio_lightning.core.errors import ConfigError, Interrupted
from audio_lightning.core.messages import print_and_log
from audio_lightning.run_folder import RunFolder

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Front ends compute in float32 with all of them; with others, networks could not take what they give."""

PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


def trainer_arguments(arguments: dict[str, Any], folder: RunFolder, *, compiled: bool) -> dict[str, Any]:
    """What the configuration says about the Trainer, checked, and with a profiler that writes into the run folder.

    Raises:
        ConfigError: what Lightning would not refuse, or with a traceback.
    """
    precision, profiler = str(arguments["precision"]), arguments["profiler"]
    cuda, mps = torch.cuda.is_available(), has_mps()
    if not {"cuda": cuda, "mps": mps, "gpu": cuda or mps}.get(str(arguments["accelerator"]), True):
        raise ConfigError(
            f"trainer.accelerator={arguments['accelerator']}: there is none on this machine; use trainer=default, "
            "which finds the accelerator, or trainer=cpu"
        )
    if precision not in PRECISIONS:
        raise ConfigError(
            f"trainer: precision={precision} is not supported"
            + did_you_mean(precision, PRECISIONS, listing="there are")
        )
    for name in ("max_epochs", "max_steps", "limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if arguments[name] is not None and arguments[name] == 0:
            part = {"limit_val_batches": "choose the epoch by", "limit_test_batches": "test"}.get(name, "train")
            raise ConfigError(f"trainer: {name}={arguments[name]} leaves nothing to {part}: expected more than 0")
    if arguments["max_epochs"] is None and arguments["max_steps"] in (None, -1) and arguments["max_time"] is None:
        raise ConfigError("trainer: max_epochs=null: give it, or say by max_steps or max_time when the training ends")
    if (every := arguments["check_val_every_n_epoch"]) is not None and every < 1:
        raise ConfigError(f"trainer: check_val_every_n_epoch={every}: expected 1 or more")
    # Tensors of the inference mode and others would each have a program of their own.
    arguments = {**arguments, "inference_mode": not compiled}
    if profiler is None:
        return arguments
    if profiler not in PROFILERS:
        raise ConfigError(f"trainer: profiler={profiler}: expected {' | '.join(PROFILERS)} or null")
    place: Any = {"dirpath": str(folder.path), "filename": "profile"}
    return {**arguments, "profiler": PROFILERS[profiler](**place)}


def say_precision(trainer: pl.Trainer, asked: str) -> None:
    """Print a line where another precision runs than was asked for, or one that is slow on this device."""
    if trainer.precision != asked:
        print_and_log(f"trainer.precision={asked} is not supported on this device; using {trainer.precision}")
    device = trainer.strategy.root_device.type
    if trainer.precision == "bf16-mixed":
        if device == "cuda" and not gpu_has_bfloat16():
            print_and_log("this GPU has no bfloat16 and emulates it; trainer.precision=16-mixed is faster")
        if device == "cpu" and not cpu_has_bfloat16():
            print_and_log("this CPU has no bfloat16 and emulates it; trainer.precision=32-true is faster")


def has_mps() -> bool:
    """Whether this is an Apple computer whose GPU can be used."""
    return bool(MPSAccelerator.is_available())


def check_compiler(device: torch.device) -> None:
    """Look for what ``torch.compile`` needs on a device, before anything is decoded.

    Raises:
        ConfigError: there is no compiler.
    """
    if device.type == "cuda":  # Triton's order
        found, language = any(map(shutil.which, (os.environ.get("CC", "clang"), "gcc"))), "C"
    else:
        from torch._inductor.cpp_builder import get_cpp_compiler  # it takes a second to import
        from torch._inductor.exc import InvalidCxxCompiler

        language = "C++"
        try:
            found = bool(get_cpp_compiler())
        except InvalidCxxCompiler:
            found = False
    if not found:
        raise ConfigError(
            f"compile=true: there is no {language} compiler on this machine; install one (gcc, g++), "
            "or use compile=false"
        )


@contextlib.contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Let a training, a validation or a test be ended by Ctrl-C and SIGTERM.

    Raises:
        Interrupted: it was.
    """
    try:
        yield
    except SystemExit as exit_:  # Lightning's answer to Ctrl-C and, with exit code 0, to SIGTERM
        if trainer.received_sigterm or trainer.state.status == TrainerStatus.INTERRUPTED:
            raise Interrupted(143 if trainer.received_sigterm or exit_.code == 143 else 130) from exit_
        raise
    if trainer.received_sigterm:
        raise Interrupted(143)


@contextlib.contextmanager
def translate_errors(classifier: AudioClassifier) -> Iterator[None]:
    """Say in a line what a training only finds when it runs.

    Raises:
        ConfigError: limits that leave nothing of the data, a batch that cannot be normalized, or a network that cannot
            be compiled.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {str(error).strip().splitlines()[0]}") from error
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith("Expected more than 1 value per channel"):
            raise ConfigError(
                f"data.batch_size: {classifier.network.title} normalizes over the batch, and one clip is too few "
                "where nothing else is left of it: use 2 or more"
            ) from error
        if not classifier.compiled or not _is_of_compiler(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(error).__name__
        raise ConfigError(
            f"compile=true: {classifier.network.title} cannot be compiled here ({reason}): "
            "compile=false trains it as it is"
        ) from error


def _is_of_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # it takes a second to import

    return isinstance(error, TorchDynamoException)
