"""Windows of an annotated recording."""

import re

import pytest

from audio_lightning.core.errors import ConfigError
from audio_lightning.data.sources.annotation_windows import LabelledWindows, Overlap, label_windows

RATE = 100
HALF = Overlap()


def windows(
    *annotations: tuple[float, float, str],
    seconds: float = 10.0,
    window: float = 2.0,
    hop: float = 2.0,
    overlap: Overlap = HALF,
) -> LabelledWindows:
    return label_windows(
        annotations,
        length=round(seconds * RATE),
        sample_rate=RATE,
        window=round(window * RATE),
        hop=round(hop * RATE),
        overlap=overlap,
    )


def labelled(found: LabelledWindows) -> dict[float, str]:
    """Labels of the windows with labels, by their start."""
    named = ["".join(name for name, has in zip(found.names, row) if has) for row in found.labels]
    return {start / RATE: names for start, names in zip(found.start.tolist(), named) if names}


@pytest.mark.parametrize(
    ("seconds", "window", "hop", "starts"),
    [
        (10.0, 2.0, 2.0, [0, 2, 4, 6, 8]),
        (9.0, 2.0, 2.0, [0, 2, 4, 6, 7]),  # the last one ends with the recording
        (8.05, 2.0, 2.0, [0, 2, 4, 6]),  # too little of it would be new
        (5.0, 2.0, 1.0, [0, 1, 2, 3]),
        (1.0, 2.0, 2.0, [0]),
    ],
)
def test_windows_cover_the_recording(seconds: float, window: float, hop: float, starts: list[float]) -> None:
    found = windows(seconds=seconds, window=window, hop=hop)
    assert [start / RATE for start in found.start.tolist()] == starts
    assert not found.touched.any()


def test_an_annotation_across_a_border_labels_the_window_that_holds_most_of_it() -> None:
    assert labelled(windows((1.7, 2.1, "a"))) == {0.0: "a"}
    assert labelled(windows((1.9, 2.3, "a"))) == {2.0: "a"}
    assert labelled(windows((1.8, 2.2, "a"))) == {0.0: "a", 2.0: "a"}  # half of it in each window
    assert labelled(windows((1.7, 2.1, "a"), overlap=Overlap(share=1.0))) == {0.0: "a"}


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        (Overlap(), {0.0: "a", 2.0: "a"}),  # 1.0 and 2.0 of 5.5 s; the windows hold 50 % and 100 %
        (Overlap(share=0.2), {0.0: "a", 2.0: "a", 4.0: "a", 6.0: "a"}),
        (Overlap(share=0.8), {2.0: "a", 4.0: "a"}),
        (Overlap(seconds=0.4, share=None), {0.0: "a", 2.0: "a", 4.0: "a", 6.0: "a"}),
        (Overlap(seconds=0.6, share=None), {0.0: "a", 2.0: "a", 4.0: "a"}),
        (Overlap(seconds=0.4, share=0.9), {0.0: "a", 2.0: "a", 4.0: "a", 6.0: "a"}),
    ],
)
def test_minimum_overlap(overlap: Overlap, expected: dict[float, str]) -> None:
    found = windows((1.0, 6.5, "a"), overlap=overlap)
    assert labelled(found) == (expected | {4.0: "a"})
    assert found.touched.tolist() == [True, True, True, True, False]


def test_a_window_has_the_labels_of_all_that_it_holds() -> None:
    found = windows((0.0, 1.0, "a"), (0.5, 1.5, "b"), (1.2, 1.5, "a"), (5.0, 5.5, "c"))
    assert labelled(found) == {0.0: "ab", 4.0: "c"}
    assert found.seconds[0].tolist() == pytest.approx([1.3, 1.0, 0.0])


def test_an_annotation_in_the_last_instant_keeps_the_window_that_holds_it() -> None:
    found = windows((8.01, 8.05, "a"), seconds=8.05)
    assert labelled(found) == {6.05: "a"}


def test_windows_that_overlap_share_a_label() -> None:
    assert labelled(windows((3.0, 3.5, "a"), hop=0.5)) == {1.5: "a", 2.0: "a", 2.5: "a", 3.0: "a"}


def test_an_annotation_that_ends_where_a_window_begins_but_for_rounding_is_not_in_it() -> None:
    found = windows((1.0, 2.0 + 1e-9, "a"))
    assert found.touched.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": None, "share": None}, "data.min_overlap_seconds and data.min_overlap_share are null"),
        ({"seconds": 0.0}, "data.min_overlap_seconds=0.0: expected more than 0"),
        ({"share": 0.0}, "data.min_overlap_share=0.0: expected more than 0 and at most 1"),
        ({"share": 1.5}, "data.min_overlap_share=1.5"),
    ],
)
def test_invalid_overlaps(options: dict[str, float | None], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Overlap(**options)
