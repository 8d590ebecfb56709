"""Checks of the Trainer's arguments: precision, accelerator, limits, profiler, compilation, interruption."""

import contextlib
import inspect
import os
import re
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
"""Supported precisions. Front ends compute in float32 with all of these; with others, networks reject their output."""

PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


def trainer_arguments(arguments: dict[str, Any], folder: RunFolder, *, compiled: bool) -> dict[str, Any]:
    """Check the arguments of the Trainer, and replace the name of a profiler by one that writes into the run folder.

    Args:
        arguments: node ``trainer`` of the configuration.
        folder: run folder.
        compiled: whether the network is compiled.

    Raises:
        ConfigError: an argument that Lightning would accept silently, or refuse with a traceback.
    """
    precision, profiler = str(arguments["precision"]), arguments["profiler"]
    cuda, mps = torch.cuda.is_available(), has_mps()
    if not {"cuda": cuda, "mps": mps, "gpu": cuda or mps}.get(str(arguments["accelerator"]), True):
        raise ConfigError(
            f"trainer.accelerator={arguments['accelerator']}: not available on this machine; use trainer=default, "
            "which finds the accelerator, or trainer=cpu"
        )
    if precision not in PRECISIONS:
        raise ConfigError(
            f"trainer: precision={precision} is not supported"
            + did_you_mean(precision, PRECISIONS, listing="there are")
        )
    for name in ("max_steps", "limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if arguments[name] is not None and arguments[name] == 0:
            part = {"limit_val_batches": "choose the epoch by", "limit_test_batches": "test"}.get(name, "train")
            raise ConfigError(f"trainer: {name}={arguments[name]} leaves nothing to {part}; expected more than 0")
    if arguments["max_epochs"] is None and arguments["max_steps"] in (None, -1) and arguments["max_time"] is None:
        raise ConfigError("trainer: max_epochs=null has no end; set max_epochs, max_steps or max_time")
    if not isinstance(limit := arguments["max_time"], (str, dict, type(None))):
        raise ConfigError(f"trainer.max_time={limit}: expected DD:HH:MM:SS, such as 00:01:30:00, or null")
    if (every := arguments["check_val_every_n_epoch"]) is not None and every < 1:
        raise ConfigError(f"trainer: check_val_every_n_epoch={every}: expected 1 or more")
    # Inference-mode tensors and others would each be compiled separately.
    arguments = {**arguments, "inference_mode": not compiled}
    if profiler is None:
        return arguments
    if profiler not in PROFILERS:
        raise ConfigError(f"trainer: profiler={profiler}: expected {' | '.join(PROFILERS)} or null")
    place: Any = {"dirpath": str(folder.path), "filename": "profile"}
    return {**arguments, "profiler": PROFILERS[profiler](**place)}


def trainer_message(error: Exception) -> str:
    """Return the first line of an error of the Trainer, with the names of its arguments as keys: ``trainer.NAME``."""
    arguments = inspect.signature(pl.Trainer).parameters
    line = str(error).strip().splitlines()[0]
    return re.sub(r"`(\w+)", lambda found: f"`trainer.{found[1]}" if found[1] in arguments else found[0], line)


def say_precision(trainer: pl.Trainer, asked: str) -> None:
    """Print a line if the precision differs from the configured one, or is emulated by this device."""
    if trainer.precision != asked:
        print_and_log(f"trainer.precision={asked} is not supported on this device; using {trainer.precision}")
    device = trainer.strategy.root_device.type
    if trainer.precision == "bf16-mixed":
        if device == "cuda" and not gpu_has_bfloat16():
            print_and_log("this GPU emulates bfloat16; trainer.precision=16-mixed is faster")
        if device == "cpu" and not cpu_has_bfloat16():
            print_and_log("this CPU emulates bfloat16; trainer.precision=32-true is faster")


def has_mps() -> bool:
    """Return whether this machine has a usable Apple GPU (MPS)."""
    return bool(MPSAccelerator.is_available())


def check_compiler(device: torch.device) -> None:
    """Check that ``torch.compile`` finds a compiler for a device, before anything is decoded.

    Raises:
        ConfigError: there is no compiler.
    """
    if device.type == "cuda":  # in the order in which Triton looks
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
            f"compile=true: no {language} compiler on this machine; install one (gcc, g++), or use compile=false"
        )


@contextlib.contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Translate Ctrl-C and SIGTERM during a training, validation or test into :class:`Interrupted`.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
    """
    try:
        yield
    except SystemExit as exit_:  # raised by Lightning after Ctrl-C and, with exit code 0, after SIGTERM
        if trainer.received_sigterm or trainer.state.status == TrainerStatus.INTERRUPTED:
            raise Interrupted(143 if trainer.received_sigterm or exit_.code == 143 else 130) from exit_
        raise
    if trainer.received_sigterm:
        raise Interrupted(143)


@contextlib.contextmanager
def translate_errors(classifier: AudioClassifier) -> Iterator[None]:
    """Translate errors that a training finds only while it runs into one-line errors.

    Raises:
        ConfigError: limits leave no data, a batch cannot be normalized, or the network cannot be compiled.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {trainer_message(error)}") from error
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith("Expected more than 1 value per channel"):
            raise ConfigError(
                f"data.batch_size: {classifier.network.title} normalizes over the batch, and a batch of one clip is "
                "too small; use 2 or more"
            ) from error
        if not classifier.compiled or not _is_of_compiler(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(error).__name__
        raise ConfigError(
            f"compile=true: {classifier.network.title} cannot be compiled on this machine ({reason}); use compile=false"
        ) from error


def _is_of_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # it takes a second to import

    return isinstance(error, TorchDynamoException)
