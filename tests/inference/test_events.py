"""Onsets and offsets of a classifier whose scores are known: the share of a window that the event fills."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from audio_lightning.inference.events import Event, EventFinder, EventSettings

RATE = 8000
WINDOW = RATE


def share(events: list[tuple[float, float]], start: int, window: int = WINDOW) -> float:
    """Share of the window from the sample ``start`` on that lies within the events, given in seconds."""
    overlaps = (min(start + window, stop * RATE) - max(start, onset * RATE) for onset, stop in events)
    return sum(max(0.0, overlap) for overlap in overlaps) / window


def step(at: float) -> Callable[[float], float]:
    return lambda filled: 0.97 if filled >= at else 0.02


def find(
    events: list[tuple[float, float]],
    seconds: float,
    *,
    hop: int = RATE // 10,
    response: Callable[[float], float] = float,
    begin: float = 0.0,
    threshold: float = 0.6,
    **options: object,
) -> list[Event]:
    """Events of a recording in which ``response`` of the share is the score; before ``begin``, the score is 0."""
    settings = EventSettings({"b": threshold}, **options)  # type: ignore[arg-type]
    finder = EventFinder(["a", "b"], sample_rate=RATE, window=WINDOW, hop=hop, settings=settings)
    found = []
    nothing = np.array([1.0, 0.0], np.float32)
    for start in range(0, round(seconds * RATE) - WINDOW + 1, hop):
        scores = nothing
        if start >= begin * RATE:
            scores = np.array([1.0, response(share(events, start))], np.float32)
        found += finder.add(scores, (start + WINDOW) / RATE)
    return found + finder.finish()


@pytest.mark.parametrize("hop", [RATE // 10, RATE // 4, RATE, 1234])
@pytest.mark.parametrize("onset", [5.0, 5.03, 7.777])
def test_a_score_in_proportion_gives_exact_times(hop: int, onset: float) -> None:
    """At any overlap: whatever lies between two windows is interpolated."""
    (event,) = find([(onset, onset + 3.21)], 15, hop=hop, smoothing="none")
    tolerance = 1 / RATE if hop < WINDOW / 2 else 0.1
    assert event.start_seconds == pytest.approx(onset, abs=tolerance)
    assert event.stop_seconds == pytest.approx(onset + 3.21, abs=tolerance)
    assert (event.label, event.confidence) == ("b", 1.0)


def test_an_onset_after_three_hours_is_exact() -> None:
    """At 3 h 00 min 00.5 s, with a hop of 0.1 s: no error of the sum of 108,000 hops."""
    onset = 3 * 3600 + 0.5
    (event,) = find([(onset, onset + 2)], onset + 6, begin=onset - 3, smoothing="none")
    assert event.start_seconds == pytest.approx(onset, abs=1 / RATE)
    assert event.stop_seconds == pytest.approx(onset + 2, abs=1 / RATE)


def test_a_step_at_one_half_has_no_bias() -> None:
    """Of onsets anywhere between two windows, the error is at most half a hop and zero in the mean."""
    errors = []
    for onset in 5 + np.linspace(0, 0.1, 21)[:-1]:
        (event,) = find([(onset, onset + 2)], 12, response=step(0.5))
        errors.append((event.start_seconds - onset, event.stop_seconds - onset - 2))
    assert np.abs(errors).max() <= 0.052, "the step is not from 0 to 1"
    assert np.abs(np.mean(errors, axis=0)).max() < 0.005


@pytest.mark.parametrize("at", [0.3, 0.5, 0.8])
def test_the_bias_of_a_step_is_its_distance_from_one_half(at: float) -> None:
    onsets = 5 + np.linspace(0, 0.1, 11)[:-1]
    found = [find([(onset, onset + 3)], 12, response=step(at))[0] for onset in onsets]
    starts = np.mean([event.start_seconds - onset for event, onset in zip(found, onsets)])
    stops = np.mean([event.stop_seconds - onset - 3 for event, onset in zip(found, onsets)])
    assert starts == pytest.approx(at - 0.5, abs=0.02)
    assert stops == pytest.approx(0.5 - at, abs=0.02)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("length", [0.3, 0.6])
def test_the_middle_of_a_short_event_has_no_bias(length: float, at: float) -> None:
    middles, lengths = [], []
    for onset in 5 + np.linspace(0, 0.1, 11)[:-1]:
        (event,) = find([(onset, onset + length)], 12, response=step(at * length))
        middles.append((event.start_seconds + event.stop_seconds) / 2 - onset - length / 2)
        lengths.append(event.stop_seconds - event.start_seconds)
    assert np.mean(middles) == pytest.approx(0, abs=0.01)
    assert np.mean(lengths) == pytest.approx(1 + length * (1 - 2 * at), abs=0.02)


def test_the_threshold_does_not_move_an_onset() -> None:
    starts = [find([(5.03, 8)], 12, threshold=threshold)[0].start_seconds for threshold in (0.2, 0.6, 0.95)]
    assert np.ptp(starts) < 2 / RATE


def test_hysteresis() -> None:
    assert find([(5, 5.5)], 12, threshold=0.6) == [], "half of a window"
    dips = [(5.0, 7.0), (7.3, 9.0)]  # 0.7 of a window in the middle: above the low threshold
    assert len(find(dips, 12, threshold=0.9)) == 1
    assert len(find([(5, 7), (7.8, 9)], 12, threshold=0.9)) == 2


def test_gaps_are_merged_and_short_events_are_dropped_after_that() -> None:
    events = [(3.0, 5.0), (6.5, 8.0), (12.0, 13.2)]
    apart = find(events, 20)
    assert [round(event.start_seconds, 2) for event in apart] == [3.0, 6.5, 12.0]
    merged = find(events, 20, merge_gap_seconds=1.6)
    assert [(round(e.start_seconds, 2), round(e.stop_seconds, 2)) for e in merged] == [(3.0, 8.0), (12.0, 13.2)]
    assert len(find(events, 20, merge_gap_seconds=1.4)) == 3
    assert len(find(events, 20, min_duration_seconds=1.3)) == 2
    assert len(find(events, 20, merge_gap_seconds=1.6, min_duration_seconds=2.5)) == 1


def test_median_removes_single_window_outliers() -> None:
    def spike(settings: str) -> list[Event]:
        times = itertools.count()
        return find([], 10, response=lambda _: 0.9 if next(times) == 40 else 0.0, smoothing=settings)

    assert spike("median") == []
    assert len(spike("none")) == 1


def test_events_at_the_ends_reach_to_the_ends() -> None:
    first, last = find([(0, 2), (8, 10.05)], 10.05)
    assert (first.start_seconds, first.stop_seconds) == (0.0, pytest.approx(2, abs=1e-3))
    assert last.start_seconds == pytest.approx(8, abs=1e-3)
    assert last.stop_seconds == 10.0, "what the last window holds"


def test_a_recording_of_one_window_is_one_event() -> None:
    settings = EventSettings({"b": 0.5})
    finder = EventFinder(["a", "b"], sample_rate=RATE, window=WINDOW, hop=RATE // 10, settings=settings)
    assert finder.add(np.array([0.2, 0.8], np.float32), 0.3) == []
    (event,) = finder.finish()
    assert (event.start_seconds, event.stop_seconds, event.confidence) == (0.0, 0.3, pytest.approx(0.8))


def test_an_empty_recording_has_no_events() -> None:
    finder = EventFinder(["b"], sample_rate=RATE, window=WINDOW, hop=RATE, settings=EventSettings({"b": 0.5}))
    assert finder.finish() == []


def test_events_are_returned_at_their_end_and_not_stored() -> None:
    settings = EventSettings({"b": 0.6}, merge_gap_seconds=0.5)
    finder = EventFinder(["a", "b"], sample_rate=RATE, window=WINDOW, hop=RATE // 10, settings=settings)
    came = [
        start / RATE
        for start in range(0, 20 * RATE, RATE // 10)
        for _ in finder.add(np.array([0, share([(3, 5), (11, 12)], start)], np.float32), start / RATE + 1)
    ]
    assert came == [pytest.approx(5 + 0.5 + 0.2 - 0.5, abs=0.25), pytest.approx(12 + 0.5 + 0.2 - 0.5, abs=0.25)]
    assert finder._runs == {}
    assert finder._spans == {}


def test_classes_overlap_and_those_without_a_threshold_are_left_out() -> None:
    settings = EventSettings({"b": 0.6, "c": 0.3})
    finder = EventFinder(["a", "b", "c"], sample_rate=RATE, window=WINDOW, hop=RATE // 4, settings=settings)
    found = []
    for start in range(0, 12 * RATE, RATE // 4):
        scores = [1.0, share([(3, 6)], start), 0.5 * share([(4, 9)], start)]
        found += finder.add(np.array(scores, np.float32), start / RATE + 1)
    found += finder.finish()
    assert [(event.label, round(event.start_seconds, 2), round(event.stop_seconds, 2)) for event in found] == [
        ("b", 3.0, 6.0),
        ("c", 4.0, 9.0),
    ]


TYPICAL = {"typical_seconds": {"b": 0.3}}


def half_of(length: float) -> Callable[[float], float]:
    """Response to half of an event of some windows: a little more, so that no window is exactly at the step."""
    return step(length / 2 + 1e-4)


@pytest.mark.parametrize("hop", [RATE // 10, RATE // 4, 1234])
@pytest.mark.parametrize("length", [0.2, 0.3, 0.4])
def test_a_short_event_has_the_typical_duration_around_its_centre(hop: int, length: float) -> None:
    """Of onsets anywhere between two windows, the error is half of the wrong length, and at most a hop more."""
    errors = []
    for onset in 5 + np.linspace(0, hop / RATE, 11)[:-1]:
        (event,) = find([(onset, onset + length)], 12, hop=hop, response=half_of(length), **TYPICAL)
        assert event.stop_seconds - event.start_seconds == pytest.approx(0.3, abs=1e-9)
        errors.append(event.start_seconds - onset)
    assert np.abs(np.array(errors) - (length - 0.3) / 2).max() <= hop / RATE
    assert np.mean(errors) == pytest.approx((length - 0.3) / 2, abs=0.1 * hop / RATE)
    (found,) = find([(5.0, 5.0 + length)], 12, hop=hop, response=half_of(length))
    assert found.stop_seconds - found.start_seconds == pytest.approx(1, abs=hop / RATE + 0.001)


def test_a_typical_duration_is_exact_after_hours() -> None:
    onset = 2 * 3600 + 0.5
    (event,) = find([(onset, onset + 0.3)], onset + 6, begin=onset - 3, response=half_of(0.3), **TYPICAL)
    assert event.start_seconds == pytest.approx(onset, abs=0.1)
    assert round((event.stop_seconds - event.start_seconds) * RATE, 6) == 0.3 * RATE
    assert round(event.start_seconds * RATE, 6) % 1 == 0


@pytest.mark.parametrize(
    ("events", "options"),
    [
        ([(5.0, 6.2)], {}),
        ([(5.0, 5.5)], {"typical_seconds": {"b": 0.6}}),
        ([(5.0, 6.0)], {"typical_seconds": {"a": 0.3}}),
        ([(5.0, 6.0)], {"typical_seconds": {"b": 1.0}}),
        ([(5.0, 6.0)], {"typical_seconds": {"b": 5.0}}),
    ],
    ids=["more than 1.1 windows", "found shorter", "another class", "a window", "more than a window"],
)
def test_other_events_keep_their_length(events: list[tuple[float, float]], options: dict[str, object]) -> None:
    response = step(0.5) if events[0][1] > 5.5 else step(0.49)  # 0.49 of 0.5 windows: found with 0.52 s
    before = find(events, 12, hop=80, response=response)
    assert find(events, 12, hop=80, response=response, **{**TYPICAL, **options}) == before
    assert len(before) == 1


@pytest.mark.parametrize(("length", "expected"), [(1.08, 0.3), (1.13, 1.13)])
def test_at_most_one_window_and_a_tenth_is_short(length: float, expected: float) -> None:
    (event,) = find([(5.0, 5.0 + length)], 12, hop=80, response=step(0.5), **TYPICAL)
    assert event.stop_seconds - event.start_seconds == pytest.approx(expected, abs=0.015)


def test_events_that_the_recording_cuts_keep_their_length() -> None:
    events = [(0.0, 0.7), (9.3, 10.0)]
    before = find(events, 10, response=step(0.3))
    assert [event.stop_seconds - event.start_seconds < 1.1 for event in before] == [True, True]
    assert find(events, 10, response=step(0.3), **TYPICAL) == before


def test_gaps_are_those_between_typical_durations() -> None:
    events = [(3.0, 3.3), (4.5, 4.8), (9.0, 12.0)]  # the first two with a gap of 1.2 s, found with one of 0.5 s

    def times(**options: object) -> list[float]:
        found = find(events, 15, hop=80, response=half_of(0.3), **options)
        return [time for event in found for time in (event.start_seconds, event.stop_seconds)]

    last = [8.65, 12.35]  # 0.15 of a window is at the step
    assert times(**TYPICAL) == pytest.approx([3.0, 3.3, 4.5, 4.8, *last], abs=0.02)
    assert times(**TYPICAL, merge_gap_seconds=1.1) == times(**TYPICAL)
    assert times(**TYPICAL, merge_gap_seconds=1.3) == pytest.approx([3.0, 4.8, *last], abs=0.02)
    assert times(**TYPICAL, min_duration_seconds=0.5) == pytest.approx(last, abs=0.02)
    assert times(merge_gap_seconds=0.6) == pytest.approx([2.65, 5.15, *last], abs=0.02)
