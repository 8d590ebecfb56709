"""Events from the scores of windows: smoothing, hysteresis, onsets and offsets, merging of gaps.

**Onsets and offsets.** The score of a window is assigned to the middle of the window, and scores between the middles of
neighbouring windows are interpolated linearly. An onset is where the score rises through half of the event's peak; an
offset is where it last falls through it.

Why this is unbiased: the first window with any of an event begins up to a window before the onset, and the first one
that the event fills begins at the onset. Halfway, the middle of the window is the onset, and the event fills half of
the window. So the estimate of an event that is at least a window long is unbiased if the classifier gives half of its
full score to a window that is half filled. A score in proportion to the share has this property, and so has a step at
one half. For a step at the share ``q``, onsets are late by ``q - 1/2`` windows, and offsets are early by as much.

The length of an event that is shorter than a window ``W`` follows from the scores only if ``q`` is known. A classifier
that responds to the share ``q`` of an event of the length ``L`` gives a length of ``W + L (1 - 2 q)``. The middle of
the event is unbiased for every ``q``.

The level is half of the peak and not the threshold. A threshold is a demand on certainty: a higher one would move all
onsets to later times. An event that begins in the first half of the first window begins with the recording.

**Exactness.** Windows are counted, and the time of a window is ``index * hop`` samples; only the place between two
windows is a fraction. Precision does not depend on the length of the recording.

This module needs numpy only; :mod:`audio_lightning.inference.detect` computes the scores.
"""

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

Smoothing = Literal["median", "mean", "none"]

LOW_SHARE = 0.5
"""The low threshold of the hysteresis as a share of the high one, so that half of an event's peak is never below it."""

REACH = 0.25
"""Reach of the smoothing in window lengths: the scores of windows whose middles are within it are combined."""


@dataclass(frozen=True)
class Event:
    """A stretch of a recording in which a class was detected.

    Attributes:
        label: the class.
        start_seconds: onset, from the beginning of the recording.
        stop_seconds: offset.
        confidence: highest smoothed score within.
    """

    label: str
    start_seconds: float
    stop_seconds: float
    confidence: float


@dataclass(frozen=True)
class EventSettings:
    """What makes an event.

    Attributes:
        thresholds: by class, the score that an event reaches; classes without one are not reported.
        smoothing: over the windows within :data:`REACH`: their median, which keeps edges and drops outliers, or their
            mean.
        merge_gap_seconds: events of a class with a gap of at most so much between them are one.
        min_duration_seconds: shorter events are dropped, after merging.
    """

    thresholds: dict[str, float]
    smoothing: Smoothing = "median"
    merge_gap_seconds: float = 0.0
    min_duration_seconds: float = 0.0


@dataclass
class _Run:
    """Neighbouring windows whose scores reach the low threshold.

    Attributes:
        first: index of the first one.
        before: the score before it; None at the beginning of the recording.
        scores: of the windows; four bytes a hop for as long as the class goes on.
    """

    first: int
    before: float | None
    scores: "array[float]" = field(default_factory=lambda: array("f"))


@dataclass
class _Span:
    """An event in samples."""

    start: int
    stop: int
    peak: float


class EventFinder:
    """Finds the events of one recording while its windows come in; memory is that of the events that go on.

    Args:
        classes: of the scores, in their order.
        sample_rate: in hertz.
        window: samples of a window.
        hop: samples from the start of a window to the start of the next.
        settings: what makes an event.
    """

    def __init__(
        self, classes: Sequence[str], *, sample_rate: int, window: int, hop: int, settings: EventSettings
    ) -> None:
        self._places = [place for place, name in enumerate(classes) if name in settings.thresholds]
        self._names = [classes[place] for place in self._places]
        self._high = np.array([settings.thresholds[name] for name in self._names], dtype=np.float32)
        self._low = self._high * np.float32(LOW_SHARE)
        self._sample_rate, self._window, self._hop = sample_rate, window, hop
        self._gap = round(settings.merge_gap_seconds * sample_rate)
        self._least = round(settings.min_duration_seconds * sample_rate)
        self._smoother = _Smoother(settings.smoothing, int(REACH * window / hop))
        self._count = 0
        self._last: Float[np.ndarray, "reported"] | None = None
        self._runs: dict[int, _Run] = {}
        self._spans: dict[int, _Span] = {}
        self._end_seconds = 0.0

    def add(self, scores: Float[np.ndarray, "classes"], stop_seconds: float) -> list[Event]:
        """Take the scores of the next window, and return the events that are known to have ended.

        Args:
            scores: of every class.
            stop_seconds: where the window ends, or the recording if that is earlier.
        """
        self._end_seconds = stop_seconds
        return [event for row in self._smoother.add(scores[self._places]) for event in self._take(row)]

    def finish(self) -> list[Event]:
        """Return the remaining events; what goes on ends with the recording."""
        found = [event for row in self._smoother.finish() for event in self._take(row)]
        for place in list(self._runs):
            found += self._close(place, None)
        for place in list(self._spans):
            found += self._report(place)
        return found

    def _take(self, row: Float[np.ndarray, "reported"]) -> list[Event]:
        found, active = list[Event](), row >= self._low
        if not (self._runs or self._spans or active.any()):  # most of a recording
            self._count, self._last = self._count + 1, row
            return found
        for place in [place for place in self._runs if not active[place]]:
            found += self._close(place, float(row[place]))
        for place in np.flatnonzero(active).tolist():
            if place not in self._runs:
                before = None if self._last is None else float(self._last[place])
                self._runs[place] = _Run(self._count, before)
            self._runs[place].scores.append(row[place])
        # A later run of the class begins here or later.
        here = self._sample(self._count, 0.0)
        for place in [place for place, span in self._spans.items() if span.stop + self._gap < here]:
            if place not in self._runs:
                found += self._report(place)
        self._count, self._last = self._count + 1, row
        return found

    def _close(self, place: int, after: float | None) -> list[Event]:
        """End a run; ``after`` is the score behind it, None at the end of the recording."""
        run = self._runs.pop(place)
        scores = np.array(run.scores)
        peak = float(scores.max())
        if peak < self._high[place]:
            return []
        level = peak / 2  # reached by no window outside of the run, because the low threshold is half the high one
        above = np.flatnonzero(scores >= level)
        first, last = int(above[0]), int(above[-1])
        left = run.before if first == 0 else float(scores[first - 1])
        right = after if last + 1 == len(scores) else float(scores[last + 1])
        start = 0 if left is None else self._sample(run.first + first - 1, _crossing(left, float(scores[first]), level))
        stop = (
            round(self._end_seconds * self._sample_rate)
            if right is None
            else self._sample(run.first + last, _crossing(float(scores[last]), right, level))
        )
        return self._merge(place, _Span(start, stop, peak))

    def _merge(self, place: int, span: _Span) -> list[Event]:
        earlier = self._spans.get(place)
        if earlier is not None and span.start - earlier.stop <= self._gap:
            self._spans[place] = _Span(earlier.start, span.stop, max(earlier.peak, span.peak))
            return []
        found = self._report(place) if earlier is not None else []
        self._spans[place] = span
        return found

    def _report(self, place: int) -> list[Event]:
        span = self._spans.pop(place)
        if span.stop - span.start < max(1, self._least):
            return []
        start, stop = span.start / self._sample_rate, span.stop / self._sample_rate
        return [Event(self._names[place], start, min(stop, self._end_seconds), span.peak)]

    def _sample(self, index: int, fraction: float) -> int:
        """The sample at the middle of a window, or a fraction of a hop behind it."""
        return index * self._hop + round(fraction * self._hop + self._window / 2)


class _Smoother:
    """Smooths the rows of a stream, as many as it is given; its ends go on with the first and the last row."""

    def __init__(self, smoothing: Smoothing, reach: int) -> None:
        self._reach = 0 if smoothing == "none" else reach
        self._combine = np.mean if smoothing == "mean" else np.median
        self._rows: deque[Float[np.ndarray, "reported"]] = deque(maxlen=2 * self._reach + 1)

    def add(self, row: Float[np.ndarray, "reported"]) -> list[Float[np.ndarray, "reported"]]:
        """The row that is smoothed now, if there is one."""
        if not self._reach:
            return [row]
        self._rows.extend([row] * (1 if self._rows else self._reach + 1))
        return [self._combine(list(self._rows), axis=0)] if len(self._rows) == self._rows.maxlen else []

    def finish(self) -> list[Float[np.ndarray, "reported"]]:
        """The rows that waited for others."""
        rows = self._rows
        return [smoothed for _ in range(self._reach) if rows for smoothed in self.add(rows[-1])]


def _crossing(left: float, right: float, level: float) -> float:
    """Where between two scores, 0 to 1, a straight line passes the level, which lies between them."""
    return (level - left) / (right - left)
