"""Cache of decoded recordings in memory-mapped sets, which later runs reuse.

A set is a folder named after its content: the identity of every recording, the sample rate and the sample type. It is
written under a temporary name and renamed when complete, so a killed process leaves nothing that looks like a finished
set. One process builds at a time, while others wait and then share the result. If recordings were added or changed,
the others are copied from an earlier set; if recordings were removed, the earlier set is used as it is.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Int64, UInt8
from platformdirs import user_cache_path

from audio_lightning.audio.ffmpeg import is_outdated
from audio_lightning.core.cores import cores, in_order
from audio_lightning.core.errors import AudioError, DataError, FileError
from audio_lightning.core.files import read_json
from audio_lightning.core.messages import print_and_log
from audio_lightning.data.store.decoded import (
    DecodedAudio,
    Prepared,
    SampleType,
    SetWriter,
    prepare,
    prepared_before,
    read_identities,
    read_set,
    unreadable,
)
from audio_lightning.data.store.recordings import Identity, OneChannel, Recordings, digest, locate

log = logging.getLogger(__name__)

FORMAT_VERSION = 3
GB = 10**9
PARTIAL = ".partial-"
BYTES_BETWEEN_CHECKS = 2**26
"""Bytes written between checks of the maximum size."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DecodedSet:
    """A set in the cache.

    Attributes:
        folder: folder of the set.
        about: properties of the set: ``root`` (common folder of the recordings), ``sample_rate`` in hertz, ``dtype``,
            ``recordings`` (their number), ``seconds`` (total duration), ``created`` (in seconds since 1970) and
            ``format``.
        bytes: size on disk.
        used: time of the last use, in seconds since 1970.
    """

    folder: Path
    about: dict[str, Any]
    bytes: int
    used: float


@dataclass(frozen=True)
class Cache:
    """Cache of decoded recordings in a folder.

    Args:
        root: folder of the cache, created when needed.
        max_gb: maximum size of the decoded sets in gigabytes (10^9 bytes); the least recently used are deleted first.
        dtype: type of the samples. ``int16`` halves the size, is exact for 16-bit recordings that are not resampled,
            rounds others to 16 bits, and clips samples beyond full scale.
        identity: how a cached recording is recognized, see :meth:`Recordings.identities`.
    """

    root: Path
    max_gb: float = 100.0
    dtype: SampleType = "float32"
    identity: Identity = "stat"

    @property
    def folder(self) -> Path:
        """Folder of the sets."""
        return self.root / "decoded"

    def decode(self, recordings: Recordings, sample_rate: int, *, progress: Progress | None = None) -> DecodedAudio:
        """Decode recordings, or reuse decoded ones.

        If the folder cannot be written or the disk is full, the samples stay in memory for this run.

        Args:
            recordings: recordings to decode.
            sample_rate: rate in hertz to which they are resampled.
            progress: callback with the number of finished recordings and the total.

        Raises:
            DataError: the recordings need more than ``max_gb``.
        """
        identities = recordings.identities(self.identity)
        if (found := self._find(identities, sample_rate)) is not None:
            return found
        try:
            with self._building():
                # Another process may have built it in the meantime.
                if (found := self._find(identities, sample_rate)) is not None:
                    return found
                return self._build(recordings, identities, sample_rate, progress)
        except OSError as error:
            log.warning(
                "cannot write decoded recordings to %s (%s); they stay in memory for this run; set another folder by "
                "data.cache_dir or AUDIO_LIGHTNING_CACHE",
                self.root,
                error.strerror or error,
            )
            writer = SetWriter(None, self.dtype)
            for recording in self._prepared(recordings, sample_rate, {}, progress):
                writer.add(recording)
            found = writer.finish()
            assert found is not None
            return found

    def channels(self, recordings: Recordings, sample_rate: int) -> Int64[np.ndarray, "recordings"]:
        """Number of channels of recordings whose first channel is in a set, without opening any file; 0 for others.

        With ``identity="content"`` it is 0 for all, because recognition would need to read each file.
        """
        found = np.zeros(len(recordings), dtype=np.int64)
        if self.identity != "stat" or not len(recordings):
            return found
        first = OneChannel(recordings, [1] * len(recordings)).identities("stat")
        for decoded in self._alike(sample_rate):
            place = locate(first, read_identities(decoded.folder))
            held = place >= 0
            if held.any() and (audio := read_set(decoded.folder)) is not None:
                found[held] = audio.facts["channels"][place[held]]
        return found

    def sets(self) -> list[DecodedSet]:
        """All finished sets, the most recently used first."""
        found = []
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            try:
                if not folder.name.startswith("."):
                    size = sum(file.stat().st_size for file in folder.iterdir())
                    found.append(DecodedSet(folder, read_json(folder / "about.json"), size, folder.stat().st_mtime))
            except (OSError, FileError):  # deleted at this moment, or damaged
                continue
        return sorted(found, key=lambda decoded: -decoded.used)

    def clear(self) -> int:
        """Delete all sets, and partial sets of killed processes; returns the size of the sets in bytes.

        Runs that have a set open keep it until they end.
        """
        with self._building():
            size = sum(decoded.bytes for decoded in self.sets())
            for folder in self.folder.iterdir():
                if folder.is_dir():
                    _remove(folder)
        return size

    def _name(self, identities: UInt8[np.ndarray, "recordings 16"], sample_rate: int) -> str:
        return digest(f"{FORMAT_VERSION} {sample_rate} {self.dtype}\0".encode() + identities.tobytes()).hex()

    def _find(self, identities: UInt8[np.ndarray, "recordings 16"], sample_rate: int) -> DecodedAudio | None:
        exact = self.folder / self._name(identities, sample_rate)
        if _is_current(found := _opened(exact)):
            return found
        for decoded in self._alike(sample_rate):
            if decoded.about["recordings"] > len(identities):
                place = locate(identities, read_identities(decoded.folder))
                if (place >= 0).all() and _is_current(found := _opened(decoded.folder)):
                    return found.select(place)
        return None

    def _alike(self, sample_rate: int) -> list[DecodedSet]:
        """Sets with the same format, sample rate and sample type."""
        kind = (FORMAT_VERSION, sample_rate, self.dtype)
        return [
            decoded
            for decoded in self.sets()
            if tuple(decoded.about.get(key) for key in ("format", "sample_rate", "dtype")) == kind
        ]

    @contextlib.contextmanager
    def _building(self) -> Iterator[None]:
        """Lock the cache for one process; the system releases the lock of a process that dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print_and_log("another process is preparing recordings: waiting for it")
            lock.acquire()
        except NotImplementedError:  # a file system without locks: building twice is slow, but correct
            yield
            return
        try:
            for folder in self.folder.glob(f"{PARTIAL}*"):  # left by a process that was killed
                shutil.rmtree(folder, ignore_errors=True)
            yield
        finally:
            lock.release()

    def _build(
        self,
        recordings: Recordings,
        identities: UInt8[np.ndarray, "recordings 16"],
        sample_rate: int,
        progress: Progress | None,
    ) -> DecodedAudio:
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self.folder))
        writer = SetWriter(partial, self.dtype)
        try:
            earlier = self._earlier(identities, sample_rate)
            room = -1
            for recording in self._prepared(recordings, sample_rate, earlier, progress):
                writer.add(recording)
                if writer.bytes_written > room:
                    self._make_room(writer.bytes_written)
                    room = writer.bytes_written + BYTES_BETWEEN_CHECKS
            self._make_room(writer.bytes_written)
            writer.finish(
                identities=identities,
                format=FORMAT_VERSION,
                root=_common_folder(recordings),
                sample_rate=sample_rate,
                recordings=len(recordings),
                seconds=writer.bytes_written / np.dtype(self.dtype).itemsize / sample_rate,
                created=time.time(),
            )
            folder = self.folder / self._name(identities, sample_rate)
            if folder.exists():  # it could not be opened, so it is damaged
                _remove(folder)
            partial.chmod(0o755)  # mkdtemp creates folders that only their owner can read
            partial.rename(folder)
            found = read_set(folder)
            if found is None:
                raise OSError(f"{folder} differs from the data written to it")
            return found
        finally:
            writer.close()
            shutil.rmtree(partial, ignore_errors=True)

    def _earlier(
        self, identities: UInt8[np.ndarray, "recordings 16"], sample_rate: int
    ) -> dict[int, tuple[DecodedAudio, int]]:
        """Recordings that are in a set already, with their set and index in it."""
        held: dict[int, tuple[DecodedAudio, int]] = {}
        for decoded in self._alike(sample_rate):
            place = locate(identities, read_identities(decoded.folder))
            if (place >= 0).any() and (audio := read_set(decoded.folder)) is not None:
                held |= {
                    index: (audio, int(place[index]))
                    for index in np.flatnonzero(place >= 0).tolist()
                    if not is_outdated(audio.errors.get(int(place[index]), ""))
                }
        return held

    def _prepared(
        self,
        recordings: Recordings,
        sample_rate: int,
        earlier: dict[int, tuple[DecodedAudio, int]],
        progress: Progress | None,
    ) -> Iterator[Prepared]:
        """Prepare every recording, in order, in threads: decoding and resampling release the interpreter lock."""

        def one(index: int) -> Prepared:
            if index in earlier:
                return prepared_before(*earlier[index])
            try:
                return prepare(recordings.decode(index), sample_rate, self.dtype)
            except AudioError as error:
                return unreadable(str(error), self.dtype)

        for index, recording in enumerate(in_order(one, range(len(recordings)), cores())):
            yield recording
            if progress is not None:
                progress(index + 1, len(recordings))

    def _make_room(self, needed: int) -> None:
        """Delete the least recently used sets until ``needed`` bytes fit into the maximum size."""
        most = self.max_gb * GB
        if needed > most:
            raise DataError(
                f"the decoded recordings need more than data.cache_max_gb={self.max_gb:g}; raise it, lower "
                f"data.sample_rate, or halve the size with data.cache_dtype=int16"
            )
        others = self.sets()
        total = needed + sum(decoded.bytes for decoded in others)
        while total > most and others:
            oldest = others.pop()
            log.info("data.cache_max_gb=%g: removing %s (%s)", self.max_gb, oldest.folder, oldest.about.get("root"))
            _remove(oldest.folder)
            total -= oldest.bytes


def default_cache_dir() -> Path:
    """Default cache folder: ``$AUDIO_LIGHTNING_CACHE``, or the user's cache folder."""
    named = os.environ.get("AUDIO_LIGHTNING_CACHE")
    return Path(named).expanduser() if named else user_cache_path("audio-lightning")


def _opened(folder: Path) -> DecodedAudio | None:
    found = read_set(folder)
    if found is not None:
        with contextlib.suppress(OSError):  # a read-only cache of another user
            os.utime(folder)
    return found


def _is_current(found: DecodedAudio | None) -> TypeGuard[DecodedAudio]:
    """Whether a set can be used: not if recordings are missing for lack of ffmpeg, which is installed now."""
    return found is not None and not any(map(is_outdated, found.errors.values()))


def _remove(folder: Path) -> None:
    """Delete a set in one step, so that no process opens a part of it."""
    doomed = folder.with_name(f"{PARTIAL}{folder.name}")
    try:
        folder.rename(doomed)
    except OSError:
        doomed = folder
    shutil.rmtree(doomed, ignore_errors=True)


def _common_folder(recordings: Recordings) -> str:
    try:
        folders = {os.path.dirname(os.path.abspath(file)) for file in recordings.files}
        return os.path.commonpath(folders) if folders else ""
    except ValueError:  # files on several drives
        return ""
