"""Windows of annotated recordings, and the labels that they get."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from audio_lightning.core.errors import ConfigError

TOUCHING = 1e-6
"""Seconds up to which an overlap is one of rounding alone."""

SHORTEST_TAIL = 0.05
"""Share of a window that the last one must add, as in :func:`audio_lightning.audio.windows`."""


@dataclass(frozen=True)
class Overlap:
    """How much of an annotation a window must hold to get its label; either suffices.

    Attributes:
        seconds: so many.
        share: this share of the annotation, or of the window where that is shorter.

    Raises:
        ConfigError: neither is given, or one cannot be.
    """

    seconds: float | None = None
    share: float | None = 0.5

    def __post_init__(self) -> None:
        if self.seconds is None and self.share is None:
            raise ConfigError("data.min_overlap_seconds and data.min_overlap_share are null: expected one of them")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"data.min_overlap_seconds={self.seconds}: expected more than 0")
        if self.share is not None and not 0 < self.share <= 1:
            raise ConfigError(f"data.min_overlap_share={self.share}: expected more than 0 and at most 1")

    def least(self, duration: float, window: float) -> float:
        """Seconds that suffice for an annotation of ``duration`` in a window, both in seconds."""
        limits = [self.seconds] if self.seconds is not None else []
        limits += [self.share * min(duration, window)] if self.share is not None else []
        return min(limits)


@dataclass(frozen=True)
class LabelledWindows:
    """Windows of one recording, in their order.

    Attributes:
        start: first sample of each.
        seconds: of each label in each window.
        labels: which labels each window gets.
        touched: whether a window holds some of an annotation.
        names: of the labels, in the order of the columns.
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
    """Place windows on a recording, and give each the labels of the annotations that it overlaps enough.

    One window starts every ``hop`` samples. Where these do not reach the end of the recording, a last one ends there,
    unless it adds less than :data:`SHORTEST_TAIL` of a window. Every annotation labels at least the window that holds
    most of it, be that the last one.

    Args:
        annotations: start and stop in seconds, within the recording, and label.
        length: of the recording, in samples at ``sample_rate``.
        sample_rate: in hertz.
        window: length of a window in samples.
        hop: samples from the start of one window to the next, at most ``window``.
        overlap: how much of an annotation is enough.
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
    """The first samples of all windows that may be, and how many samples the last one adds to those before it."""
    last = max(0, length - window)
    start = np.arange(0, last + 1, hop, dtype=np.int64)
    if (added := last - int(start[-1])) > 0:
        return np.append(start, last), added
    return start, window
