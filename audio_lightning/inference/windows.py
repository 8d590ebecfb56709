"""Windows of recordings of any length, as batches of clips for a classifier; torch is imported only if needed."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float

from audio_lightning.audio import Channel, Levels, check_channel, fit_length, say_cancelling, windows
from audio_lightning.core.errors import AudioError, ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.core.utf8 import as_utf8
from audio_lightning.data.problems import printable

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

BATCH_SIZE = 32
"""Default number of windows in a batch."""


class TakesClips(Protocol):
    """Interface of classifiers and ONNX models: the clips that they accept."""

    @property
    def task(self) -> AudioTask:
        """Sample rate, length and padding of the clips."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Configuration; ``data.hop_seconds`` and ``data.channel`` are used."""


@dataclass(frozen=True)
class Part:
    """A window of a recording, or an error.

    Attributes:
        path: the recording.
        start_seconds: start of the window in the recording.
        stop_seconds: end of the window.
        samples: clips at the sample rate and length of the classifier, one row per channel.
        error: reason why the recording cannot be read; the other values are then None.
    """

    path: Path
    start_seconds: float | None = None
    stop_seconds: float | None = None
    samples: Float[np.ndarray, "channels samples"] | None = None
    error: str | None = None


def batches(
    classifier: TakesClips,
    recordings: Iterable[Path],
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[list[Part]]:
    """Cut recordings into windows, in order, with memory that does not depend on their length.

    Arguments are checked when the function is called, not when the first window is requested. The channel is that of
    the training (``data.channel``). With ``each``, a window has all channels, and their outputs are averaged
    (:func:`merged`). At the end, one warning counts recordings whose channels cancel in the mean.

    Args:
        classifier: defines the clips, the channel and the hop of the training.
        recordings: files; an unreadable one yields an error and does not stop the others.
        window_seconds: window length in seconds, at most a clip; None for a clip.
        hop_seconds: seconds from the start of one window to the next; None for ``data.hop_seconds`` of the training, or
            for the window length if the training had no windows or ``window_seconds`` is given.
        batch_size: windows in a batch.

    Raises:
        ConfigError: an invalid window, hop or channel.
    """
    task = classifier.task
    if window_seconds is None:
        hop_seconds = classifier.config["data"].get("hop_seconds") if hop_seconds is None else hop_seconds
    window, hop = window_and_hop(task, window_seconds, hop_seconds)
    channel = classifier.config["data"].get("channel", "mean")
    check_channel(channel)
    return _batches(task, channel, recordings, window, hop, batch_size)


def window_and_hop(task: AudioTask, window_seconds: float | None, hop_seconds: float | None) -> tuple[int, int]:
    """Convert window and hop from seconds to samples at the sample rate of the task.

    Args:
        task: defines sample rate and length of the clips.
        window_seconds: window length in seconds; None for the clip length.
        hop_seconds: seconds from the start of one window to the next; None for the window length.

    Raises:
        ConfigError: see :func:`batches`.
    """
    window_seconds = task.clip_seconds if window_seconds is None else window_seconds
    hop_seconds = window_seconds if hop_seconds is None else hop_seconds
    window, hop = (seconds * task.sample_rate for seconds in (window_seconds, hop_seconds))
    if not 0.5 < window < task.num_samples + 0.5:
        raise ConfigError(
            f"--window {window_seconds:g}: expected more than 0 and at most {task.clip_seconds:g} seconds, the length "
            "of the clips that the classifier was trained on"
        )
    if not 0.5 < hop < math.inf:
        raise ConfigError(f"--hop {hop_seconds:g}: expected more than 0 seconds")
    return round(window), round(hop)


def _batches(
    task: AudioTask, channel: Channel, recordings: Iterable[Path], window: int, hop: int, batch_size: int
) -> Iterator[list[Part]]:
    pending: list[Part] = []
    waiting = 0
    cancelling: list[Path] = []
    for path in recordings:
        levels = Levels()
        try:
            for part in windows(
                path, task.sample_rate, window_samples=window, hop_samples=hop, channel=channel, levels=levels
            ):
                rows = [fit_length(row, task.num_samples, task.padding) for row in np.atleast_2d(part.samples)]
                pending.append(Part(path, part.start_seconds, part.stop_seconds, np.stack(rows)))
                waiting += 1
                if waiting == batch_size:
                    yield pending
                    pending, waiting = [], 0
        except AudioError as error:
            pending.append(Part(path, error=str(error)))
        if levels.cancel:
            cancelling.append(path)
    if cancelling:
        log.warning(
            "%s: the classifier averages channels, as in its training; give recordings with one channel, or train with "
            "data.channel=left",
            say_cancelling(len(cancelling), printable(str(cancelling[0]))),
        )
    yield pending


def samples_of(parts: list[Part]) -> Float[np.ndarray, "rows samples"] | None:
    """Concatenate the samples of readable windows, one channel after the other; None if there are none."""
    waveforms = [part.samples for part in parts if part.samples is not None]
    return np.concatenate(waveforms) if waveforms else None


def mean_of_channels(parts: list[Part], values: Float[np.ndarray, "rows values"]) -> Float[np.ndarray, "parts values"]:
    """Average outputs for the rows of :func:`samples_of` over the channels of each readable window."""
    counts = [len(part.samples) for part in parts if part.samples is not None]
    if max(counts) == 1:
        return values
    return np.stack([rows.mean(axis=0) for rows in np.split(values, np.cumsum(counts)[:-1])])


def stacked(parts: list[Part]) -> "Float[Tensor, 'rows samples'] | None":
    """Return :func:`samples_of` as a tensor."""
    import torch

    samples = samples_of(parts)
    return None if samples is None else torch.from_numpy(samples)


def merged(parts: list[Part], values: "Float[Tensor, 'rows values']") -> "Float[Tensor, 'parts values']":
    """Apply :func:`mean_of_channels` to a tensor."""
    import torch

    return torch.from_numpy(mean_of_channels(parts, values.numpy()))


def not_finite(part: Part, values: Float[np.ndarray, "values"], what: str) -> str | None:
    """Return an error message if outputs of a window are NaN or infinite, else None."""
    if np.isfinite(values).all():
        return None
    where = f"from {part.start_seconds:.3f} to {part.stop_seconds:.3f} s"
    return (
        f"{as_utf8(part.path)}: the {what} {where} hold NaN or infinite values; the checkpoint may be damaged, "
        "restore it"
    )
