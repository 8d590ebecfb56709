"""Odd recordings that must be read correctly, and damaged ones that must be refused.

The keys are file names; `write(folder / name)` makes the file. Any room's tests may use them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Expected:
    """Expected result of reading an odd recording: samples [frames, channels], within the encoding's precision."""

    samples: np.ndarray
    sample_rate: int
    tolerance: float


def tones(frames: int, *, sample_rate: int = SAMPLE_RATE, channels: int = 1, amplitude: float = 0.5) -> np.ndarray:
    """Sines [frames, channels], float32: 300 Hz in the first channel, 100 Hz more in each of the others."""
    seconds = np.arange(frames)[:, None] / sample_rate
    frequencies = 300.0 + 100.0 * np.arange(channels)
    return (amplitude * np.sin(2 * np.pi * frequencies * seconds)).astype(np.float32)


def write_tones(path: Path, seconds: float = 1.0, *, sample_rate: int = SAMPLE_RATE, **options: str) -> np.ndarray:
    """Write one channel of sound and return it, [frames, 1]; `options` are those of `soundfile.write`."""
    samples = tones(round(seconds * sample_rate), sample_rate=sample_rate)
    soundfile.write(path, samples, sample_rate, **options)
    return samples


def cut(path: Path, share: float) -> None:
    """Truncate a file to the first share of its bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _odd(
    tolerance: float,
    subtype: str,
    *,
    frames: int = 8_000,
    sample_rate: int = SAMPLE_RATE,
    channels: int = 1,
    amplitude: float = 0.5,
) -> Callable[[Path], Expected]:
    def write(path: Path) -> Expected:
        samples = tones(frames, sample_rate=sample_rate, channels=channels, amplitude=amplitude)
        soundfile.write(path, samples, sample_rate, subtype=subtype)
        return Expected(samples, sample_rate, tolerance)

    return write


def _header_only(path: Path) -> str:
    soundfile.write(path, tones(0), SAMPLE_RATE)
    return "no frames"


def _truncated(path: Path) -> str:
    write_tones(path)
    cut(path, 0.6)
    return "truncated"


def _empty(path: Path) -> str:
    path.touch()
    return "empty file"


def _nan(path: Path) -> str:
    samples = tones(8_000)
    samples[4_000] = np.nan
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    return "NaN or infinite samples, the first at 0.250 s"


def _too_large(path: Path) -> str:
    samples = tones(8_000)
    samples[4_000] = 1e19
    soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
    return "holds samples of up to 1e+19 times full scale, the first beyond 2.15e+09 at 0.250 s"


def _chunk_beyond_the_file(chunk: bytes, size_at: int) -> Callable[[Path], str]:
    """Write a file with a chunk whose eight-byte size exceeds every possible offset."""

    def write(path: Path) -> str:
        write_tones(path)
        content = bytearray(path.read_bytes())
        at = content.index(chunk) + size_at
        content[at : at + 8] = b"\x7f" + b"\xff" * 6 + b"\x7f"
        path.write_bytes(content)
        return "is not a recording that can be decoded"

    return write


ODD: dict[str, Callable[[Path], Expected]] = {
    "8_bit.wav": _odd(2**-7, "PCM_U8"),
    "24_bit.wav": _odd(2**-23, "PCM_24"),
    "over_full_scale.wav": _odd(0.0, "FLOAT", amplitude=3.0),
    "a_law.wav": _odd(2**-6, "ALAW"),
    "96_khz.wav": _odd(2**-15, "PCM_16", sample_rate=96_000),
    "stereo.wav": _odd(2**-15, "PCM_16", channels=2),
    "7_channels.wav": _odd(2**-15, "PCM_16", channels=7),
    "3_samples.wav": _odd(2**-15, "PCM_16", frames=3),
}
"""File name -> writer of a recording that must be read correctly; it returns the expected result."""

DAMAGED: dict[str, Callable[[Path], str]] = {
    "header_only.wav": _header_only,
    "truncated.wav": _truncated,
    "truncated.mp3": _truncated,
    "truncated.flac": _truncated,
    "empty.wav": _empty,
    "nan.wav": _nan,
    "too_large.wav": _too_large,
    "free_chunk_beyond.caf": _chunk_beyond_the_file(b"free", 4),
    "format_chunk_beyond.w64": _chunk_beyond_the_file(b"fmt ", 16),
}
"""File name -> writer of a recording that must be refused; it returns the reason in the expected message."""
