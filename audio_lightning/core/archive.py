"""Integrity and safety checks of ``torch.save`` archives, made before ``torch.load`` is called.

A checkpoint may be damaged, or come from a stranger. :func:`check_seal` compares its bytes with the checksum that it
carries. :func:`check_contents` reads its pickle with storage sizes in place of tensors, and refuses an archive that
would unpack to more than the file holds.
"""

import collections
import hashlib
import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, ClassVar

import torch

SEAL = b"sha256:"
SEALED = struct.pack("<H", len(SEAL) + 64)
"""Length of a sealed archive's ZIP comment: the last field of the archive, two zero bytes if there is no comment."""

MOST_VALUES = 10_000
"""Number of values that any archive may hold; a larger pickle may hold one value per byte."""

DEEPEST = 64
"""Maximum depth of nested containers; configurations have about six levels."""

OPCODES = (
    pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT,
    pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE, pickle.EMPTY_DICT,
    pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.APPEND,
    pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET,
    pickle.LONG_BINGET, pickle.GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.BINPERSID,
)  # fmt: skip
"""Pickle opcodes that ``torch.save`` writes; some other opcodes allocate as much memory as their argument states."""

STORAGES = {
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
"""Data types of storages, by the class name under which they are pickled."""


class DamagedArchive(Exception):  # noqa: N818 - the caller, who knows the file's purpose, reports it as an error
    """Bytes are missing, or differ from the bytes that were written."""


class RefusedArchive(Exception):  # noqa: N818 - as DamagedArchive
    """The archive is intact, but contains something that no checkpoint needs."""


def seal(file: BinaryIO) -> None:
    """Append the SHA-256 of an archive to it, as its ZIP comment, which other readers ignore."""
    body = file.seek(-len(SEALED), os.SEEK_END)
    digest = _digest(file, body)
    file.seek(body)
    file.write(SEALED + SEAL + digest)


def check_seal(file: BinaryIO) -> None:
    """Compare an archive with its SHA-256 seal; without a seal (older versions), with the CRC-32 of each record.

    Raises:
        DamagedArchive: the checksums differ, or the file is not an archive.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 22))
    if file.read(4) == b"PK\5\6":  # the end of an archive without a comment
        with _opened(file) as archive:
            try:
                damaged = archive.testzip()
            except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
                raise DamagedArchive(str(error)) from error
        if damaged is not None:
            raise DamagedArchive(f"the checksum of {damaged} does not match")
        return
    body = size - len(SEALED) - len(SEAL) - 64
    if body < 0 or SEALED + SEAL + _digest(file, body) != file.read():
        raise DamagedArchive("its checksum does not match, or is missing")


def check_contents(file: BinaryIO) -> None:
    """Refuse an archive that would take more memory than the file has bytes, or whose pickle would call a function.

    Raises:
        DamagedArchive: the file is not an archive of ``torch.save``.
        RefusedArchive: it is one, and must not be loaded.
    """
    size = file.seek(0, os.SEEK_END)
    with _opened(file) as archive:
        entries = archive.infolist()
        sizes = {entry.filename: entry.file_size for entry in entries}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(sizes.values()) > size:
            raise RefusedArchive("it would unpack to more than the file holds")
        if len(sizes) < len(entries):
            raise RefusedArchive("it holds two records of one name")
        root = entries[0].filename.partition("/")[0] if entries else ""
        try:
            pickled = archive.read(f"{root}/data.pkl")
            contents = _Structure(pickled, {name.removeprefix(f"{root}/data/"): sizes[name] for name in sizes}).load()
        except RefusedArchive:
            raise
        except Exception as error:  # a damaged opcode stream can raise anything
            raise DamagedArchive(f"its structure cannot be read ({type(error).__name__})") from error
    _check_count(contents, max(MOST_VALUES, len(pickled)))


def _digest(file: BinaryIO, length: int) -> bytes:
    """SHA-256 of the first ``length`` bytes, in hexadecimal; leaves the file positioned after them."""
    found = hashlib.sha256()
    file.seek(0)
    while length > 0 and (block := file.read(min(length, 2**20))):
        found.update(block)
        length -= len(block)
    return found.hexdigest().encode()


def _opened(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DamagedArchive(str(error)) from error


class _Structure(pickle._Unpickler):
    """Unpickler that builds containers with None in place of tensors, and imports, calls and allocates nothing.

    It derives from Python's pure-Python unpickler, whose opcodes can be restricted, and whose memo is a dictionary.

    Args:
        pickled: the content of ``data.pkl``.
        records: size of each storage in bytes, by name.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: handler for code, handler in pickle._Unpickler.dispatch.items() if bytes([code]) in OPCODES
    }
    # The state of an ordered dictionary (module versions in a state_dict) is not needed here.
    dispatch[pickle.BUILD[0]] = lambda self: self.stack.pop()

    def __init__(self, pickled: bytes, records: Mapping[str, int]) -> None:
        super().__init__(io.BytesIO(pickled))
        self._records = records

    def find_class(self, module: str, name: str) -> Any:
        """Return a replacement for a global: plain containers unchanged, the data type for a storage class."""
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("collections", "Counter"): collections.Counter,  # the milestones of MultiStepLR
            ("torch", "Size"): tuple,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            # Tensors with attributes, as FSDP leaves them. Calling the types could allocate memory.
            ("torch._tensor", "_rebuild_from_type_v2"): _with_attributes,
            ("torch", "Tensor"): "Tensor",
            ("torch.nn.parameter", "Parameter"): "Parameter",
            # Values of third-party callbacks and optimizers; they take no more memory than their pickle.
            ("torch._utils", "_rebuild_parameter"): _nothing,
            ("torch", "device"): _nothing,
            ("__builtin__", "complex"): _nothing,
            ("__builtin__", "set"): list,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and isinstance(found := STORAGES.get(name, getattr(torch, name, None)), torch.dtype):
            return found
        raise RefusedArchive(
            "it holds Python objects, whose loading could run code; a checkpoint of this program holds tensors and "
            "plain values only"
        )

    def persistent_load(self, pid: Any) -> int:
        """Return the number of elements of a storage. Its record must have that size: torch would read past its end."""
        _, dtype, key, _, elements = pid
        if elements * dtype.itemsize != self._records[key]:
            raise RefusedArchive("it does not hold as many numbers as it states")
        return elements

    def _tensor(self, storage: int, offset: int, shape: Iterable[int], stride: Iterable[int], *_: Any) -> None:
        shape, stride = tuple(shape), tuple(stride)
        count: int = math.prod(shape)
        last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
        if min((offset, *shape, *stride)) < 0 or count > storage or (count and last >= storage):
            raise RefusedArchive("it would unpack to more than the file holds")


def _nothing(*_: Any) -> None:
    """Stand-in for a call whose result is not needed; its arguments have been checked already."""


def _with_attributes(rebuild: Callable[..., Any], _: str, arguments: Iterable[Any], attributes: Any) -> Any:
    """Check the tensor like any other, and return its attributes in its place."""
    rebuild(*arguments)
    return attributes


def _check_count(contents: Any, most: int) -> None:
    """Refuse containers nested so deep, or referenced so often, that a traversal would not end.

    The limits are ``DEEPEST`` levels and ``most`` values, shared containers counted each time.
    """
    level, count = [contents], 0
    for _ in range(DEEPEST):
        count += len(level)
        if count > most:
            break
        level = [value for container in level for value in _values(container)]
        if not level:
            return
    raise RefusedArchive("its containers are nested too deep, or refer to one another too often")


def _values(container: Any) -> Iterable[Any]:
    if isinstance(container, dict):
        return (*container, *container.values())
    return container if isinstance(container, (list, tuple)) else ()
