"""Detection of truncated files, from the length that a container states.

libsndfile silently reads a truncated file with a lower frame count, so the stated length is compared with the size of
the file here. This module reads the chunks of RIFF/WAVE (Microsoft and IBM, 1991), RF64 (EBU Tech 3306), Wave64
(Sony), AIFF-C (Apple, 1991) and CAF (Apple), the header of Sun/NeXT audio, and the pages of Ogg (RFC 3533).
"""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

_OGG_LARGEST_PAGE = 65_307

_MOST_CHUNKS = 10_000
"""Maximum number of chunks before the samples; a gigabyte of empty chunks would take minutes."""


@dataclass(frozen=True)
class _Layout:
    """Chunk layout of a family of containers: a name, a size, and as many bytes of content."""

    first_chunk: int
    name_bytes: int
    size_format: str
    samples_chunk: bytes
    alignment: int = 2
    size_counts_header: bool = False


@dataclass(frozen=True)
class _Samples:
    """Position of the samples, and their size in bytes as stated in the header."""

    start: int
    size: int
    size_bits: int = 32

    @property
    def is_open_ended(self) -> bool:
        """Whether the size is only a placeholder.

        A program that writes to a pipe cannot return to fill in the size. It writes 0, -1, or a maximum size: a value
        at (or less than 8 KiB below) half or all of the range of the field.
        """
        return self.size <= 0 or -self.size % 2 ** (self.size_bits - 1) <= 2**13


_LAYOUTS = {
    b"RIFF": _Layout(12, 4, "<I", b"data"),
    b"RIFX": _Layout(12, 4, ">I", b"data"),
    b"RF64": _Layout(12, 4, "<I", b"data"),
    b"FORM": _Layout(12, 4, ">I", b"SSND"),
    b"caff": _Layout(8, 4, ">q", b"data", alignment=1),
    b"riff": _Layout(40, 16, "<Q", b"data", alignment=8, size_counts_header=True),  # Wave64
}


def missing_bytes(file: BinaryIO) -> int:
    """Number of bytes of samples that the header states but the file lacks; 0 if the header states no size."""
    file_size = os.fstat(file.fileno()).st_size
    file.seek(0)
    if file.read(4) == b"OggS":
        return _missing_from_last_ogg_page(file, file_size)
    samples = _find_samples(file)
    if samples is None or samples.is_open_ended:
        return 0
    return max(0, samples.start + samples.size - file_size)


def completed_wav_header(file: BinaryIO) -> bytes | None:
    """Header of a WAV with a placeholder length of 0, with the true length filled in; None for any other file.

    libsndfile interprets a length of 0 literally and reads nothing, but recognizes other placeholders. An intentionally
    empty data chunk is recognized by the RIFF size, which then matches the file.
    """
    file.seek(0)
    magic, riff_size = struct.unpack("<4sI", file.read(8).ljust(8))
    samples = _find_samples(file)
    if magic != b"RIFF" or samples is None or samples.size != 0:
        return None
    file_size = os.fstat(file.fileno()).st_size
    if file_size == samples.start or samples.start < riff_size + 8 <= file_size:
        return None
    file.seek(0)
    header = file.read(samples.start)
    return header[:-4] + struct.pack("<I", min(file_size - samples.start, 2**32 - 1))


def _find_samples(file: BinaryIO) -> _Samples | None:
    file.seek(0)
    magic = file.read(4)
    if magic in (b".snd", b"dns."):  # Sun/NeXT, which has no chunks
        fields = file.read(8)
        start, size = struct.unpack(">II" if magic == b".snd" else "<II", fields.ljust(8, b"\0"))
        return _Samples(start, size)
    layout = _LAYOUTS.get(magic)
    if layout is None:
        return None

    size_bytes = struct.calcsize(layout.size_format)
    header_bytes = layout.name_bytes + size_bytes
    file_size = os.fstat(file.fileno()).st_size
    position, wide_size = layout.first_chunk, None
    for _ in range(_MOST_CHUNKS):
        if position > file_size:  # an invalid size, which may exceed every possible offset
            return None
        file.seek(position)
        header = file.read(header_bytes)
        if len(header) < header_bytes:
            return None
        (size,) = struct.unpack(layout.size_format, header[layout.name_bytes :])
        size -= header_bytes if layout.size_counts_header else 0
        position += header_bytes
        if header.startswith(layout.samples_chunk):
            if wide_size is not None and size == 2**32 - 1:
                return _Samples(position, wide_size, size_bits=64)
            return _Samples(position, size, size_bits=8 * size_bytes)
        if size < 0:
            return None
        if header.startswith(b"ds64"):  # RF64: RIFF size, size of the data chunk, ... of 8 bytes each
            (wide_size,) = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))
        position += size + -size % layout.alignment
    return None


def _missing_from_last_ogg_page(file: BinaryIO, file_size: int) -> int:
    tail_start = max(0, file_size - _OGG_LARGEST_PAGE)
    file.seek(tail_start)
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return 0
    segment_count_at = page + 26
    if segment_count_at >= len(tail):
        return segment_count_at + 1 - len(tail)
    segments_at = segment_count_at + 1
    body_at = segments_at + tail[segment_count_at]
    page_end = body_at + sum(tail[segments_at:body_at])
    return max(0, page_end - len(tail))
