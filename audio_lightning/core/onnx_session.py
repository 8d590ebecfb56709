"""Sessions of ONNX runtime for files that may be somebody else's; neither torch nor Lightning is imported."""

from importlib import import_module
from typing import Any

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.onnx_contents import require_own_contents


def runtime(needed_by: str) -> Any:
    """The package onnxruntime itself.

    Args:
        needed_by: what needs it, for the message.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{needed_by} needs ONNX runtime: pip install 'audio-lightning[onnx]', or onnxruntime"
        ) from error


def open_session(content: bytes, name: str, *, threads: int, needed_by: str) -> Any:
    """An ``InferenceSession`` on the CPU, after a look at what the file refers to.

    Args:
        content: the file, which may be somebody else's: it can compute anything of its input, but reaches nothing else.
        name: of the file, for messages.
        threads: of the session.
        needed_by: what needs the runtime, for messages.

    Raises:
        ConfigError: the runtime is not installed, or the file is none that it can run.
    """
    package = runtime(needed_by)
    require_own_contents(content, name)
    options = package.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, too
    # The runtime's own format, which it would guess, has not been looked into.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # On Apple silicon, these kernels of release 1.27 return wrong results for single clips.
    options.add_session_config_entry("mlas.disable_kleidiai", "1")
    try:
        # No libraries of operators are registered: a network that names others does not get as far as this.
        return package.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have nothing else in common
        raise ConfigError(f"ONNX runtime {package.__version__} cannot run {name}: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """What an error of the runtime says, in one line of moderate length."""
    return " ".join(str(error).split())[:200]
