"""What published networks made of clips, computed once on a machine.

A file for each network, with its options; a row for each clip, found again by the content of its recording and by where
it begins and ends, so that other divisions, labels and names of the recordings find it, too.
"""

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock
from jaxtyping import Float, Int64, Shaped, UInt8

from audio_lightning.core.files import write_bytes
from audio_lightning.data.loading.clips import Clips
from audio_lightning.data.store.cache import Cache
from audio_lightning.data.store.recordings import IDENTITY_BYTES, digest, locate

log = logging.getLogger(__name__)

FOLDER = "embeddings"

MOST_BYTES = 4 * 10**9
"""Of a file; the clips that were embedded first go first."""

CLIPS_AT_ONCE = 2048
"""Clips after which what was embedded is kept, so that a kill loses no more."""

Compute = Callable[[Int64[np.ndarray, "some"]], Iterator[Float[np.ndarray, "batch values"]]]
"""Embeds the clips at some positions, batch by batch."""


def embedded(
    keys: UInt8[np.ndarray, "clips 16"], values: int, compute: Compute, cache: Cache, name: str
) -> Float[np.ndarray, "clips values"]:
    """Embed clips, or find them embedded already.

    Where nothing can be written, or locked, all are embedded and nothing is kept.

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
            known = _read(file, stored)
            place = locate(keys, np.ascontiguousarray(known["key"]))
            held = place >= 0
            found["row"][held] = known["row"][place[held]]
            most = max(1, MOST_BYTES // stored.itemsize)
            new = np.flatnonzero(~held)
            for start in range(0, len(new), CLIPS_AT_ONCE):
                some = new[start : start + CLIPS_AT_ONCE]
                fill(some)
                known = np.concatenate([known, found[some]])[-most:]
                _write(file, known)
    except (OSError, NotImplementedError) as error:
        log.info("cannot keep embeddings in %s (%s)", file.parent, error)
        fill(np.arange(len(keys)))
    return found["row"]


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
    return sorted((cache.root / FOLDER).glob("*.npy"))


def clear(cache: Cache) -> int:
    """Remove all embeddings; returns the number of bytes."""
    size = 0
    for file in kept(cache):
        size += file.stat().st_size
        file.unlink()
    return size


def _read(file: Path, stored: np.dtype) -> Shaped[np.ndarray, "known"]:
    try:
        known = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # there is none yet, or it is damaged
        return np.empty(0, stored)
    return known if known.dtype == stored and known.ndim == 1 else np.empty(0, stored)


def _write(file: Path, known: Shaped[np.ndarray, "known"]) -> None:
    content = io.BytesIO()
    np.save(content, known)
    write_bytes(file, content.getvalue())
