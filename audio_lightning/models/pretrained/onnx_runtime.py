"""ONNX runtime, which computes networks that are files of ONNX; these are kept as bytes, which a checkpoint holds."""

import hashlib
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from audio_lightning.core import onnx_session

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
    return onnx_session.runtime(f"backbone={backbone}")


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
        _sessions[key] = onnx_session.open_session(
            content.cpu().numpy().tobytes(), name, threads=key[1], needed_by=f"backbone={backbone}"
        )
    return _sessions[key]
