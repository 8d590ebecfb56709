"""Live (streaming) classification of a microphone, a pipe or a file."""

import math
import queue
import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soxr
import torch
from jaxtyping import Float

from audio_lightning.audio import Channel, fit_length, select_channels
from audio_lightning.audio.recording import Recording
from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.bounds import HIGHEST_RATE
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import first_line
from audio_lightning.inference.detect import HOPS_A_WINDOW
from audio_lightning.inference.windows import window_and_hop

BLOCK_SECONDS = 0.05
"""Length of a block of a source in seconds."""

MOST_WAITING = 1200
"""Largest number of queued blocks, one minute of sound; if the classifier is too slow, further ones are dropped."""

Block = tuple[Float[np.ndarray, "samples"], float]
"""Samples of one channel, float32, and the arrival time of the last one (``time.perf_counter``)."""


@dataclass(frozen=True)
class LiveAnswer:
    """The prediction for one window.

    Attributes:
        start_seconds: start of the window, counted from the first sample.
        stop_seconds: end of the window.
        probabilities: probability of every class.
        labels: predicted class; any number of classes for multi-label tasks.
        latency_seconds: time from the arrival of the last sample of the window to its prediction.
    """

    start_seconds: float
    stop_seconds: float
    probabilities: Float[np.ndarray, "classes"]
    labels: list[str]
    latency_seconds: float


@dataclass
class LiveStatistics:
    """Latency and throughput of live classification.

    Attributes:
        latencies: latency of every window in seconds.
        busy_seconds: computation time of resampling and prediction.
        heard_seconds: duration of the received sound.
        dropped_seconds: duration of the sound that was dropped because the classifier was too slow.
    """

    latencies: "array[float]" = field(default_factory=lambda: array("f"))
    busy_seconds: float = 0.0
    heard_seconds: float = 0.0
    dropped_seconds: float = 0.0

    @property
    def real_time_factor(self) -> float:
        """Computation time divided by the duration of the sound; NaN without sound. Above 1, live sound is dropped."""
        return self.busy_seconds / self.heard_seconds if self.heard_seconds else math.nan


def listen(
    classifier: Classifier,
    blocks: Iterator[Block],
    sample_rate: int,
    statistics: LiveStatistics,
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
) -> Iterator[LiveAnswer]:
    """Predict every window of a source as soon as its last sample has arrived.

    Windows begin at multiples of the hop, counted in samples, so that their times stay exact over days. When a source
    ends, the resampler returns the samples that it has held back, so that a file has the samples of ``predict``.

    Args:
        classifier: in evaluation mode.
        blocks: blocks of the source.
        sample_rate: sample rate of the source in Hz.
        statistics: updated after every block.
        window_seconds: window length in seconds; None for the clip length of the training.
        hop_seconds: seconds from the start of one window to the next; None for a quarter of a window.

    Raises:
        ConfigError: an invalid window, hop or sample rate.
    """
    check_rate(sample_rate)
    task = classifier.task
    window, hop = window_and_hop(task, window_seconds, hop_seconds)
    hop = hop if hop_seconds is not None else max(1, window // HOPS_A_WINDOW)
    return _listen(classifier, blocks, sample_rate, statistics, window, hop)


def check_rate(sample_rate: int) -> None:
    """Check the sample rate of a source in Hz; the filters of the resampler grow with it, without a limit.

    Raises:
        ConfigError: less than 1 Hz, or more than :data:`audio_lightning.classifier.bounds.HIGHEST_RATE`.
    """
    if not 1 <= sample_rate <= HIGHEST_RATE:
        raise ConfigError(
            f"--rate {sample_rate}: expected a sample rate from 1 to {HIGHEST_RATE:,} Hz; give that of the source"
        )


def _listen(
    classifier: Classifier,
    blocks: Iterator[Block],
    sample_rate: int,
    statistics: LiveStatistics,
    window: int,
    hop: int,
) -> Iterator[LiveAnswer]:
    task = classifier.task
    stream = soxr.ResampleStream(sample_rate, task.sample_rate, 1, dtype="float32", quality="HQ")
    pending, offset, start, heard = np.empty(0, np.float32), 0, 0, 0
    came = deque[tuple[int, float]]()
    for samples, arrived, is_last in _with_end(blocks):
        began = time.perf_counter()
        heard += len(samples)
        came.append((heard, arrived))
        resampled = samples if sample_rate == task.sample_rate else stream.resample_chunk(samples, last=is_last)
        pending, answers = np.concatenate([pending, resampled]), list[LiveAnswer]()
        while (stop := start + window) <= offset + len(pending):
            clip = fit_length(pending[start - offset : stop - offset], task.num_samples, task.padding)
            probabilities = classifier.probabilities(torch.from_numpy(clip)[None]).cpu()
            labels = classifier.decide(probabilities)[0]
            needed = math.ceil(stop * sample_rate / task.sample_rate)
            while len(came) > 1 and came[0][0] < needed:
                came.popleft()
            latency = time.perf_counter() - came[0][1]
            statistics.latencies.append(latency)
            times = start / task.sample_rate, stop / task.sample_rate
            answers.append(LiveAnswer(*times, probabilities[0].numpy(), labels, latency))
            start += hop
        done = min(len(pending), start - offset)
        pending, offset = pending[done:], offset + done
        statistics.heard_seconds = heard / sample_rate
        statistics.busy_seconds += time.perf_counter() - began
        yield from answers


def _with_end(blocks: Iterator[Block]) -> Iterator[tuple[Float[np.ndarray, "samples"], float, bool]]:
    """Yield blocks as they arrive, and after them an empty one that is marked as the last, if there were any."""
    arrived = None
    for samples, arrived in blocks:
        yield samples, arrived, False
    if arrived is not None:
        yield np.empty(0, np.float32), arrived, True


# Sources


def microphone_rate(device: str | int | None = None) -> int:
    """Query the sample rate of an input device in Hz.

    Args:
        device: number or part of the name; None for the system default.

    Raises:
        ConfigError: sounddevice is not installed, or there is no such device.
    """
    sounddevice = _sounddevice()
    try:
        return int(sounddevice.query_devices(device, "input")["default_samplerate"])
    except (ValueError, sounddevice.PortAudioError) as error:
        raise _no_microphone(device, error) from error


def microphone(sample_rate: int, statistics: LiveStatistics, device: str | int | None = None) -> Iterator[Block]:
    """Yield blocks of the first channel of an input device, endlessly.

    Args:
        sample_rate: see :func:`microphone_rate`.
        statistics: counts dropped sound.
        device: see :func:`microphone_rate`.

    Raises:
        ConfigError: see :func:`microphone_rate`.
    """
    sounddevice, waiting = _sounddevice(), queue.Queue[Block](MOST_WAITING)

    def take(samples: np.ndarray, frames: int, when: Any, status: Any) -> None:
        try:
            waiting.put_nowait((samples[:, 0].copy(), time.perf_counter()))
        except queue.Full:
            statistics.dropped_seconds += frames / sample_rate

    options = {"samplerate": sample_rate, "blocksize": round(BLOCK_SECONDS * sample_rate), "device": device}
    try:
        with sounddevice.InputStream(channels=1, dtype="float32", callback=take, **options):
            while True:
                yield waiting.get()
    except (ValueError, sounddevice.PortAudioError) as error:
        raise _no_microphone(device, error) from error


def raw_pcm(stream: BinaryIO, sample_rate: int) -> Iterator[Block]:
    """Yield blocks of a stream of mono 16-bit little-endian PCM without a header.

    Args:
        stream: such as ``sys.stdin.buffer``.
        sample_rate: in Hz.
    """
    rest, most = b"", 2 * max(1, round(BLOCK_SECONDS * sample_rate))  # reading 0 bytes would end the stream
    while data := stream.read1(most):  # type: ignore[attr-defined] # buffered streams return available bytes
        rest += data
        whole = len(rest) // 2 * 2
        yield np.frombuffer(rest[:whole], "<i2").astype(np.float32) / 32768, time.perf_counter()
        rest = rest[whole:]


def of_recording(path: Path, channel: Channel = "mean", *, real_time: bool = False) -> Iterator[Block]:
    """Yield blocks of a recording.

    Args:
        path: the file.
        channel: the channel to use; ``each`` is replaced by the mean.
        real_time: delay each block as if the sound came from a microphone.

    Raises:
        AudioError: the file cannot be read.
    """
    channel = "mean" if channel == "each" else channel
    with Recording(path) as recording:
        recording.require_sound()
        info, began = recording.info, time.perf_counter()
        step = max(1, round(BLOCK_SECONDS * info.sample_rate))
        for first in range(0, info.frames, step):
            last = min(first + step, info.frames)
            samples = np.ascontiguousarray(select_channels(recording.read(last - first), channel, path)[:, 0])
            if real_time:
                time.sleep(max(0.0, began + last / info.sample_rate - time.perf_counter()))
            yield samples, time.perf_counter()


def _sounddevice() -> Any:
    try:
        return import_module("sounddevice")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"microphone: {error.name} is not installed; pip install 'audio-lightning[listen]', or give --source FILE"
        ) from error
    except OSError as error:
        raise ConfigError(f"microphone: needs PortAudio ({error}); install libportaudio2, or give --source") from error


def _no_microphone(device: str | int | None, error: Exception) -> ConfigError:
    what = "no microphone found" if device is None else f"--microphone {device}: not available"
    return ConfigError(f"{what} ({first_line(error)}); `python -m sounddevice` lists the devices")
