"""ONNX runtime sessions for files from strangers; imports neither torch nor Lightning."""

from importlib import import_module
from typing import Any

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.onnx_contents import require_own_contents


def runtime(needed_by: str) -> Any:
    """Import onnxruntime.

    Args:
        needed_by: the feature that needs it, for the message.

    Raises:
        ConfigError: onnxruntime is not installed.
    """
    try:
        return import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{needed_by} needs ONNX runtime; pip install 'audio-lightning[onnx]', or onnxruntime"
        ) from error


def open_session(content: bytes, name: str, *, threads: int, needed_by: str) -> Any:
    """Create an ``InferenceSession`` on the CPU, after :func:`require_own_contents` has checked the file.

    Args:
        content: bytes of the file, which may come from a stranger: it can compute any function of its input, but has
            no access to anything else.
        name: name of the file, for messages.
        threads: number of threads of the session.
        needed_by: the feature that needs the runtime, for messages.

    Raises:
        ConfigError: the runtime is not installed, or cannot run the file.
    """
    package = runtime(needed_by)
    require_own_contents(content, name)
    options = package.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal errors only: all other errors are also raised
    # Only ONNX was checked above; the runtime would otherwise guess its own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # On Apple silicon, these kernels of release 1.27 return wrong results for single clips.
    options.add_session_config_entry("mlas.disable_kleidiai", "1")
    try:
        # No operator libraries are registered; a network with custom operators was refused above.
        return package.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions have no narrower common base
        raise ConfigError(
            f"ONNX runtime {package.__version__} cannot run {name}: {one_line(error)}; update onnxruntime, or use "
            "another file"
        ) from error


def one_line(error: Exception) -> str:
    """Message of a runtime error in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]
