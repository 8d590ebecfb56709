"""Classification of sound while it comes in: from a microphone, a pipe or a file."""

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
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import first_line
from audio_lightning.inference.detect import HOPS_A_WINDOW
from audio_lightning.inference.windows import window_and_hop

BLOCK_SECONDS = 0.05
"""Sound that is taken from a source at once."""

MOST_WAITING = 1200
"""Blocks that wait for a classifier that is too slow, a minute; further ones are dropped."""

Block = tuple[Float[np.ndarray, "samples"], float]
"""Samples of one channel, float32, and the time when the last of them came (``time.perf_counter``)."""


@dataclass(frozen=True)
class LiveAnswer:
    """The answer for one window.

    Attributes:
        start_seconds: where the window begins, from the first sample on.
        stop_seconds: where it ends.
        probabilities: one a class.
        labels: what is predicted: one class, or any number of them where clips may have several labels.
        latency_seconds: from when the last sample of the window came to when its probabilities were there.
    """

    start_seconds: float
    stop_seconds: float
    probabilities: Float[np.ndarray, "classes"]
    labels: list[str]
    latency_seconds: float


@dataclass
class LiveStatistics:
    """How a classifier kept up.

    Attributes:
        latencies: of all windows, in seconds.
        busy_seconds: time that resampling and prediction took.
        heard_seconds: sound that came in.
        dropped_seconds: sound that was lost because the classifier was too slow.
    """

    latencies: "array[float]" = field(default_factory=lambda: array("f"))
    busy_seconds: float = 0.0
    heard_seconds: float = 0.0
    dropped_seconds: float = 0.0

    @property
    def real_time_factor(self) -> float:
        """Time of the computation divided by that of the sound; NaN without sound. Above 1, it cannot keep up."""
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
    """Predict every window of a source as soon as its last sample is there.

    The windows begin at multiples of the hop, counted in samples, so that their times are exact over days.

    Args:
        classifier: in evaluation mode.
        blocks: of the source.
        sample_rate: of the source, in hertz.
        statistics: filled meanwhile.
        window_seconds: length of a window; None: a clip of the training.
        hop_seconds: from the start of a window to the start of the next; None: a quarter of a window.

    Raises:
        ConfigError: a window or a hop that cannot be used.
    """
    task = classifier.task
    window, hop = window_and_hop(task, window_seconds, hop_seconds)
    hop = hop if hop_seconds is not None else max(1, window // HOPS_A_WINDOW)
    return _listen(classifier, blocks, sample_rate, statistics, window, hop)


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
    for samples, arrived in blocks:
        began = time.perf_counter()
        heard += len(samples)
        came.append((heard, arrived))
        resampled = samples if sample_rate == task.sample_rate else stream.resample_chunk(samples)
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


# Sources


def microphone_rate(device: str | int | None = None) -> int:
    """Sample rate of an input device, in hertz.

    Args:
        device: number or part of the name; None: the system's choice.

    Raises:
        ConfigError: the package is missing, or there is no such device.
    """
    sounddevice = _sounddevice()
    try:
        return int(sounddevice.query_devices(device, "input")["default_samplerate"])
    except (ValueError, sounddevice.PortAudioError) as error:
        raise _no_microphone(device, error) from error


def microphone(sample_rate: int, statistics: LiveStatistics, device: str | int | None = None) -> Iterator[Block]:
    """Blocks of the first channel of an input device, without end.

    Args:
        sample_rate: see :func:`microphone_rate`.
        statistics: counts the blocks that are dropped where the classifier is too slow.
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
    """Blocks of a pipe that holds one channel of 16-bit samples, little-endian, without a header.

    Args:
        stream: such as ``sys.stdin.buffer``.
        sample_rate: in hertz.
    """
    rest, most = b"", 2 * round(BLOCK_SECONDS * sample_rate)
    while data := stream.read1(most):  # type: ignore[attr-defined] # of buffered streams: what is there already
        rest += data
        whole = len(rest) // 2 * 2
        yield np.frombuffer(rest[:whole], "<i2").astype(np.float32) / 32768, time.perf_counter()
        rest = rest[whole:]


def of_recording(path: Path, channel: Channel = "mean", *, real_time: bool = False) -> Iterator[Block]:
    """Blocks of a file.

    Args:
        path: the file.
        channel: which channel; ``each`` is their mean here.
        real_time: give a block when its last sample would come from a microphone, and not at once.

    Raises:
        AudioError: it cannot be read.
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
            f"a microphone needs the package {error.name}: pip install 'audio-lightning[listen]'; or give --source FILE"
        ) from error
    except OSError as error:
        raise ConfigError(f"a microphone needs PortAudio ({error}): install libportaudio2, or give --source") from error


def _no_microphone(device: str | int | None, error: Exception) -> ConfigError:
    named = "there is no microphone" if device is None else f"--microphone {device}: cannot be used"
    return ConfigError(f"{named} ({first_line(error)}); python -m sounddevice lists the devices")
