"""Post-processing of window scores into sound events: smoothing, hysteresis, onsets and offsets, merging of gaps.

**Onsets and offsets.** The score of a window is assigned to its centre, and scores between the centres of neighbouring
windows are interpolated linearly. The onset is the time at which the score rises through half of the event's peak; the
offset is the time at which it last falls through this level.

Why this is unbiased: the first window that overlaps an event begins up to one window before the onset, and the first
window that the event fills begins at the onset. Halfway between, the centre of the window is at the onset, and the
event fills half of the window. The estimate for an event of at least one window is therefore unbiased if the
classifier gives half of its full score to a half-filled window. A score proportional to the filled share has this
property, and so has a step at one half. For a step at the share ``q``, onsets are late by ``q - 1/2`` windows, and
offsets are early by the same time.

**Events shorter than a window.** The length of an event that is shorter than a window ``W`` follows from the scores
only if ``q`` is known. A classifier that responds to the share ``q`` of an event of length ``L`` yields the length ``W
+ L (1 - 2 q)``. With ``q = 1/2``, this is ``W`` for every ``L`` up to ``W``: a length of about a window says only that
the event is shorter. The centre of the event is unbiased for every ``q``.

So the length of such an event is assumed to be typical of its class, if a typical duration is known
(:attr:`EventSettings.typical_seconds`) and shorter than the window: an event that is found with a length of at most
:data:`SHORT` windows is replaced by the typical duration around its centre, unless it was found with a shorter length
or is cut by the beginning or the end of the recording. The centre does not change, so each end is wrong by half of the
difference between the true and the typical duration. Two events within one run of windows become one event.

The level is half of the peak instead of the threshold, because a threshold expresses the required certainty: a higher
one would move all onsets to later times. An event that begins in the first half of the first window is assigned the
start of the recording as its onset.

**Exactness.** Windows are counted, and a window starts at ``index * hop`` samples; only the position between two
windows is a fraction. Precision does not depend on the length of the recording.

This module needs only NumPy; :mod:`audio_lightning.inference.detect` computes the scores.
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
"""Low threshold of the hysteresis as a share of the high one, so that half of an event's peak is never below it."""

REACH = 0.25
"""Reach of the smoothing in window lengths: the scores of windows with centres within it are combined."""

SHORT = 1.1
"""Maximum length in windows of an event whose duration is assumed to be typical: a window, with a tolerance for scores
that are not exact."""


@dataclass(frozen=True)
class Event:
    """A segment of a recording in which a class was detected.

    Attributes:
        label: the class.
        start_seconds: onset in seconds from the beginning of the recording.
        stop_seconds: offset in seconds.
        confidence: highest smoothed score of the event.
    """

    label: str
    start_seconds: float
    stop_seconds: float
    confidence: float


@dataclass(frozen=True)
class EventSettings:
    """Settings of the post-processing.

    Attributes:
        thresholds: minimum peak score of an event, by class; classes without a threshold are not reported.
        smoothing: combination of the windows within :data:`REACH`: ``median`` keeps edges and removes outliers,
            ``mean`` averages, ``none`` uses single windows.
        merge_gap_seconds: events of one class are merged if the gap between them is not longer.
        min_duration_seconds: shorter events are dropped, after merging.
        typical_seconds: typical duration of events, by class; events of other classes keep the length that was found.
    """

    thresholds: dict[str, float]
    smoothing: Smoothing = "median"
    merge_gap_seconds: float = 0.0
    min_duration_seconds: float = 0.0
    typical_seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class _Run:
    """Neighbouring windows whose scores reach the low threshold.

    Attributes:
        first: index of the first window.
        before: score of the window before; None at the beginning of the recording.
        scores: scores of the windows, four bytes each.
    """

    first: int
    before: float | None
    scores: "array[float]" = field(default_factory=lambda: array("f"))


@dataclass
class _Span:
    """Start, stop (in samples) and peak score of an event."""

    start: int
    stop: int
    peak: float


class EventFinder:
    """Streaming post-processor: finds the events of one recording from its window scores.

    Its memory grows only with the length of the events in progress.

    Args:
        classes: classes of the scores, in order.
        sample_rate: in Hz.
        window: window length in samples.
        hop: samples from the start of one window to the next.
        settings: thresholds, smoothing and durations.
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
        known = settings.typical_seconds
        self._typical = {
            place: max(1, round(known[name] * sample_rate)) for place, name in enumerate(self._names) if name in known
        }
        self._smoother = _Smoother(settings.smoothing, int(REACH * window / hop))
        self._count = 0
        self._last: Float[np.ndarray, "reported"] | None = None
        self._runs: dict[int, _Run] = {}
        self._spans: dict[int, _Span] = {}
        self._end_seconds = 0.0

    def add(self, scores: Float[np.ndarray, "classes"], stop_seconds: float) -> list[Event]:
        """Add the scores of the next window; return the events that have ended.

        Args:
            scores: score of every class.
            stop_seconds: end of the window, or of the recording if that is earlier.
        """
        self._end_seconds = stop_seconds
        return [event for row in self._smoother.add(scores[self._places]) for event in self._take(row)]

    def finish(self) -> list[Event]:
        """Return the remaining events; those in progress end with the recording."""
        found = [event for row in self._smoother.finish() for event in self._take(row)]
        for place in list(self._runs):
            found += self._close(place, None)
        for place in list(self._spans):
            found += self._report(place)
        return found

    def _take(self, row: Float[np.ndarray, "reported"]) -> list[Event]:
        found, active = list[Event](), row >= self._low
        if not (self._runs or self._spans or active.any()):  # the most frequent case
            self._count, self._last = self._count + 1, row
            return found
        for place in [place for place in self._runs if not active[place]]:
            found += self._close(place, float(row[place]))
        for place in np.flatnonzero(active).tolist():
            if place not in self._runs:
                before = None if self._last is None else float(self._last[place])
                self._runs[place] = _Run(self._count, before)
            self._runs[place].scores.append(row[place])
        # A further run of the class can only begin here or later.
        here = self._sample(self._count, 0.0)
        for place in [place for place, span in self._spans.items() if span.stop + self._gap < here]:
            if place not in self._runs:
                found += self._report(place)
        self._count, self._last = self._count + 1, row
        return found

    def _close(self, place: int, after: float | None) -> list[Event]:
        """End a run; ``after`` is the score of the window that follows, None at the end of the recording."""
        run = self._runs.pop(place)
        scores = np.array(run.scores)
        peak = float(scores.max())
        if peak < self._high[place]:
            return []
        level = peak / 2  # no window outside of the run reaches it, because the low threshold is half the high one
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
        if left is not None and right is not None:
            start, stop = self._shortened(place, start, stop)
        return self._merge(place, _Span(start, stop, peak))

    def _shortened(self, place: int, start: int, stop: int) -> tuple[int, int]:
        """Return the typical duration around the centre of a short event, exact to half a sample."""
        typical, found = self._typical.get(place, self._window), stop - start
        if typical >= min(found, self._window) or found > SHORT * self._window:
            return start, stop
        start = (start + stop - typical) // 2
        return start, start + typical

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
        """Return the sample at the centre of a window, plus a fraction of a hop."""
        return index * self._hop + round(fraction * self._hop + self._window / 2)


class _Smoother:
    """Sliding median or mean over a stream of rows; the first and the last row are repeated at the ends."""

    def __init__(self, smoothing: Smoothing, reach: int) -> None:
        self._reach = 0 if smoothing == "none" else reach
        self._combine = np.mean if smoothing == "mean" else np.median
        self._rows: deque[Float[np.ndarray, "reported"]] = deque(maxlen=2 * self._reach + 1)

    def add(self, row: Float[np.ndarray, "reported"]) -> list[Float[np.ndarray, "reported"]]:
        """Add a row; return the row whose smoothing is now complete, if there is one."""
        if not self._reach:
            return [row]
        self._rows.extend([row] * (1 if self._rows else self._reach + 1))
        return [self._combine(list(self._rows), axis=0)] if len(self._rows) == self._rows.maxlen else []

    def finish(self) -> list[Float[np.ndarray, "reported"]]:
        """Return the rows whose smoothing was not yet complete."""
        rows = self._rows
        return [smoothed for _ in range(self._reach) if rows for smoothed in self.add(rows[-1])]


def _crossing(left: float, right: float, level: float) -> float:
    """Position from 0 to 1 at which the line between two scores crosses a level that lies between them."""
    return (level - left) / (right - left)
