"""Windows of annotated recordings, and their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from audio_lightning.core.errors import ConfigError

TOUCHING = 1e-6
"""Overlaps up to this duration in seconds are rounding errors."""

SHORTEST_TAIL = 0.05
"""Minimum share of a window that the last one must add, as in :func:`audio_lightning.audio.windows`."""


@dataclass(frozen=True)
class Overlap:
    """Minimum overlap of a window with an annotation to get its label; one of the two criteria is enough.

    Attributes:
        seconds: overlap in seconds.
        share: overlap as a share of the annotation, or of the window if that is shorter.

    Raises:
        ConfigError: neither is given, or one is invalid.
    """

    seconds: float | None = None
    share: float | None = 0.5

    def __post_init__(self) -> None:
        if self.seconds is None and self.share is None:
            raise ConfigError("data.min_overlap_seconds and data.min_overlap_share are null: expected at least one")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"data.min_overlap_seconds={self.seconds}: expected more than 0")
        if self.share is not None and not 0 < self.share <= 1:
            raise ConfigError(f"data.min_overlap_share={self.share}: expected more than 0 and at most 1")

    def least(self, duration: float, window: float) -> float:
        """Minimum overlap in seconds for an annotation of ``duration`` in a window, both in seconds."""
        limits = [self.seconds] if self.seconds is not None else []
        limits += [self.share * min(duration, window)] if self.share is not None else []
        return min(limits)


@dataclass(frozen=True)
class LabelledWindows:
    """Windows of one recording, in order.

    Attributes:
        start: first sample of each window.
        seconds: annotated duration of each label in each window, in seconds.
        labels: mask of the labels of each window.
        touched: whether a window overlaps an annotation at all.
        names: label names, in the order of the columns.
    """

    start: Int64[np.ndarray, "windows"]
    seconds: Float[np.ndarray, "windows labels"]
    labels: Bool[np.ndarray, "windows labels"]
    touched: Bool[np.ndarray, "windows"]
    names: tuple[str, ...]


def label_windows(
    annotations: Sequence[tuple[float, float, str]],
    *,
    length: int,
    sample_rate: int,
    window: int,
    hop: int,
    overlap: Overlap,
) -> LabelledWindows:
    """Cut a recording into windows, and give each the labels of the annotations that it overlaps enough.

    A window starts every ``hop`` samples. If these windows do not reach the end of the recording, a last one ends
    there, unless it adds less than :data:`SHORTEST_TAIL` of a window. Every annotation labels at least the window with
    its largest part; a short last window is kept for this.

    Args:
        annotations: start and stop in seconds, within the recording, and label.
        length: length of the recording, in samples at ``sample_rate``.
        sample_rate: sample rate in hertz.
        window: length of a window in samples.
        hop: hop from one window to the next in samples, at most ``window``.
        overlap: minimum overlap.
    """
    start, added = _grid(length, window, hop)
    begin = start / sample_rate
    seconds_a_window = window / sample_rate
    names = tuple(dict.fromkeys(label for _, _, label in annotations))
    column = {name: place for place, name in enumerate(names)}
    seconds = np.zeros((len(start), len(names)))
    labels = np.zeros((len(start), len(names)), dtype=bool)
    needed = np.zeros(len(start), dtype=bool)
    for first, last, name in annotations:
        low = int(np.searchsorted(begin, first - seconds_a_window, side="right"))
        high = max(low + 1, int(np.searchsorted(begin, last, side="left")))
        low = min(low, len(start) - 1)
        held = np.minimum(begin[low:high] + seconds_a_window, last) - np.maximum(begin[low:high], first)
        held = np.where(held > TOUCHING, held, 0.0)
        enough = (held > 0) & (held >= overlap.least(last - first, seconds_a_window) - TOUCHING)
        most = int(held.argmax())
        enough[most] = True
        needed[low + most] = True
        seconds[low:high, column[name]] += held
        labels[low:high, column[name]] |= enough
    keep = np.ones(len(start), dtype=bool)
    if added < SHORTEST_TAIL * window and len(start) > 1:
        keep[-1] = needed[-1]
    touched: Bool[np.ndarray, "windows"] = np.any(seconds[keep] > 0, axis=1)
    return LabelledWindows(start[keep], seconds[keep], labels[keep], touched, names)


def _grid(length: int, window: int, hop: int) -> tuple[Int64[np.ndarray, "windows"], int]:
    """First samples of all candidate windows, and the number of samples that the last one adds to the previous ones."""
    last = max(0, length - window)
    start = np.arange(0, last + 1, hop, dtype=np.int64)
    if (added := last - int(start[-1])) > 0:
        return np.append(start, last), added
    return start, window
