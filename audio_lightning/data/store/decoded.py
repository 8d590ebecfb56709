"""Decoded recordings, in memory and in a folder."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int64, Shaped, UInt8

from audio_lightning.audio import SILENCE, resample, to_mono
from audio_lightning.data.store.recordings import IDENTITY_BYTES, Decoded

SampleType = Literal["float32", "int16"]

FULL_SCALE = 1 - 2.0**-14
"""Minimum absolute value of a clipped sample: the last two steps of 16 bits."""

FACTS = np.dtype(
    [
        ("sample_rate", "i4"),
        ("channels", "i2"),
        ("frames", "i8"),
        ("peak", "f4"),
        ("rms", "f4"),
        ("clipped", "f4"),
        ("mean_rms", "f4"),
        ("container", "U8"),
        ("encoding", "U16"),
    ]
)
"""Measurements of a recording. ``sample_rate`` (hertz), ``channels``, ``frames``, ``container`` and ``encoding``
describe its file. ``peak``, ``rms`` and ``clipped`` (share of clipped samples) are over all samples of the used
channels; ``mean_rms`` is the RMS of their mean. Levels are linear; full scale is 1."""


@dataclass(frozen=True)
class DecodedAudio:
    """Mono recordings of any lengths at one sample rate, concatenated without padding.

    Attributes:
        samples: all samples, memory-mapped or in memory; float32, or int16 in units of 1/32,768 of full scale.
        starts: recording ``i`` is ``samples[starts[i]:stops[i]]``.
        stops: see ``starts``.
        content: digest of each recording's original samples, see :func:`content_digest`; zeros if it cannot be read.
        facts: measurements of the source files, of type :data:`FACTS`; zeros if one cannot be read.
        errors: error messages of unreadable recordings, by index; such a recording has no samples.
    """

    samples: Shaped[np.ndarray, "samples"]
    starts: Int64[np.ndarray, "recordings"]
    stops: Int64[np.ndarray, "recordings"]
    content: UInt8[np.ndarray, "recordings 16"]
    facts: Shaped[np.ndarray, "recordings"]
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def hashes(self) -> UInt8[np.ndarray, "recordings 16"]:
        """``content`` with zeros for silence, which may recur without being a copy."""
        return np.where((self.facts["peak"] < SILENCE)[:, None], np.uint8(0), self.content)

    def __getitem__(self, index: int) -> Float[np.ndarray, "samples"]:
        """Samples of one recording as float32; a view if they are stored as float32."""
        return as_float(self.samples[self.starts[index] : self.stops[index]])

    def select(self, recordings: Sequence[int] | np.ndarray) -> "DecodedAudio":
        """Select some of the recordings, which share the samples."""
        index = np.asarray(recordings, dtype=np.int64)
        errors = {place: self.errors[old] for place, old in enumerate(index.tolist()) if old in self.errors}
        return DecodedAudio(
            self.samples, self.starts[index], self.stops[index], self.content[index], self.facts[index], errors
        )


@dataclass(frozen=True)
class Prepared:
    """One recording, ready to be stored."""

    samples: Shaped[np.ndarray, "samples"]
    content: bytes
    facts: Any
    error: str | None = None


def prepare(decoded: Decoded, sample_rate: int, dtype: SampleType) -> Prepared:
    """Mix down and resample a recording, and measure its file."""
    samples = decoded.samples if decoded.used is None else decoded.used
    mono = to_mono(samples)
    peak = max(float(samples.max()), -float(samples.min()))
    flat = samples.reshape(-1)
    facts = np.zeros((), FACTS)
    facts[()] = (
        decoded.sample_rate,
        decoded.samples.shape[1],
        samples.shape[0],
        peak,
        float(np.sqrt(np.dot(flat, flat) / flat.size)),
        np.count_nonzero(np.abs(flat) >= FULL_SCALE) / flat.size if peak >= FULL_SCALE else 0,
        float(np.sqrt(np.dot(mono, mono) / mono.size)),
        decoded.container,
        decoded.encoding,
    )
    mono = np.ascontiguousarray(resample(mono, decoded.sample_rate, sample_rate), dtype=np.float32)
    return Prepared(mono if dtype == "float32" else as_int16(mono), content_digest(decoded), facts[()])


def content_digest(decoded: Decoded) -> bytes:
    """Digest of a recording's samples at its own rate, before mixing down, resampling or rounding.

    It depends neither on the storage format (WAV, FLAC, an array) nor on ``data.sample_rate`` or ``data.cache_dtype``.
    Identical channels count as one.
    """
    samples = decoded.samples
    if samples.shape[1] > 1 and (samples == samples[:, :1]).all():
        samples = samples[:, :1]
    found = hashlib.blake2b(f"{decoded.sample_rate} {samples.shape[1]}\0".encode(), digest_size=IDENTITY_BYTES)
    found.update(np.ascontiguousarray(samples, dtype="<f4").data)
    return found.digest()


def unreadable(error: str, dtype: SampleType) -> Prepared:
    """Entry of an unreadable recording, without samples."""
    return Prepared(np.empty(0, dtype), bytes(IDENTITY_BYTES), np.zeros((), FACTS)[()], error)


def as_float(samples: Shaped[np.ndarray, "samples"]) -> Float[np.ndarray, "samples"]:
    """Convert stored samples to float32."""
    return samples if samples.dtype == np.float32 else samples.astype(np.float32) / 32768


def as_int16(samples: Float[np.ndarray, "samples"]) -> Shaped[np.ndarray, "samples"]:
    """Convert samples to steps of 1/32,768, exact for 16-bit recordings; values beyond full scale are clipped."""
    return np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16)


class SetWriter:
    """Writer of decoded recordings, one after the other, into a folder or into memory.

    Args:
        folder: existing folder to write to; None for memory.
        dtype: type of the samples.
    """

    def __init__(self, folder: Path | None, dtype: SampleType) -> None:
        self._folder, self._dtype = folder, dtype
        self._file = (folder / "samples").open("wb") if folder else None
        self._parts: list[np.ndarray] = []
        self._lengths: list[int] = []
        self._content: list[bytes] = []
        self._facts: list[Any] = []
        self._errors: dict[int, str] = {}
        self.bytes_written = 0

    def add(self, recording: Prepared) -> None:
        """Append a recording."""
        if recording.error is not None:
            self._errors[len(self._lengths)] = recording.error
        if self._file:
            self._file.write(recording.samples.data.cast("B") if len(recording.samples) else b"")
        else:
            self._parts.append(recording.samples)
        self.bytes_written += recording.samples.nbytes
        self._lengths.append(len(recording.samples))
        self._content.append(recording.content)
        self._facts.append(recording.facts)

    def finish(self, **about: Any) -> DecodedAudio | None:
        """Write the index and the properties ``about`` of the set; in memory, return the recordings instead."""
        offsets = np.cumsum([0, *self._lengths], dtype=np.int64)
        content = np.frombuffer(b"".join(self._content), np.uint8).reshape(-1, IDENTITY_BYTES)
        facts = np.array(self._facts, FACTS)
        if self._file is None or self._folder is None:
            samples = np.concatenate(self._parts or [np.empty(0, self._dtype)])
            return DecodedAudio(samples, offsets[:-1], offsets[1:], content, facts, self._errors)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        identities = about.pop("identities")
        np.savez(self._folder / "index.npz", offsets=offsets, content=content, facts=facts, identities=identities)
        (self._folder / "errors.json").write_text(json.dumps(self._errors))
        (self._folder / "about.json").write_text(json.dumps({**about, "dtype": self._dtype}))
        return None

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


def read_set(folder: Path) -> DecodedAudio | None:
    """Memory-map a finished set; None if it is missing or damaged."""
    try:
        with (folder / "index.npz").open("rb") as stored, np.load(stored, allow_pickle=False) as index:
            offsets, content, facts = index["offsets"], index["content"], index["facts"]
        errors = {int(place): error for place, error in json.loads((folder / "errors.json").read_text()).items()}
        dtype = np.dtype(json.loads((folder / "about.json").read_text())["dtype"])
        file = folder / "samples"
        if file.stat().st_size != dtype.itemsize * offsets[-1] or facts.dtype != FACTS:
            return None
        empty = offsets[-1] == 0  # an empty file cannot be mapped
        samples = np.empty(0, dtype) if empty else np.memmap(file, dtype=dtype, mode="r")
    except Exception:  # a damaged zip file raises various exceptions
        return None
    return DecodedAudio(samples, offsets[:-1], offsets[1:], content, facts, errors)


def read_identities(folder: Path) -> UInt8[np.ndarray, "recordings 16"]:
    """Identities of the recordings of a set (:meth:`Recordings.identities`); none if it is damaged."""
    try:
        with (folder / "index.npz").open("rb") as stored, np.load(stored, allow_pickle=False) as index:
            return index["identities"]
    except Exception:  # a damaged zip file raises various exceptions
        return np.empty((0, IDENTITY_BYTES), np.uint8)


def prepared_before(audio: DecodedAudio, index: int) -> Prepared:
    """A stored recording, to be copied to another set."""
    samples = audio.samples[audio.starts[index] : audio.stops[index]]
    return Prepared(samples, audio.content[index].tobytes(), audio.facts[index], audio.errors.get(index))
