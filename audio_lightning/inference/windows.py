"""Recordings of any length as batches of clips of the length that a classifier knows; torch is imported by need."""

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
from audio_lightning.data.problems import printable

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

BATCH_SIZE = 32
"""Windows that are predicted at once, unless told otherwise."""


class TakesClips(Protocol):
    """A classifier, or a model of ONNX, for which recordings are cut into windows."""

    @property
    def task(self) -> AudioTask:
        """Rate, length and padding of the clips."""

    @property
    def config(self) -> Mapping[str, Any]:
        """With ``hop_seconds`` and ``channel`` under ``data``."""


@dataclass(frozen=True)
class Part:
    """A window of a recording, or why there is none.

    Attributes:
        path: the recording, as it was named or found.
        start_seconds: where the window begins.
        stop_seconds: where it ends.
        samples: at the rate and of the length that the classifier knows, a row for every channel that it answers for.
        error: what is wrong with the recording; then the other values are None.
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
    """Windows of all recordings, in order, in memory that does not depend on how long the recordings are.

    What is asked for is checked at once, and not when the first window is. The channel is that of the training
    (``data.channel``); where that is ``each``, a window has all of them, and its answer is their mean (:func:`merged`).
    Recordings whose channels cancel in the mean are counted in one warning at the end.

    Args:
        classifier: knows rate, length and padding of the clips, and the windows of its training.
        recordings: files; one that cannot be read gives an error and does not stop the others.
        window_seconds: length of the windows that a longer recording is cut into; by default, and at most, a clip.
        hop_seconds: from the start of one window to the next; by default ``data.hop_seconds`` of the training, or the
            length of a window if that is given or there were no windows.
        batch_size: windows that come at once.

    Raises:
        ConfigError: a window, a hop or a channel that cannot be used.
    """
    task = classifier.task
    if window_seconds is None:
        hop_seconds = classifier.config["data"].get("hop_seconds") if hop_seconds is None else hop_seconds
    window, hop = window_and_hop(task, window_seconds, hop_seconds)
    channel = classifier.config["data"].get("channel", "mean")
    check_channel(channel)
    return _batches(task, channel, recordings, window, hop, batch_size)


def window_and_hop(task: AudioTask, window_seconds: float | None, hop_seconds: float | None) -> tuple[int, int]:
    """Samples of a window, and from the start of one to the start of the next, at the rate of the task.

    Args:
        task: knows rate and length of the clips.
        window_seconds: None for a clip.
        hop_seconds: None for a window.

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
            "%s: the classifier takes the mean, as in its training; give one channel of each recording, or train one "
            "with data.channel=left",
            say_cancelling(len(cancelling), printable(str(cancelling[0]))),
        )
    yield pending


def samples_of(parts: list[Part]) -> Float[np.ndarray, "rows samples"] | None:
    """The samples of those that have some, one channel after the other; None if none has."""
    waveforms = [part.samples for part in parts if part.samples is not None]
    return np.concatenate(waveforms) if waveforms else None


def mean_of_channels(parts: list[Part], values: Float[np.ndarray, "rows values"]) -> Float[np.ndarray, "parts values"]:
    """The mean over the channels of each part that has samples, of what was computed for :func:`samples_of`."""
    counts = [len(part.samples) for part in parts if part.samples is not None]
    if max(counts) == 1:
        return values
    return np.stack([rows.mean(axis=0) for rows in np.split(values, np.cumsum(counts)[:-1])])


def stacked(parts: list[Part]) -> "Float[Tensor, 'rows samples'] | None":
    """:func:`samples_of` as a tensor."""
    import torch

    samples = samples_of(parts)
    return None if samples is None else torch.from_numpy(samples)


def merged(parts: list[Part], values: "Float[Tensor, 'rows values']") -> "Float[Tensor, 'parts values']":
    """:func:`mean_of_channels` of a tensor."""
    import torch

    return torch.from_numpy(mean_of_channels(parts, values.numpy()))


def not_finite(part: Part, values: Float[np.ndarray, "values"], what: str) -> str | None:
    """Why what a classifier gives for a part cannot be used: it is NaN or infinite; None where it is not."""
    if np.isfinite(values).all():
        return None
    where = f"from {part.start_seconds:.3f} to {part.stop_seconds:.3f} s"
    return f"{part.path}: the {what} {where} hold NaN or infinite values; see whether the checkpoint is damaged"
