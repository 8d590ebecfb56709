"""ONNX Runtime sessions of networks that are stored as bytes, so that checkpoints can contain them."""

import hashlib
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from audio_lightning.core import onnx_session

MOST_SESSIONS = 8

# Computed once for each tensor, because files can have hundreds of megabytes; loading other bytes makes a new tensor.
_fingerprints: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_sessions: dict[tuple[str, int], Any] = {}


def runtime(backbone: str) -> Any:
    """Import ONNX Runtime.

    Args:
        backbone: name of the network that needs it, for the message.

    Raises:
        ConfigError: it is not installed.
    """
    return onnx_session.runtime(f"backbone={backbone}")


def buffer_of(content: bytes) -> UInt8[Tensor, "bytes"]:
    """Store the bytes of a file in a tensor on the CPU."""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def fingerprint(content: UInt8[Tensor, "bytes"]) -> str:
    """Compute the SHA-256 of the bytes in a tensor, in hexadecimal."""
    if content not in _fingerprints:
        _fingerprints[content] = hashlib.sha256(content.cpu().numpy().tobytes()).hexdigest()
    return str(_fingerprints[content])


def session(content: UInt8[Tensor, "bytes"], backbone: str, name: str) -> Any:
    """Return an ``InferenceSession`` for the bytes of a network, on the CPU, with torch's number of threads.

    Args:
        content: the file. It may come from another author: it can compute anything from its input, but has no access to
            anything else.
        backbone: name of the network that needs it, for messages.
        name: name of the file, for messages.

    Raises:
        ConfigError: the runtime is not installed, or cannot run the file.
    """
    key = (fingerprint(content), torch.get_num_threads())
    if key not in _sessions:
        while len(_sessions) >= MOST_SESSIONS:
            del _sessions[next(iter(_sessions))]
        _sessions[key] = onnx_session.open_session(
            content.cpu().numpy().tobytes(), name, threads=key[1], needed_by=f"backbone={backbone}"
        )
    return _sessions[key]
