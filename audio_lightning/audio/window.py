"""Clips of fixed length: padding short recordings, and cutting long ones into windows with bounded memory."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from jaxtyping import Float

from audio_lightning.audio.channels import Channel, Levels, select_channels
from audio_lightning.audio.decode import resample, resampled_length
from audio_lightning.audio.recording import AudioInfo, Recording
from audio_lightning.core.task import Padding

_MIN_BLOCK_FRAMES = 65_536


@dataclass(frozen=True)
class Window:
    """A segment of a recording.

    Attributes:
        start_seconds: start in the recording.
        stop_seconds: end in the recording, at most the end of the recording.
        samples: one channel, float32; with ``channel="each"``, one row per channel.
    """

    start_seconds: float
    stop_seconds: float
    samples: Float[np.ndarray, "*channels samples"]


def fit_length(
    samples: Float[np.ndarray, "samples"], num_samples: int, padding: Padding
) -> Float[np.ndarray, "num_samples"]:
    """Cut or pad a clip at its end to a given length.

    Args:
        samples: at least one sample.
        num_samples: required length.
        padding: ``"zero"``; ``"repeat"`` to repeat the clip; ``"reflect"`` to reflect it back and forth without
            repeating its ends, as ``numpy.pad`` does.

    Returns:
        Contiguous float32; a view if nothing has to be padded or converted.

    Raises:
        ValueError: the clip is empty.
    """
    length = len(samples)
    if length >= num_samples:
        return np.ascontiguousarray(samples[:num_samples], dtype=np.float32)
    if length == 0:
        raise ValueError("an empty clip cannot be padded")
    if padding == "zero":
        fitted = np.zeros(num_samples, dtype=np.float32)
        fitted[:length] = samples
        return fitted
    index = np.arange(num_samples)
    if padding == "repeat":
        index %= length
    else:
        period = max(1, 2 * (length - 1))
        index %= period
        index = np.minimum(index, period - index)
    return samples[index].astype(np.float32, copy=False)


def windows(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    window_samples: int,
    hop_samples: int,
    tail_samples: int | None = None,
    channel: Channel = "mean",
    levels: Levels | None = None,
) -> Iterator[Window]:
    """Cut a recording of any length into windows of one channel, resampled.

    Memory depends on the length of a window, not of the recording. Window ``k`` equals the result of :func:`load` from
    sample ``k * hop_samples`` on. All windows are full except the last one, which ends at the end of the recording; it
    is left out if fewer than ``tail_samples`` of its samples are new. A recording that fits into one window gives
    exactly one.

    Args:
        path: the file.
        sample_rate: sample rate of the windows in hertz.
        window_samples: length of a window at that rate.
        hop_samples: hop from the start of one window to the next, in samples.
        tail_samples: minimum number of samples after the last full window for another one; default: 5 % of a window.
        channel: the channel, see :data:`audio_lightning.audio.channels.Channel`.
        levels: accumulates the levels of the channels whose mean is used, while the recording is read.

    Yields:
        The windows in order.

    Raises:
        AudioError: see :func:`decode`, raised after the windows before the damage; the length is not limited.
        ValueError: ``window_samples`` or ``hop_samples`` is less than 1.
    """
    if window_samples < 1 or hop_samples < 1:
        raise ValueError(f"windows and hops need at least 1 sample, got {window_samples} and {hop_samples}")
    tail = max(1, window_samples // 20 if tail_samples is None else tail_samples)
    with Recording(path) as recording:
        recording.require_sound()
        info = recording.info

        total = resampled_length(info.frames, info.sample_rate, sample_rate)

        def window(start: int, samples: Float[np.ndarray, "samples channels"]) -> Window:
            stop = start + len(samples)
            # Rounding: the period of the last sample may end a little before or after the recording.
            stop_seconds = info.duration_seconds if stop >= total else stop / sample_rate
            rows = np.ascontiguousarray(samples.T)
            return Window(start / sample_rate, stop_seconds, rows if channel == "each" else rows[0])

        if total < window_samples + tail:
            samples = _columns(recording.read(info.frames), channel, info, levels)
            samples = resample(samples[:, 0] if samples.shape[1] == 1 else samples, info.sample_rate, sample_rate)
            samples = samples.reshape(len(samples), -1)
            yield window(0, samples[:window_samples])
            return

        block_frames = max(_MIN_BLOCK_FRAMES, window_samples * info.sample_rate // sample_rate)
        start, pending = 0, np.empty((0, info.channels if channel == "each" else 1), dtype=np.float32)
        for block in _resampled_blocks(recording, sample_rate, block_frames, channel, levels):
            pending = np.concatenate([pending, block])
            while len(pending) >= max(window_samples, hop_samples):
                yield window(start, pending[:window_samples].copy())
                start, pending = start + hop_samples, pending[hop_samples:]
        already_seen = max(0, window_samples - hop_samples)
        if len(pending) - already_seen >= tail:
            yield window(start, pending[:window_samples])


def _resampled_blocks(
    recording: Recording, sample_rate: int, block_frames: int, channel: Channel, levels: Levels | None
) -> Iterator[Float[np.ndarray, "samples channels"]]:
    info = recording.info
    count = info.channels if channel == "each" else 1
    stream = soxr.ResampleStream(info.sample_rate, sample_rate, count, dtype="float32", quality="HQ")
    for first in range(0, info.frames, block_frames):
        frames = min(block_frames, info.frames - first)
        block = _columns(recording.read(frames), channel, info, levels)
        if info.sample_rate != sample_rate:
            is_last = first + frames == info.frames
            block = stream.resample_chunk(block[:, 0] if count == 1 else block, last=is_last).reshape(-1, count)
        yield block


def _columns(
    samples: Float[np.ndarray, "frames channels"], channel: Channel, info: AudioInfo, levels: Levels | None
) -> Float[np.ndarray, "frames used"]:
    used = np.ascontiguousarray(select_channels(samples, channel, info.path))
    if levels is not None and channel == "mean" and info.channels > 1:
        levels.add(samples, used)
    return used
