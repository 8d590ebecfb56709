"""ONNX runtime, which computes networks that are files of ONNX; these are kept as bytes, which a checkpoint holds."""

import hashlib
from importlib import import_module
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained.onnx_contents import require_own_contents

MOST_SESSIONS = 8

# Hundreds of megabytes are not hashed again for each clip. A buffer is another tensor once other bytes are loaded.
_fingerprints: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_sessions: dict[tuple[str, int], Any] = {}


def runtime(backbone: str) -> Any:
    """The package itself.

    Args:
        backbone: what needs it, for the message.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"backbone={backbone} needs ONNX runtime: pip install 'audio-lightning[onnx]', or onnxruntime"
        ) from error


def buffer_of(content: bytes) -> UInt8[Tensor, "bytes"]:
    """The bytes of a file as a tensor on the CPU."""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def fingerprint(content: UInt8[Tensor, "bytes"]) -> str:
    """SHA-256 of the bytes in a buffer, in hexadecimal."""
    if content not in _fingerprints:
        _fingerprints[content] = hashlib.sha256(content.cpu().numpy().tobytes()).hexdigest()
    return str(_fingerprints[content])


def session(content: UInt8[Tensor, "bytes"], backbone: str, name: str) -> Any:
    """An ``InferenceSession`` of the network in a buffer, on the CPU, with as many threads as torch has.

    Args:
        content: the file, which may be somebody else's: it can compute anything of its input, but reaches nothing else.
        backbone: what needs it, for messages.
        name: of the file, for messages.

    Raises:
        ConfigError: the runtime is not installed, or the file is none that it can run.
    """
    key = (fingerprint(content), torch.get_num_threads())
    if key not in _sessions:
        while len(_sessions) >= MOST_SESSIONS:
            del _sessions[next(iter(_sessions))]
        _sessions[key] = _open(content.cpu().numpy().tobytes(), backbone, name, key[1])
    return _sessions[key]


def _open(content: bytes, backbone: str, name: str, threads: int) -> Any:
    package = runtime(backbone)
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
