"""Small ONNX files, written field by field (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

WINDOW, PART, WIDTH = 400, 100, 5

FLOAT, INT16, INT64, DOUBLE = 1, 5, 7, 11

Dims = Sequence[int | str]


def number(value: int) -> bytes:
    """Encode a number as a protocol-buffer varint: seven bits per byte, the lowest first."""
    value &= (1 << 64) - 1
    some = bytearray()
    while value > 127:
        some.append(value & 127 | 128)
        value >>= 7
    return bytes([*some, value])


def message(*fields: tuple[int, int | float | str | bytes]) -> bytes:
    some = b""
    for place, value in fields:
        if isinstance(value, int):
            some += number(place << 3) + number(value)
        elif isinstance(value, float):
            some += number(place << 3 | 5) + struct.pack("<f", value)
        else:
            content = value.encode() if isinstance(value, str) else value
            some += number(place << 3 | 2) + number(len(content)) + content
    return some


def tensor(name: str, values: Any, *more: tuple[int, int | bytes]) -> bytes:
    array = np.asarray(values)
    kind = INT64 if array.dtype.kind == "i" else FLOAT
    raw = array.astype("<i8" if kind == INT64 else "<f4").tobytes()
    return message(*((1, size) for size in array.shape), (2, kind), (8, name), *(more or [(9, raw)]))


def elsewhere(location: str) -> list[tuple[int, int | bytes]]:
    return [(13, message((1, "location"), (2, location))), (14, 1)]


def node(kind: str, inputs: str, outputs: str, *attributes: bytes, domain: str = "") -> bytes:
    names = [*((1, name) for name in inputs.split()), *((2, name) for name in outputs.split())]
    return message(*names, (4, kind), *((5, attribute) for attribute in attributes), (7, domain))


def ints(name: str, *values: int) -> bytes:
    return message((1, name), *((8, value) for value in values), (20, 7))


def whole(name: str, value: int) -> bytes:
    return message((1, name), (3, value), (20, 2))


def value(name: str, dims: Dims | None, kind: int = FLOAT) -> bytes:
    sizes = [(1, message((2 if isinstance(size, str) else 1, size))) for size in dims or ()]
    shape = [] if dims is None else [(2, message(*sizes))]
    return message((1, name), (2, message((1, message((1, kind), *shape)))))


def graph(nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[str | bytes], *constants: bytes) -> bytes:
    return message(
        *((1, node) for node in nodes),
        (2, "graph"),
        *((5, constant) for constant in constants),
        *((11, given) for given in inputs),
        *((12, value(out, None) if isinstance(out, str) else out) for out in outputs),
    )


def model(content: bytes, *more: tuple[int, bytes], domains: Sequence[str] = (), **metadata: str) -> bytes:
    sets = [(8, message((1, domain), (2, 1))) for domain in domains]
    pairs = [(14, message((1, key), (2, text))) for key, text in metadata.items()]
    return message((1, 8), (7, content), (8, message((2, 17))), *sets, *pairs, *more)


WEIGHTS = np.random.RandomState(3).randn(PART, WIDTH).astype(np.float32)
KERNELS = np.random.RandomState(4).randn(6, 1, 160).astype(np.float32)


def windowed(dims: Dims, kind: str = "MatMul", **metadata: str) -> bytes:
    """Network with outputs per window: four frames of five values, their mean, and the index of the loudest frame."""
    return model(
        graph(
            [
                node("Reshape", "wave parts", "cut"),
                node(kind, "cut weights", "frames"),
                node("ReduceMean", "frames", "embeddings", ints("axes", 1), whole("keepdims", 0)),
                node("ArgMax", "embeddings", "loudest", whole("axis", 1)),
            ],
            [value("wave", dims)],
            ["embeddings", "frames", value("loudest", None, INT64)],
            tensor("parts", [-1, WINDOW // PART, PART]),
            tensor("weights", WEIGHTS),
        ),
        **metadata,
    )


def convolved(dims: Dims = ("samples",)) -> bytes:
    """Network for clips of any length: [frames, 6], [1, 6, frames], one value per frame, means, and other outputs."""
    return model(
        graph(
            [
                node("Reshape", "wave row", "rows"),
                node("Conv", "rows kernels", "map", ints("strides", 80)),
                node("Transpose", "map", "turned", ints("perm", 0, 2, 1)),
                node("Squeeze", "turned first", "frames"),
                node("ReduceMean", "frames", "levels", ints("axes", 1), whole("keepdims", 0)),
                node("ReduceMean", "frames", "mean", ints("axes", 0), whole("keepdims", 1)),
                node("Unsqueeze", "map first", "deep"),
                node("MatMul", "map turned", "square"),
                node("MatMul", "turned map", "attention"),
            ],
            [value("wave", dims)],
            ["frames", "map", "levels", "mean", "deep", "square", "attention"],
            tensor("row", [1, 1, -1]),
            tensor("first", [0]),
            tensor("kernels", KERNELS),
        )
    )


def constant(*more: tuple[int, int | bytes]) -> bytes:
    return message((1, "value"), (5, tensor("", [1.0], *more)), (20, 4))


def reaching(where: str, location: str) -> bytes:
    """A network that adds a tensor from another file, referenced in one of many ways."""
    weights = tensor("w", [1.0], *elsewhere(location))
    nodes, constants, more = [node("Add", "wave w", "out")], [], []
    if where == "initializer":
        constants = [weights]
    elif where == "node":
        nodes.insert(0, node("Constant", "", "w", constant(*elsewhere(location))))
    elif where == "branch":
        inner = graph([node("Constant", "", "w", constant(*elsewhere(location)))], [], ["w"])
        branches = [message((1, name), (6, inner), (20, 5)) for name in ("then_branch", "else_branch")]
        constants = [message((2, 9), (8, "yes"), (9, b"\1"))]
        nodes.insert(0, node("If", "yes", "w", *branches))
    elif where == "function":
        body = message(
            (1, "W"), (5, "w"), (7, node("Constant", "", "w", constant(*elsewhere(location)))),
            (9, message((2, 17))), (10, "mine"),
        )  # fmt: skip
        nodes.insert(0, node("W", "", "w", domain="mine"))
        more = [(25, body)]
    elif where == "sparse":
        places = message((1, 1), (2, INT64), (7, b"\0"))
        sparse = message((1, "sparse_value"), (22, message((1, weights), (2, places), (3, 1))), (20, 11))
        nodes.insert(0, node("Constant", "", "w", sparse))
    content = graph(nodes, [value("wave", [1, WINDOW])], ["out"], *constants)
    return model(content, *more, domains=["mine"] if where == "function" else [])
