"""Speech Commands as arrays in one NumPy archive."""

import contextlib
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped, UInt8
from numpy.lib import format as npy

from audio_lightning.audio.recording import MIN_SAMPLE_RATE, fault_of
from audio_lightning.core.errors import AudioError, ConfigError, DataError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.store.recordings import IDENTITY_BYTES, Decoded, Identity, Recordings, digest, stat_text

WAVEFORMS, LABELS = "wav_vals", "label_vals"

ENCODINGS = {"i2": "PCM_16", "f2": "HALF", "f4": "FLOAT", "f8": "DOUBLE"}
"""Supported sample types, with the names of their encodings."""


class SpeechCommandsNPZ(AudioDataModule):
    """Speech Commands in a NumPy archive: clips in the array ``wav_vals``, labels in the array ``label_vals``.

    Clips are ``[clips, samples]`` or ``[clips, samples, 1]``, int16 or float with a full scale of 1; labels are strings
    of shape ``[clips]`` or ``[clips, 1]``. Speakers are unknown, so that one voice may be in several splits, and the
    results state that leakage cannot be excluded. A clip is named ``<file>.npz#<index>``.

    Args:
        root: the ``.npz`` file, or a folder with exactly one.
        stored_sample_rate: sample rate of the clips in hertz.
        **options: see :class:`AudioDataModule`.

    Raises:
        ConfigError: an implausible sample rate.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from audio_lightning.data.sources.speech_commands_npz import SpeechCommandsNPZ
        >>> with tempfile.TemporaryDirectory() as root:
        ...     clips = np.zeros((2, 8000), dtype=np.int16)
        ...     np.savez(Path(root) / "words.npz", wav_vals=clips, label_vals=np.array(["yes", "no"]))
        ...     manifest = SpeechCommandsNPZ(root=root, stored_sample_rate=8000).read()
        >>> manifest.table["path"].tolist(), manifest.table["label"].tolist()
        (['words.npz#0', 'words.npz#1'], ['yes', 'no'])
    """

    def __init__(self, *, root: str, stored_sample_rate: int, **options: Any) -> None:
        super().__init__(root=root, **options)
        if stored_sample_rate < MIN_SAMPLE_RATE:
            raise ConfigError(
                f"data.stored_sample_rate={stored_sample_rate}: expected a rate in hertz, at least {MIN_SAMPLE_RATE}"
            )
        self.stored_sample_rate = stored_sample_rate

    def read(self) -> Manifest:
        """One row per clip; waveforms are not loaded.

        Raises:
            DataError: no archive, missing arrays, arrays of another type or shape, or arrays of different lengths.
        """
        file = self._file()
        labels = _labels(file)
        paths = [f"{file.name}#{index}" for index in range(len(labels))]
        problems = [Problem(path, "has an empty label") for path, label in zip(paths, labels) if not label]
        table = pd.DataFrame({"path": paths, "label": labels})
        table = table[table["label"] != ""]
        return Manifest(file.parent, table, tuple(sorted(set(table["label"]))), problems)

    def missing(self, manifest: Manifest) -> list[Problem]:
        """None, because the manifest lists only clips of the archive."""
        return []

    def recordings(self, paths: Sequence[str]) -> Recordings:
        """Clips with these names; the archive is loaded when the first one is decoded."""
        return ArchivedRecordings(self._file(), paths, self.stored_sample_rate)

    def _file(self) -> Path:
        if not self.root.is_dir():
            return self.root
        files = sorted(path for path in self.root.iterdir() if path.suffix.lower() == ".npz")
        if len(files) != 1:
            found = f"has {len(files)}: {', '.join(file.name for file in files)}" if files else "has none"
            raise DataError(f"{self.root}: expected one .npz file, the folder {found}; set data.root to the file")
        return files[0]


class ArchivedRecordings(Recordings):
    """Rows of the array ``wav_vals``.

    Args:
        file: the ``.npz`` file.
        paths: names of the rows: ``<file>.npz#<index>``.
        sample_rate: sample rate of all rows in hertz.
    """

    def __init__(self, file: Path, paths: Sequence[str], sample_rate: int) -> None:
        super().__init__([file.parent / path for path in paths])
        self._file = file
        self._rows = [int(path.rpartition("#")[2]) for path in paths]
        self._sample_rate = sample_rate
        self._loading = threading.Lock()
        self._loaded: Shaped[np.ndarray, "clips *samples"] | None = None

    def identities(self, by: Identity) -> UInt8[np.ndarray, "recordings 16"]:
        """Digest of each row and its sample rate, from the status of the file, or from the samples themselves."""
        if by == "stat":
            about = f"{self._file.absolute()}\0{stat_text(self._file)}\0{self._sample_rate}"
            digests = [digest(f"{about}\0{row}".encode(errors="surrogateescape")) for row in self._rows]
        else:
            kind = f"{self._waveforms.dtype.str}\0{self._sample_rate}\0".encode()
            digests = [digest(kind + self._waveforms[row].tobytes()) for row in self._rows]
        return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, IDENTITY_BYTES)

    def decode(self, index: int) -> Decoded:
        """Decode one row.

        Raises:
            AudioError: samples that are NaN or infinite.
            DataError: the archive is damaged.
        """
        stored = self._waveforms[self._rows[index]].reshape(-1, 1)
        with np.errstate(over="ignore"):  # values beyond float32 become infinite, which is reported below
            samples = stored.astype(np.float32)
        if stored.dtype.kind == "i":
            samples /= 32768
        if fault := fault_of(samples, self._sample_rate):
            raise AudioError(f"{self.files[index]}: {fault}; write the archive again or leave it out")
        return Decoded(samples, self._sample_rate, "NPZ", ENCODINGS[stored.dtype.str[1:]])

    def count_channels(self, index: int) -> int:
        """One channel for every row."""
        return 1

    @property
    def _waveforms(self) -> Shaped[np.ndarray, "clips *samples"]:
        with self._loading:  # several threads decode, but only one may load the array
            if self._loaded is None:
                self._loaded = _array(self._file, WAVEFORMS)
            return self._loaded


def _labels(file: Path) -> list[str]:
    """Labels of all clips, after checking that every label has a waveform."""
    headers = _headers(file)
    if lacking := [name for name in (WAVEFORMS, LABELS) if name not in headers]:
        found = ", ".join(sorted(headers)) or "none"
        raise DataError(
            f"{file} has no array {' and no '.join(lacking)}; expected {WAVEFORMS} and {LABELS}, found {found}"
        )
    for name in (WAVEFORMS, LABELS):
        if headers[name][1].hasobject:
            raise DataError(
                f"{file}: {name} is an array of Python objects, which need pickle and could run arbitrary code; "
                "save it as an array of numbers or strings"
            )
    (shape, kind), (label_shape, label_kind) = headers[WAVEFORMS], headers[LABELS]
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)) or 0 in shape or kind.str[1:] not in ENCODINGS:
        raise DataError(
            f"{file}: {WAVEFORMS} is {_described(shape, kind)}, expected int16 or float of shape [clips, samples] or "
            "[clips, samples, 1]"
        )
    if label_shape not in ((shape[0],), (shape[0], 1)) or label_kind.kind not in "US":
        raise DataError(
            f"{file}: {LABELS} is {_described(label_shape, label_kind)}, expected a string for each of the {shape[0]} "
            f"clips in {WAVEFORMS}"
        )
    labels = _array(file, LABELS).reshape(-1)
    if label_kind.kind == "S":
        with _reading(file):
            labels = np.char.decode(labels, "utf-8")
    return [label.strip() for label in labels.tolist()]


def _headers(file: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each array, without loading any."""
    headers = {}
    with _reading(file), zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    older = npy.read_magic(member) == (1, 0)
                    shape, _, dtype = (npy.read_array_header_1_0 if older else npy.read_array_header_2_0)(member)
                headers[name.removesuffix(".npy")] = shape, dtype
    return headers


def _array(file: Path, name: str) -> np.ndarray:
    with _reading(file), zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
        return npy.read_array(member, allow_pickle=False)


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; check data.root") from error
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{file} is damaged, or not a .npz file: {error}; restore a copy") from error


def _described(shape: tuple[int, ...], kind: np.dtype) -> str:
    return f"{kind} of shape {list(shape)}"
