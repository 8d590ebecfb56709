"""Recordings decoded once into one memory-mapped array, which later runs find again.

A decoded data set is a folder named after what it was made from (path, size and time of change of every file, and
the sample rate). It is written under another name and renamed when complete, so a killed process leaves nothing that
could be taken for a finished one.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64
from platformdirs import user_cache_path

from audio_lightning.audio import load
from audio_lightning.errors import AudioError

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
SILENCE = 1e-4
"""Peak (of 1.0) below which a recording counts as silence, which may recur: 3 steps of 16 bits."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DecodedAudio:
    """Recordings as mono float32 samples at one rate, of any lengths, one behind the other.

    Attributes:
        samples: all samples, memory-mapped or in memory.
        starts: int64 of shape ``[recordings]``; recording ``i`` is ``samples[starts[i]:stops[i]]``.
        stops: int64 of shape ``[recordings]``.
        hashes: of every recording's samples; None for silence.
        errors: why a recording could not be read, by its position; such a recording has no samples.
    """

    samples: Float[np.ndarray, "samples"]
    starts: Int64[np.ndarray, "recordings"]
    stops: Int64[np.ndarray, "recordings"]
    hashes: list[str | None]
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Float[np.ndarray, "samples"]:
        """The samples of one recording, as a view."""
        return self.samples[self.starts[index] : self.stops[index]]

    def select(self, rows: Sequence[int] | np.ndarray) -> "DecodedAudio":
        """Some of the recordings, over the same samples."""
        errors = {position: self.errors[row] for position, row in enumerate(rows) if row in self.errors}
        hashes = [self.hashes[row] for row in rows]
        return DecodedAudio(self.samples, self.starts[rows], self.stops[rows], hashes, errors)


def default_cache_dir() -> Path:
    """``$AUDIO_LIGHTNING_CACHE``, or else the user's cache folder."""
    named = os.environ.get("AUDIO_LIGHTNING_CACHE")
    return Path(named).expanduser() if named else user_cache_path("audio-lightning")


def decode_all(
    paths: Sequence[Path], sample_rate: int, cache_dir: Path, *, progress: Progress | None = None
) -> DecodedAudio:
    """Decode recordings, or find them decoded by an earlier run.

    Args:
        paths: the recordings.
        sample_rate: rate in hertz to resample to.
        cache_dir: folder that holds decoded data sets. Where it cannot be written, the samples stay in memory.
        progress: called with the number of recordings done and of all.
    """
    folder = cache_dir / "decoded" / _key(paths, sample_rate)
    if (found := _open(folder)) is not None:
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        return _without_cache(error, cache_dir, paths, sample_rate, progress)
    try:
        _write(partial, paths, sample_rate, progress)
        try:
            partial.rename(folder)
        except OSError:  # another process was first, or what is there is damaged
            if _open(folder) is None:
                shutil.rmtree(folder)
                partial.rename(folder)
        found = _open(folder)
        assert found is not None
        return found
    except OSError as error:  # the disk is full, say
        return _without_cache(error, cache_dir, paths, sample_rate, progress)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _key(paths: Sequence[Path], sample_rate: int) -> str:
    digest = hashlib.sha256(f"{FORMAT_VERSION} {sample_rate}".encode())
    for path in paths:
        try:
            stat = path.stat()
            digest.update(f"\0{path.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode(errors="surrogateescape"))
        except OSError:
            digest.update(f"\0{path.absolute()}\0missing".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _open(folder: Path) -> DecodedAudio | None:
    try:
        facts = json.loads((folder / "recordings.json").read_text())
        offsets = np.array(facts["offsets"], dtype=np.int64)
        file = folder / "samples.f32"
        if file.stat().st_size != 4 * offsets[-1]:
            return None
        empty = offsets[-1] == 0  # which cannot be mapped
        samples = np.empty(0, np.float32) if empty else np.memmap(file, dtype=np.float32, mode="r")
    except (OSError, ValueError, KeyError):
        return None
    errors = {int(index): error for index, error in facts["errors"].items()}
    return DecodedAudio(samples, offsets[:-1], offsets[1:], facts["hashes"], errors)


def _write(folder: Path, paths: Sequence[Path], sample_rate: int, progress: Progress | None) -> None:
    offsets, hashes, errors = [0], [], {}
    with (folder / "samples.f32").open("wb") as file:
        for index, (samples, error) in enumerate(_decoded(paths, sample_rate)):
            file.write(samples.tobytes())
            offsets.append(offsets[-1] + len(samples))
            hashes.append(_hash(samples))
            if error is not None:
                errors[index] = error
            if progress is not None:
                progress(index + 1, len(paths))
        file.flush()
        os.fsync(file.fileno())
    facts = {"offsets": offsets, "hashes": hashes, "errors": errors}
    (folder / "recordings.json").write_text(json.dumps(facts))


def _without_cache(
    error: OSError, cache_dir: Path, paths: Sequence[Path], sample_rate: int, progress: Progress | None
) -> DecodedAudio:
    """A run without a cache is slower, not wrong."""
    log.warning(
        "cannot keep decoded recordings in %s (%s): they are held in memory for this run; "
        "data.cache_dir or AUDIO_LIGHTNING_CACHE names another folder",
        cache_dir,
        error.strerror or error,
    )
    return _in_memory(paths, sample_rate, progress)


def _in_memory(paths: Sequence[Path], sample_rate: int, progress: Progress | None) -> DecodedAudio:
    parts, errors = [], {}
    for index, (samples, error) in enumerate(_decoded(paths, sample_rate)):
        parts.append(samples)
        if error is not None:
            errors[index] = error
        if progress is not None:
            progress(index + 1, len(paths))
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    samples = np.concatenate(parts or [np.empty(0, np.float32)])
    return DecodedAudio(samples, offsets[:-1], offsets[1:], [*map(_hash, parts)], errors)


def _decoded(paths: Sequence[Path], sample_rate: int) -> Iterator[tuple[Float[np.ndarray, "samples"], str | None]]:
    """Samples of every path in order, or none and the reason. Threads suffice: decoding releases the lock."""

    def one(path: Path) -> tuple[Float[np.ndarray, "samples"], str | None]:
        try:
            return load(path, sample_rate), None
        except AudioError as error:
            return np.empty(0, np.float32), str(error)

    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        # In blocks, so that what is decoded and not yet written is bounded.
        for start in range(0, len(paths), 16 * workers):
            yield from pool.map(one, paths[start : start + 16 * workers])


def _hash(samples: Float[np.ndarray, "samples"]) -> str | None:
    if not len(samples) or float(np.abs(samples).max()) < SILENCE:
        return None
    return hashlib.sha1(np.ascontiguousarray(samples).tobytes()).hexdigest()
