"""Decoding of recordings to samples: read, mix down, resample."""

import math
import os

import numpy as np
import soxr
from jaxtyping import Float

from audio_lightning.audio.recording import AudioInfo, Recording
from audio_lightning.core.errors import AudioError

MAX_SECONDS = 4 * 3600.0
"""Default maximum duration in seconds that is read into memory at once."""

_MAX_VALUES = 2**31  # 8 GiB of float32


def decode(
    path: str | os.PathLike[str],
    *,
    start_seconds: float = 0.0,
    stop_seconds: float | None = None,
    max_seconds: float = MAX_SECONDS,
) -> tuple[Float[np.ndarray, "frames channels"], int]:
    """Read a recording, or a part of it, at its own sample rate.

    A part equals the same part of the whole recording: exactly, or within rounding for MP3.

    Args:
        path: the file.
        start_seconds: start of the part, rounded to the nearest frame.
        stop_seconds: end of the part; None for the end of the recording.
        max_seconds: maximum duration of the part, checked before any memory is allocated.

    Returns:
        The samples as float32, where full scale is 1 (float recordings may exceed it), and the sample rate in hertz.

    Raises:
        AudioError: the file cannot be read or contradicts its header (see :class:`Recording`), or the part is too long
            or out of range.
    """
    with Recording(path) as recording:
        samples = _read_part(recording, start_seconds, stop_seconds, max_seconds)
        return samples, recording.info.sample_rate


def read(
    path: str | os.PathLike[str], *, max_seconds: float = MAX_SECONDS
) -> tuple[Float[np.ndarray, "frames channels"], AudioInfo]:
    """Read a whole recording at its own sample rate, together with its header.

    Raises:
        AudioError: see :func:`decode`.
    """
    with Recording(path) as recording:
        return _read_part(recording, 0.0, None, max_seconds), recording.info


def load(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    start_seconds: float = 0.0,
    stop_seconds: float | None = None,
    max_seconds: float = MAX_SECONDS,
) -> Float[np.ndarray, "samples"]:
    """Read a recording, or a part of it, as the mean of its channels, resampled.

    Args:
        path: the file.
        sample_rate: sample rate of the result in hertz.
        start_seconds: see :func:`decode`.
        stop_seconds: see :func:`decode`.
        max_seconds: see :func:`decode`.

    Returns:
        At least one sample, float32.

    Raises:
        AudioError: see :func:`decode`.
    """
    with Recording(path) as recording:
        samples = _read_part(recording, start_seconds, stop_seconds, max_seconds, target_rate=sample_rate)
        return resample(to_mono(samples), recording.info.sample_rate, sample_rate)


def to_mono(samples: Float[np.ndarray, "frames channels"]) -> Float[np.ndarray, "frames"]:
    """Mean of the channels; a view if there is only one."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)


def resample(samples: Float[np.ndarray, "frames *channels"], rate: int, target_rate: int) -> np.ndarray:
    """Resample one or more channels with soxr at its high quality.

    Returns:
        :func:`resampled_length` samples of each channel, float32; the input itself if the rates are equal.
    """
    if rate == target_rate:
        return samples
    resampled = soxr.resample(samples, rate, target_rate, quality="HQ")
    # soxr returns no samples for a recording shorter than half a period of the new rate.
    return resampled if len(resampled) else samples.mean(axis=0, keepdims=True, dtype=np.float32)


def resampled_length(frames: int, rate: int, target_rate: int) -> int:
    """Number of samples that :func:`resample` returns: the nearest to the duration of the frames, at least 1."""
    return max(1, (2 * frames * target_rate + rate) // (2 * rate))


def _read_part(
    recording: Recording,
    start_seconds: float,
    stop_seconds: float | None,
    max_seconds: float,
    target_rate: int | None = None,
) -> Float[np.ndarray, "frames channels"]:
    recording.require_sound()
    start, stop = _frame_range(recording.info, start_seconds, stop_seconds)
    _require_size(recording.info, stop - start, max_seconds, target_rate)
    recording.seek(start)
    return recording.read(stop - start)


def _frame_range(info: AudioInfo, start_seconds: float, stop_seconds: float | None) -> tuple[int, int]:
    stop_at = info.duration_seconds if stop_seconds is None else stop_seconds
    if 0 <= start_seconds < stop_at < math.inf:
        start = round(start_seconds * info.sample_rate)
        stop = round(stop_at * info.sample_rate)
        if start < stop <= info.frames:
            return start, stop
    end = "its end" if stop_seconds is None else f"{stop_seconds} s"
    raise AudioError(
        f"{info.path}: has no part from {start_seconds} s to {end}, "
        f"its duration is {info.duration_seconds} s; give a start and a later stop within that"
    )


def _require_size(info: AudioInfo, frames: int, max_seconds: float, target_rate: int | None) -> None:
    seconds = frames / info.sample_rate
    if seconds > max_seconds:
        raise AudioError(
            f"{info.path}: its {seconds:,.1f} s are longer than the maximum of {max_seconds:,.1f} s to read at once; "
            "read a part, or cut it into windows"
        )
    values = frames * info.channels
    if target_rate is not None:
        values = max(values, resampled_length(frames, info.sample_rate, target_rate))
    if values > _MAX_VALUES:
        raise AudioError(
            f"{info.path}: its {seconds:,.1f} s in {info.channels} channels at {info.sample_rate} Hz need "
            f"{values * 4 / 2**30:,.1f} GiB, the maximum is {_MAX_VALUES * 4 // 2**30} GiB; read a part, or cut "
            "it into windows"
        )
