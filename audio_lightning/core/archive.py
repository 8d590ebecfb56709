"""Archives of ``torch.save``: a checksum over every byte, and what they unpack to before anything is unpacked.

A checkpoint comes from a disk that may be damaged, or from a stranger. So its bytes are compared with the checksum that
it carries, and its structure is read with sizes in place of tensors, before ``torch.load`` is called.
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
"""Length of a sealed archive's comment, in the two bytes that end an archive without one."""

MOST_VALUES = 10_000
"""Values that an archive of any size may have: fewer than this take no memory worth a refusal."""

DEEPEST = 64
"""Levels of containers within containers; configurations have about six."""

OPCODES = (
    pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT,
    pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE, pickle.EMPTY_DICT,
    pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.APPEND,
    pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET,
    pickle.LONG_BINGET, pickle.GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.BINPERSID,
)  # fmt: skip
"""Instructions of pickle that ``torch.save`` writes; some of the others reserve whatever memory they name."""

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
"""What the elements of a storage are, by the name under which it is pickled."""


class DamagedArchive(Exception):  # noqa: N818 - it is said by whoever knows what the file should have been
    """Bytes are missing, or are not those that were written."""


class RefusedArchive(Exception):  # noqa: N818 - likewise
    """It is whole, and asks for what no checkpoint needs."""


def seal(file: BinaryIO) -> None:
    """Append the SHA-256 of an archive to it, as its comment, which other readers pass over."""
    body = file.seek(-len(SEALED), os.SEEK_END)
    digest = _digest(file, body)
    file.seek(body)
    file.write(SEALED + SEAL + digest)


def check_seal(file: BinaryIO) -> None:
    """Compare an archive with its checksum; one without a seal, of an older version, with the CRC-32 of each record.

    Raises:
        DamagedArchive: they differ, or it is no archive.
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
            raise DamagedArchive(f"the checksum of {damaged} is another")
        return
    body = size - len(SEALED) - len(SEAL) - 64
    if body < 0 or SEALED + SEAL + _digest(file, body) != file.read():
        raise DamagedArchive("its checksum is another, or is missing")


def check_contents(file: BinaryIO) -> None:
    """Refuse an archive that would take more memory than the file has bytes, or that is to call anything.

    Raises:
        DamagedArchive: it is no archive of ``torch.save``.
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
        except Exception as error:  # whatever a damaged stream of instructions makes of the stack
            raise DamagedArchive(f"its structure cannot be read ({type(error).__name__})") from error
    _check_count(contents, max(MOST_VALUES, len(pickled)))


def _digest(file: BinaryIO, length: int) -> bytes:
    """SHA-256 of the first ``length`` bytes, in hexadecimal; the file is left behind them."""
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
    """The containers of a pickle, with None in place of every tensor: nothing is imported, called or allocated.

    It is the one in Python, which can be held to some instructions, and keeps what it memorizes in a dictionary.

    Args:
        pickled: what ``torch.save`` pickled.
        records: size in bytes of the storages, by name.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: handler for code, handler in pickle._Unpickler.dispatch.items() if bytes([code]) in OPCODES
    }
    # The state of an ordered dictionary: versions of modules, which nobody needs here.
    dispatch[pickle.BUILD[0]] = lambda self: self.stack.pop()

    def __init__(self, pickled: bytes, records: Mapping[str, int]) -> None:
        super().__init__(io.BytesIO(pickled))
        self._records = records

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name: plain containers for themselves, a storage's class for the type of its elements."""
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("collections", "Counter"): collections.Counter,  # of schedules with milestones
            ("torch", "Size"): tuple,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            # Tensors with attributes, as FSDP leaves them. To call the types themselves could reserve memory.
            ("torch._tensor", "_rebuild_from_type_v2"): _with_attributes,
            ("torch", "Tensor"): "Tensor",
            ("torch.nn.parameter", "Parameter"): "Parameter",
            # What callbacks and optimizers of others may keep, and torch makes nothing larger of.
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
        """Number of elements of a storage; torch would read past the end of one that is shorter than is said."""
        _, dtype, key, _, elements = pid
        if elements * dtype.itemsize != self._records[key]:
            raise RefusedArchive("it does not hold as many numbers as it says")
        return elements

    def _tensor(self, storage: int, offset: int, shape: Iterable[int], stride: Iterable[int], *_: Any) -> None:
        shape, stride = tuple(shape), tuple(stride)
        count: int = math.prod(shape)
        last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
        if min((offset, *shape, *stride)) < 0 or count > storage or (count and last >= storage):
            raise RefusedArchive("it would unpack to more than the file holds")


def _nothing(*_: Any) -> None:
    """Stands for a call whose result is of no interest; its arguments have been looked at."""


def _with_attributes(rebuild: Callable[..., Any], _: str, arguments: Iterable[Any], attributes: Any) -> Any:
    """The attributes in place of the tensor, which is looked at as any other."""
    rebuild(*arguments)
    return attributes


def _check_count(contents: Any, most: int) -> None:
    """Refuse containers that are in one another so often, or so deep, that whoever goes through them never ends."""
    level, count = [contents], 0
    for _ in range(DEEPEST):
        count += len(level)
        if count > most:
            break
        level = [value for container in level for value in _values(container)]
        if not level:
            return
    raise RefusedArchive("its containers hold one another too often")


def _values(container: Any) -> Iterable[Any]:
    if isinstance(container, dict):
        return (*container, *container.values())
    return container if isinstance(container, (list, tuple)) else ()
