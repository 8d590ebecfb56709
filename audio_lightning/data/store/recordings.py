"""Collections of recordings to decode: files, or other storage of a source."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64, UInt8

from audio_lightning.audio import Channel, describe, read, select_channels
from audio_lightning.core.cores import cores
from audio_lightning.core.errors import AudioError

Identity = Literal["stat", "content"]

IDENTITY_BYTES = 16


@dataclass(frozen=True)
class Decoded:
    """A decoded recording, as in its file.

    Attributes:
        samples: float32, where full scale is 1.
        sample_rate: sample rate in hertz.
        container: name of the file format, such as ``"WAV"``.
        encoding: name of the sample format, such as ``"PCM_16"``.
        used: selected channel; None for the mean of all channels.
    """

    samples: Float[np.ndarray, "frames channels"]
    sample_rate: int
    container: str
    encoding: str
    used: Float[np.ndarray, "frames 1"] | None = None


class Recordings:
    """Recordings in separate files.

    Args:
        files: one file per recording.
    """

    def __init__(self, files: Sequence[str | Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def identities(self, by: Identity) -> UInt8[np.ndarray, "recordings 16"]:
        """Digest of each recording, which changes when the recording does.

        Args:
            by: ``"stat"``: path, size and times of change, without reading the file; ``"content"``: the bytes of the
                file, so that moved and copied files are recognized.
        """
        if by == "stat":
            digests = [_stat_digest(file) for file in self.files]
        else:
            with ThreadPoolExecutor(cores()) as pool:
                digests = list(pool.map(_content_digest, self.files))
        return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, IDENTITY_BYTES)

    def decode(self, index: int) -> Decoded:
        """Read one recording.

        Raises:
            AudioError: see :func:`audio_lightning.audio.read`.
        """
        samples, info = read(self.files[index])
        return Decoded(samples, info.sample_rate, info.container, info.encoding)

    def count_channels(self, index: int) -> int:
        """Number of channels of one recording; 1 if it cannot be read."""
        try:
            return describe(self.files[index]).channels
        except AudioError:
            return 1


class OneChannel(Recordings):
    """Recordings with one selected channel each.

    Args:
        recordings: recordings with all their channels.
        channels: channel of each recording, or ``"mean"``.
    """

    def __init__(self, recordings: Recordings, channels: Sequence[Channel]) -> None:
        super().__init__(recordings.files)
        self._recordings = recordings
        self._channels = channels

    def identities(self, by: Identity) -> UInt8[np.ndarray, "recordings 16"]:
        """Digest of each recording and its channel."""
        found = [
            row.tobytes() if channel == "mean" else digest(row.tobytes() + f"\0{channel}".encode())
            for row, channel in zip(self._recordings.identities(by), self._channels)
        ]
        return np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, IDENTITY_BYTES)

    def decode(self, index: int) -> Decoded:
        """Read one recording, and select its channel.

        Raises:
            AudioError: the recording cannot be read, or has no such channel.
        """
        decoded, channel = self._recordings.decode(index), self._channels[index]
        if channel == "mean":
            return decoded
        return replace(decoded, used=select_channels(decoded.samples, channel, self.files[index]))


def locate(wanted: UInt8[np.ndarray, "wanted 16"], held: UInt8[np.ndarray, "held 16"]) -> Int64[np.ndarray, "wanted"]:
    """Index in ``held`` of each wanted identity; -1 if it is missing."""
    if not len(held):
        return np.full(len(wanted), -1)
    keys, asked = (np.ascontiguousarray(array).view("S16").ravel() for array in (held, wanted))
    order = np.argsort(keys)
    place = order[np.searchsorted(keys, asked, sorter=order).clip(max=len(keys) - 1)]
    return np.where(keys[place] == asked, place, -1)


def stat_text(path: str | Path) -> str:
    """File status as text: size, modification time and inode change time.

    Only the system can set the inode change time, so that a changed file is detected even if its size and modification
    time were restored, as by ``rsync -t``, ``touch -r`` and archives. On Windows, it is the creation time.
    """
    try:
        stat = os.stat(path)
    except OSError:
        return "missing"
    return f"{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}"


def digest(content: bytes) -> bytes:
    """Digest of :data:`IDENTITY_BYTES` bytes."""
    return hashlib.blake2b(content, digest_size=IDENTITY_BYTES).digest()


def _stat_digest(file: str | Path) -> bytes:
    path = os.fspath(file) if os.path.isabs(file) else os.path.abspath(file)
    return digest(f"{path}\0{stat_text(path)}".encode(errors="surrogateescape"))


def _content_digest(file: str | Path) -> bytes:
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(
                opened, lambda: hashlib.blake2b(digest_size=IDENTITY_BYTES, person=b"content")
            ).digest()
    except OSError:
        return _stat_digest(file)
