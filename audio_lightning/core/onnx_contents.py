"""References of an ONNX file to external data and custom operators, read from its bytes before the runtime opens it.

A file may come with a stranger's checkpoint. Passing it to the runtime as bytes, without a path, is not enough: tensors
may be stored outside of it. Release 1.32 still reads external tensors from the working directory if they are sparse or
in a branch. Releases before 2026 also followed ``..`` from there, and read one special location as an address in the
memory of the process (https://github.com/microsoft/onnxruntime/pull/27430, 28709 and 29011). Such files are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from audio_lightning.core.errors import ConfigError

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator domains that every build of ONNX runtime includes; operators of other domains need custom libraries."""

# Field numbers of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto: messages that may hold tensors or
# nodes.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_DOMAIN = {"node": 7, "function": 10}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


@dataclass
class Contents:
    """Contents of an ONNX file.

    Attributes:
        is_whole: whether all tensors are stored in the file itself.
        domains: operator domains of its nodes.
        own_domains: domains of functions that the file itself defines.
    """

    is_whole: bool = True
    domains: set[str] = field(default_factory=set)
    own_domains: set[str] = field(default_factory=set)


def require_own_contents(content: bytes, name: str) -> None:
    """Refuse a file that needs external data, or operators that the runtime does not include.

    Args:
        content: the bytes of the file.
        name: name of the file, for messages.

    Raises:
        ConfigError: it is not an ONNX file, refers to other files, or has operators of other domains.
    """
    try:
        found = read_contents(content)
    except ValueError as error:
        raise ConfigError(f"{name} is not an ONNX file ({error}); export the network as ONNX") from error
    if not found.is_whole:
        raise ConfigError(
            f"{name} refers to weights in other files, expected all in one; save it with onnx.save(onnx.load(FILE), "
            "FILE, save_as_external_data=False)"
        )
    if foreign := sorted(found.domains - found.own_domains - DOMAINS):
        raise ConfigError(
            f"{name} has operators of the domain {', '.join(foreign)}, expected standard ONNX operators only; export "
            "the network without them"
        )


def read_contents(content: bytes) -> Contents:
    """Parse the structure of an ONNX file; the weights themselves are skipped.

    Raises:
        ValueError: the bytes are not protocol buffers.
    """
    found = Contents()
    waiting = [("model", memoryview(content))]
    while waiting:
        kind, message = waiting.pop()
        for number, value in _fields(message):
            if isinstance(value, int):
                found.is_whole &= not (kind == "tensor" and number == _DATA_LOCATION and value)
            elif inner := _INSIDE[kind].get(number):
                waiting.append((inner, value))
            elif kind == "tensor":
                found.is_whole &= number != _EXTERNAL_DATA
            elif number == _DOMAIN.get(kind):
                domains = found.domains if kind == "node" else found.own_domains
                domains.add(bytes(value).decode())
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value of each field of a protocol-buffer message; a value is an integer or bytes."""
    place = 0
    while place < len(message):
        tag, place = _number(message, place)
        kind = tag & 7
        # Other readers truncate longer tags to 32 bits, and would read a different field.
        if not 8 <= tag < 1 << 32 or kind not in (_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES):
            raise ValueError(f"an unknown field at byte {place}")
        value, place = _number(message, place) if kind in (_VARINT, _LENGTH) else (kind, place)
        if kind == _VARINT:
            yield tag >> 3, value
            continue
        size = value if kind == _LENGTH else 8 if kind == _EIGHT_BYTES else 4
        if size > len(message) - place:
            raise ValueError("it ends too early")
        if kind == _LENGTH:
            yield tag >> 3, message[place : place + size]
        place += size


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """Decode the varint at a position; return its value and the position after it."""
    number = 0
    for index in range(10):
        if place + index >= len(message):
            raise ValueError("it ends too early")
        byte = message[place + index]
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number, place + index + 1
    raise ValueError(f"no number at byte {place}")
