"""Cache of embeddings of published networks, computed once per machine.

There is one file for each network with its options, and one row for each clip. A clip is recognized by the content of
its recording and by its start and end, independent of splits, labels and file names.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock
from jaxtyping import Float, Int64, UInt8

from audio_lightning.data.loading.clips import Clips
from audio_lightning.data.store.cache import Cache
from audio_lightning.data.store.recordings import IDENTITY_BYTES, digest, locate
from audio_lightning.data.store.rows import read_rows, write_rows

log = logging.getLogger(__name__)

FOLDER = "embeddings"

MOST_BYTES = 4 * 10**9
"""Maximum size of a file; the clips that were embedded first are dropped first."""

MOST_BYTES_OF_ALL = 20 * 10**9
"""Maximum size of all files; the least recently used are deleted first."""

CLIPS_AT_ONCE = 2048
"""Number of clips between writes, so that a killed process loses at most this many."""

SAME = 1e-2
"""Tolerance for embeddings of one clip, relative to the value and to the largest value."""

Compute = Callable[[Int64[np.ndarray, "some"]], Iterator[Float[np.ndarray, "batch values"]]]
"""Function that embeds the clips at given indices, batch by batch."""


def embedded(
    keys: UInt8[np.ndarray, "clips 16"], values: int, compute: Compute, cache: Cache, name: str
) -> Float[np.ndarray, "clips values"]:
    """Embed clips, or reuse cached embeddings.

    One cached clip is embedded again as a check: if the result differs, the program has changed, and all clips are
    embedded again. If the cache cannot be written or locked, nothing is cached.

    Args:
        keys: keys of the clips, see :func:`clip_keys`.
        values: size of an embedding.
        compute: embeds clips that are not in the cache.
        cache: cache whose folder is used.
        name: name of the network with its weights and options, used as file name.
    """
    stored = np.dtype([("key", "u1", IDENTITY_BYTES), ("row", "f4", values)])
    file = cache.root / FOLDER / f"{name}.npy"
    found = np.zeros(len(keys), stored)
    found["key"] = keys

    def fill(new: Int64[np.ndarray, "new"]) -> None:
        done = 0
        for rows in compute(new):
            found["row"][new[done : done + len(rows)]] = rows
            done += len(rows)

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            known = read_rows(file, stored)
            if len(known):
                with suppress(OSError):
                    os.utime(file)  # time of the last use
            place = locate(keys, np.ascontiguousarray(known["key"]))
            held = place >= 0
            if held.any() and not _is_still_so(known["row"][place[held][0]], compute, np.flatnonzero(held)[:1]):
                log.info("%s: the network computes other embeddings than the cached ones, which are dropped", file)
                known, held = known[:0], np.zeros_like(held)
            found["row"][held] = known["row"][place[held]]
            most = max(1, MOST_BYTES // stored.itemsize)
            new = np.flatnonzero(~held)
            for start in range(0, len(new), CLIPS_AT_ONCE):
                some = new[start : start + CLIPS_AT_ONCE]
                fill(some)
                known = np.concatenate([known, found[some]])[-most:]
                write_rows(file, known)
        with suppress(OSError):  # another process may delete the same file
            _make_room(file)
    except (OSError, NotImplementedError) as error:
        log.info("cannot keep embeddings in %s (%s)", file.parent, error)
        fill(np.arange(len(keys)))
    return found["row"]


def _make_room(used: Path) -> None:
    """Delete the least recently used files if all are too large together; never the one in use."""
    files = sorted(kept_in(used.parent), key=lambda file: file.stat().st_mtime, reverse=True)
    files.sort(key=lambda file: file != used)
    total = 0
    for file in files:
        total += file.stat().st_size
        if file != used and total > MOST_BYTES_OF_ALL:
            log.info("%s: deleted to make room for other embeddings", file)
            file.unlink(missing_ok=True)


def _is_still_so(kept: Float[np.ndarray, "values"], compute: Compute, position: Int64[np.ndarray, "1"]) -> bool:
    """Whether a clip still has its cached embedding, within the tolerance for processors and numbers of threads."""
    (fresh,) = np.concatenate(list(compute(position)))
    return bool(np.allclose(fresh, kept, rtol=SAME, atol=SAME * float(np.abs(kept).max())))


def clip_keys(clips: Clips, content: UInt8[np.ndarray, "rows bytes"]) -> UInt8[np.ndarray, "clips 16"]:
    """Keys that identify clips in the cache.

    Args:
        clips: clips of one length and padding.
        content: content digest of each row's recording.
    """
    places = np.stack([clips.offset, clips.length], axis=1).astype("<i8")
    made = [digest(content[row].tobytes() + place.tobytes()) for row, place in zip(clips.row, places)]
    return np.frombuffer(b"".join(made), np.uint8).reshape(len(made), IDENTITY_BYTES)


def kept(cache: Cache) -> list[Path]:
    """Files of cached embeddings."""
    return kept_in(cache.root / FOLDER)


def kept_in(folder: Path) -> list[Path]:
    """Files of cached embeddings in a folder."""
    return sorted(folder.glob("*.npy"))


def clear(cache: Cache) -> int:
    """Delete all cached embeddings; returns the number of deleted bytes."""
    size = 0
    for file in kept(cache):
        size += file.stat().st_size
        file.unlink()
    return size
