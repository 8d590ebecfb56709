"""Open recordings whose header and samples are checked while they are read."""

import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import soundfile
from jaxtyping import Float

from audio_lightning.audio.container import completed_wav_header, missing_bytes
from audio_lightning.audio.ffmpeg import decode_to_file
from audio_lightning.audio.formats import ffmpeg_demuxer, libsndfile_name, read_header
from audio_lightning.audio.mpeg import count_mpeg_samples
from audio_lightning.core.errors import AudioError

MIN_SAMPLE_RATE = 1_000

MAX_SAMPLE = 2.0**31
"""Maximum absolute value of a sample, where full scale is 1. 32-bit integers written as floats reach it. Larger values
are not sound, and the power of their spectrum could overflow float32."""
# After a seek, the decoders of MP3 and Vorbis lack the state of earlier frames, and libsndfile returns wrong samples:
# off by half of full scale, and correct only if decoding starts 4,608 frames earlier.
_DECODERS_WITH_MEMORY = {"MP3", "OGG"}
_PREROLL_FRAMES = 16_384
_SKIP_FRAMES = 65_536

_UNKNOWN_LENGTH = 2**63 - 1


@dataclass(frozen=True)
class AudioInfo:
    """Properties of a recording, from its header.

    Attributes:
        path: the file.
        sample_rate: sample rate in hertz.
        channels: number of channels.
        frames: number of samples per channel.
        container: libsndfile's name of the file format, e.g. ``"WAV"``, or ffmpeg's, e.g. ``"MOV"``.
        encoding: libsndfile's name of the sample format, e.g. ``"PCM_16"``, or ``"ffmpeg"``.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int
    container: str
    encoding: str

    @property
    def duration_seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.sample_rate


def describe(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header of a recording, without decoding it.

    The length is exact, also for an MP3 that does not state it (its frames are counted).

    Raises:
        AudioError: the file is missing, unreadable, empty, not a recording, or shorter than its header states.
    """
    with Recording(path) as recording:
        return recording.info


class Recording:
    """Open recording for sequential reading; a context manager.

    Args:
        path: the file, in any format that libsndfile reads, or ffmpeg if it is installed.

    Attributes:
        info: properties from its header.

    Raises:
        AudioError: on opening, if the file is missing, unreadable, empty, not a recording, or shorter than its header
            states.
    """

    info: AudioInfo

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._position = 0
        self._file, frames = _open(self._path)
        self.info = AudioInfo(
            path=self._path,
            sample_rate=self._file.samplerate,
            channels=self._file.channels,
            frames=frames,
            container=self._file.container or self._file.format,
            encoding="ffmpeg" if self._file.container else self._file.subtype,
        )

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def require_sound(self) -> None:
        """Refuse a recording without frames, or with an implausibly low sample rate.

        Raises:
            AudioError: the recording is refused.
        """
        if self.info.frames == 0:
            raise AudioError(f"{self._path}: holds a header but no frames; replace the file or leave it out")
        if self.info.sample_rate < MIN_SAMPLE_RATE:
            raise AudioError(
                f"{self._path}: has a sample rate of {self.info.sample_rate} Hz, expected at least "
                f"{MIN_SAMPLE_RATE} Hz; export the file again, or leave it out"
            )

    def seek(self, frame: int) -> None:
        """Skip forward to a frame; the samples that follow equal those of sequential reading from the start.

        Raises:
            AudioError: the recording cannot be decoded up to this frame.
        """
        if self._file.can_seek:
            preroll = _PREROLL_FRAMES if self.info.container in _DECODERS_WITH_MEMORY else 0
            landing = max(self._position, frame - preroll)
            if landing > self._position:
                try:
                    self._position = self._file.seek(landing)
                except soundfile.SoundFileError as error:
                    raise self._undecodable(error) from error
        while self._position < frame:
            self.read(min(_SKIP_FRAMES, frame - self._position))

    def read(self, frames: int) -> Float[np.ndarray, "frames channels"]:
        """Read the next frames as float32, where full scale is 1; float recordings may exceed it and are not clipped.

        Raises:
            AudioError: the recording cannot be decoded, has fewer frames than its header states, or has samples that
                are NaN, infinite or beyond :data:`MAX_SAMPLE`.
        """
        try:
            samples = self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise self._undecodable(error) from error
        if len(samples) < frames:
            raise AudioError(
                f"{self._path}: is truncated: it has {self._position + len(samples):,} frames, its header states "
                f"{self.info.frames:,}; replace the file or leave it out"
            )
        if fault := fault_of(samples, self.info.sample_rate, self._position):
            raise AudioError(f"{self._path}: {fault}; export the file again or leave it out")
        self._position += frames
        return samples

    def _undecodable(self, error: Exception) -> AudioError:
        seconds = self._position / self.info.sample_rate
        return AudioError(
            f"{self._path}: cannot be decoded from {seconds:.3f} s on ({_reason(error)}), it is damaged or truncated; "
            "replace the file or leave it out"
        )


def fault_of(samples: Float[np.ndarray, "frames channels"], sample_rate: int, position: int = 0) -> str | None:
    """Describe invalid samples (NaN, infinite or beyond :data:`MAX_SAMPLE`); None if all are valid.

    Args:
        samples: float32, where full scale is 1.
        sample_rate: sample rate in hertz.
        position: index of the first frame in the recording.
    """
    if not samples.size or (samples.min() >= -MAX_SAMPLE and samples.max() <= MAX_SAMPLE):  # false for NaN
        return None
    finite = np.isfinite(samples)
    usable = finite if not finite.all() else np.abs(samples) <= MAX_SAMPLE
    seconds = (position + int(np.argmin(usable.all(axis=1)))) / sample_rate
    if not finite.all():
        return f"holds NaN or infinite samples, the first at {seconds:.3f} s"
    peak = float(np.abs(samples).max())
    return f"holds samples of up to {peak:.3g} times full scale, the first beyond {MAX_SAMPLE:.3g} at {seconds:.3f} s"


def _open(path: Path) -> tuple["_SoundFile", int]:
    """Open a file; also return its true number of frames."""
    try:
        mode = path.stat().st_mode  # before opening, which would block on a pipe
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise AudioError(f"{path}: is {kind}, expected a recording; name a file")
        file = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: the name contains a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise AudioError(f"{path}: cannot be opened ({reason}); check the path and its permissions") from error
    with file:
        return _open_checked(path, file)


def _open_checked(path: Path, file: BinaryIO) -> tuple["_SoundFile", int]:
    file_size = os.fstat(file.fileno()).st_size
    if file_size == 0:
        raise AudioError(f"{path}: is an empty file (0 bytes), expected a recording; replace it or leave it out")
    if missing := missing_bytes(file):
        raise AudioError(
            f"{path}: is truncated: {missing:,} bytes are missing of the number stated in its header, the file has "
            f"{file_size:,}; replace the file or leave it out"
        )
    if demuxer := ffmpeg_demuxer(read_header(file)):
        decoded = decode_to_file(path, demuxer)
        try:
            sound = _open_with_soundfile(path, decoded)
        except AudioError:
            decoded.close()
            raise
        sound.container, sound.decoded = demuxer.upper(), decoded
        return sound, sound.frames
    sound = _open_with_soundfile(path, libsndfile_name(path))
    frames = sound.frames
    if sound.format == "MP3":
        frames = count_mpeg_samples(file) or frames
        if frames > sound.frames:  # libsndfile stops at its estimate, which padding raises
            padding = file_size * frames // max(1, sound.frames)
            sound = _open_with_soundfile(path, _Patched(file, padding=padding))
    elif header := completed_wav_header(file):
        sound = _open_with_soundfile(path, _Patched(file, beginning=header))
        frames = sound.frames
    if frames == _UNKNOWN_LENGTH:
        raise AudioError(
            f"{path}: does not state its length, as if its encoder had written to a pipe; encode it again to a file"
        )
    return sound, frames


def _open_with_soundfile(path: Path, file: "bytes | Path | _Patched | BinaryIO") -> "_SoundFile":
    try:
        return _SoundFile(file)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless *.raw file
        raise AudioError(
            f"{path}: is not a recording that can be decoded ({_reason(error)}); expected WAV, FLAC, OGG, "
            "OPUS, MP3, AIFF, AU, W64 or CAF, or a format of ffmpeg: M4A, AAC, WMA, WebM"
        ) from error


class _SoundFile(soundfile.SoundFile):
    """SoundFile without the seek that soundfile does after every read of a seekable file.

    The seek goes to the current position, but resets the state of the decoder: an MP3 read in blocks would have wrong
    samples at the beginning of each block.

    Attributes:
        container: container of the file that ffmpeg decoded; empty for other files.
        decoded: temporary file written by ffmpeg, closed together with this one.
    """

    container = ""
    decoded: BinaryIO | None = None

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self.decoded is not None:
                self.decoded.close()

    @property
    def can_seek(self) -> bool:
        return super().seekable()

    def seekable(self) -> bool:
        return False


class _Patched:
    """View of a file for libsndfile: with another header, or apparently longer by zeros at its end."""

    def __init__(self, file: BinaryIO, *, beginning: bytes = b"", padding: int = 0) -> None:
        self._beginning = beginning
        self._file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._size = len(self._file) + padding
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:
        end = min(self._position + count, self._size)
        piece = self._beginning[self._position : end]
        piece += self._file[self._position + len(piece) : end]
        piece = piece.ljust(end - self._position, b"\0")
        self._position += len(piece)
        return piece


def _reason(error: Exception) -> str:
    text = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return text.removeprefix("Error : ").rstrip(".").strip() or "no reason given"
