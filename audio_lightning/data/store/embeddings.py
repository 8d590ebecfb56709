"""What published networks made of clips, computed once on a machine.

A file for each network, with its options; a row for each clip, found again by the content of its recording and by where
it begins and ends, so that other divisions, labels and names of the recordings find it, too.
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
"""Of a file; the clips that were embedded first go first."""

MOST_BYTES_OF_ALL = 20 * 10**9
"""Of all files; those that were used longest ago go first."""

CLIPS_AT_ONCE = 2048
"""Clips after which what was embedded is kept, so that a kill loses no more."""

SAME = 1e-2
"""Share of a value, and of the largest one, by which embeddings of a clip may differ by chance."""

Compute = Callable[[Int64[np.ndarray, "some"]], Iterator[Float[np.ndarray, "batch values"]]]
"""Embeds the clips at some positions, batch by batch."""


def embedded(
    keys: UInt8[np.ndarray, "clips 16"], values: int, compute: Compute, cache: Cache, name: str
) -> Float[np.ndarray, "clips values"]:
    """Embed clips, or find them embedded already.

    One of those that are known is embedded again: where it comes out otherwise, the program is another one than that
    which kept them, and all are embedded anew. Where nothing can be written, or locked, nothing is kept.

    Args:
        keys: of the clips, see :func:`clip_keys`.
        values: of an embedding.
        compute: embeds those that are not known.
        cache: says where embeddings are kept.
        name: of the network, its weights and its options, for a file.
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
                    os.utime(file)  # says when it was used last
            place = locate(keys, np.ascontiguousarray(known["key"]))
            held = place >= 0
            if held.any() and not _is_still_so(known["row"][place[held][0]], compute, np.flatnonzero(held)[:1]):
                log.info("%s: the network gives other embeddings than those that are kept", file)
                known, held = known[:0], np.zeros_like(held)
            found["row"][held] = known["row"][place[held]]
            most = max(1, MOST_BYTES // stored.itemsize)
            new = np.flatnonzero(~held)
            for start in range(0, len(new), CLIPS_AT_ONCE):
                some = new[start : start + CLIPS_AT_ONCE]
                fill(some)
                known = np.concatenate([known, found[some]])[-most:]
                write_rows(file, known)
        with suppress(OSError):  # another process makes room, too
            _make_room(file)
    except (OSError, NotImplementedError) as error:
        log.info("cannot keep embeddings in %s (%s)", file.parent, error)
        fill(np.arange(len(keys)))
    return found["row"]


def _make_room(used: Path) -> None:
    """Remove the files that were used longest ago, where all are too many bytes; never the one in use."""
    files = sorted(kept_in(used.parent), key=lambda file: file.stat().st_mtime, reverse=True)
    files.sort(key=lambda file: file != used)
    total = 0
    for file in files:
        total += file.stat().st_size
        if file != used and total > MOST_BYTES_OF_ALL:
            log.info("%s: removed, to make room for other embeddings", file)
            file.unlink(missing_ok=True)


def _is_still_so(kept: Float[np.ndarray, "values"], compute: Compute, position: Int64[np.ndarray, "1"]) -> bool:
    """Whether a clip is embedded as it was, up to what processors and numbers of threads make of it."""
    (fresh,) = np.concatenate(list(compute(position)))
    return bool(np.allclose(fresh, kept, rtol=SAME, atol=SAME * float(np.abs(kept).max())))


def clip_keys(clips: Clips, content: UInt8[np.ndarray, "rows bytes"]) -> UInt8[np.ndarray, "clips 16"]:
    """What clips are found again by.

    Args:
        clips: of one length and padding.
        content: digest of the recording of every row.
    """
    places = np.stack([clips.offset, clips.length], axis=1).astype("<i8")
    made = [digest(content[row].tobytes() + place.tobytes()) for row, place in zip(clips.row, places)]
    return np.frombuffer(b"".join(made), np.uint8).reshape(len(made), IDENTITY_BYTES)


def kept(cache: Cache) -> list[Path]:
    """Files of embeddings."""
    return kept_in(cache.root / FOLDER)


def kept_in(folder: Path) -> list[Path]:
    """Files of embeddings in a folder."""
    return sorted(folder.glob("*.npy"))


def clear(cache: Cache) -> int:
    """Remove all embeddings; returns the number of bytes."""
    size = 0
    for file in kept(cache):
        size += file.stat().st_size
        file.unlink()
    return size
