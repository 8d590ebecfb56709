"""Leakage between splits."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audio_lightning.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.splitting.leakage import LeakageError, guard_content, guard_sources

ONE, TWO, THREE = (np.full(16, value, np.uint8) for value in (1, 2, 3))
SILENCE = np.zeros(16, np.uint8)


def manifest(**changes: list) -> Manifest:
    """Four clips of two groups: two for training, one each for validation and test."""
    columns = {
        "path": ["a.wav", "b.wav", "c.wav", "d.wav"],
        "label": ["x"] * 4,
        "group": ["g1", "g1", "g2", "g3"],
        "split": [TRAIN, TRAIN, VALIDATION, TEST],
    }
    return Manifest(Path("."), pd.DataFrame({**columns, **changes}), ("x",))


def test_clean_splits_pass() -> None:
    assert guard_sources(manifest(), "folds", allow=False) == "none found"


@pytest.mark.parametrize("method", ["official", "folds", "grouped"])
def test_a_group_in_two_splits_stops_the_run_by_name(method: str) -> None:
    with pytest.raises(LeakageError, match="group g1: in train and test") as caught:
        guard_sources(manifest(group=["g1", "g1", "g2", "g1"]), method, allow=False)
    assert caught.value.leaks == ["group g1: in train and test"]


@pytest.mark.parametrize(("method", "allow"), [("folds", True), ("random", False), ("stratified", False)])
def test_allowed_leakage_is_reported(method: str, allow: bool) -> None:
    assert guard_sources(manifest(group=["g1", "g1", "g2", "g1"]), method, allow=allow) == "present"


@pytest.mark.parametrize("group", [[""] * 4, ["g1", "g1", "g2", ""]])
def test_leakage_cannot_be_excluded_without_groups(group: list[str]) -> None:
    assert guard_sources(manifest(group=group), "stratified", allow=False) == "cannot be excluded"


def test_a_leak_is_found_where_only_some_groups_are_known() -> None:
    with pytest.raises(LeakageError, match="group g1: in train and validation"):
        guard_sources(manifest(group=["g1", "", "g1", ""]), "folds", allow=False)


def test_parts_of_one_file_in_two_splits_are_a_leak() -> None:
    data = manifest(path=["a.wav", "b.wav", "c.wav", "a.wav"], group=[""] * 4, start_seconds=[0.0, 0.0, 0.0, 5.0])
    with pytest.raises(LeakageError, match=r"group a\.wav: in train and test"):
        guard_sources(data, "folds", allow=False)


def test_background_noise_may_be_in_all_splits() -> None:
    data = manifest(path=["noise.wav"] * 4, group=["noise"] * 4, background=[True] * 4)
    assert guard_sources(data, "official", allow=False) == "none found"
    assert guard_content(data, np.zeros(4, int), np.stack([ONE]), "official", allow=False) == "none found"


def test_the_same_audio_in_two_splits_stops_the_run_by_name() -> None:
    hashes = np.stack([ONE, TWO, THREE, ONE])
    with pytest.raises(LeakageError, match=r"content a\.wav \(train\) = d\.wav \(test\): in train and test"):
        guard_content(manifest(), np.arange(4), hashes, "folds", allow=False)
    assert guard_content(manifest(), np.arange(4), hashes, "folds", allow=True) == "present"
    assert guard_content(manifest(), np.arange(4), hashes, "random", allow=False) == "present"


def test_other_parts_of_one_recording_are_not_the_same_audio() -> None:
    data = manifest(path=["a.wav"] * 4, start_seconds=[0.0, 1.0, 2.0, 3.0], stop_seconds=[1.0, 2.0, 3.0, 4.0])
    assert guard_content(data, np.zeros(4, int), np.stack([ONE]), "folds", allow=False) == "none found"


OVERLAPS = {
    "each other's": (
        ([0, 1, 2, 0.5], [2, 3, 4, 2.5]),
        "a from 0 s to 2 s (train) overlaps b from 0.5 s to 2.5 s (test) overlaps a from 1 s to 3 s (train) "
        "overlaps b from 2 s to 4 s (validation): in train and validation and test",
    ),
    "only what is concerned": (
        ([0, 0.5, 9, 2], [2, 2.5, 10, 4]),
        "a from 0.5 s to 2.5 s (train) overlaps b from 2 s to 4 s (test): in train and test",
    ),
    "equal": (([0, 5, 9, 5], [1, 6, 10, 6]), "a from 5 s to 6 s (train) = b from 5 s to 6 s (test): in train and test"),
    "open end": (
        ([0, 4, 9, 1], [1, np.nan, 9.5, 4.5]),
        "b from 1 s to 4.5 s (test) overlaps a from 4 s to its end (train) overlaps b from 9 s to 9.5 s (validation): "
        "in train and validation and test",
    ),
    "of one file": (
        ([0, 4, 9, 8], [1, 5, 10, np.nan]),
        "b from 8 s to its end (test) overlaps b from 9 s to 10 s (validation): in validation and test",
    ),
    "within": (
        ([0, 0, 4, 20], [1, 8, 5, 21]),
        "a from 0 s to 8 s (train) overlaps b from 4 s to 5 s (validation): in train and validation",
    ),
    "the whole": (
        ([0, 0, 4, 20], [1, np.nan, 5, 21]),
        "a (train) overlaps b from 4 s to 5 s (validation) overlaps b from 20 s to 21 s (test): "
        "in train and validation and test",
    ),
}
"""Starts and stops of four clips, two of a recording and two of its copy, and the expected leaks."""


@pytest.mark.parametrize("name", OVERLAPS)
def test_overlapping_stretches_of_equal_recordings_are_a_leak(name: str) -> None:
    (starts, stops), leak = OVERLAPS[name]
    data = manifest(path=["a", "a", "b", "b"], start_seconds=starts, stop_seconds=stops)
    recording = np.array([0, 0, 1, 1])
    with pytest.raises(LeakageError) as caught:
        guard_content(data, recording, np.stack([ONE, ONE]), "folds", allow=False)
    assert caught.value.leaks == [f"content {leak}"]
    assert guard_content(data, recording, np.stack([SILENCE, SILENCE]), "folds", allow=False) == "none found"


@pytest.mark.parametrize(
    ("starts", "stops"),
    [
        ([0, 4, 1, 2], [1, 5, 2, 3]),
        ([0.1, 4, 0.3, 2], [0.1 + 0.2, 5, 2, 3]),
        ([0, 0.5, 4, 6], [2, 3, 6, np.nan]),
    ],
    ids=["apart", "as computed", "in one split"],
)
def test_stretches_of_equal_recordings_that_are_apart_are_other_audio(starts: list[float], stops: list[float]) -> None:
    data = manifest(path=["a", "a", "b", "b"], start_seconds=starts, stop_seconds=stops)
    assert guard_content(data, np.array([0, 0, 1, 1]), np.stack([ONE, ONE]), "folds", allow=False) == "none found"


def test_background_noise_does_not_connect_clips() -> None:
    data = manifest(path=["a"] * 4, start_seconds=[0.0, 1.0, 2.0, 0.0], stop_seconds=[1.0, 2.0, 3.0, np.nan])
    data.table["background"] = [False, False, False, True]
    assert guard_content(data, np.zeros(4, int), np.stack([ONE]), "folds", allow=False) == "none found"


def test_vectorized_overlaps_equal_pairwise_overlaps() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = rng.integers(0, 20, 8)
        stops = starts + rng.integers(1, 6, 8)
        split = rng.choice([TRAIN, VALIDATION, TEST], 8)
        recording = rng.integers(0, 3, 8)
        content = np.array([0, 0, 1])[recording]
        concerned = {
            f"{i}.wav"
            for i in range(8)
            for j in range(8)
            if content[i] == content[j] and split[i] != split[j] and starts[i] < stops[j] and starts[j] < stops[i]
        }
        columns = {"path": [f"{row}.wav" for row in range(8)], "start_seconds": starts, "stop_seconds": stops}
        data = Manifest(Path("."), pd.DataFrame({**columns, "split": split, "label": "x"}), ("x",))
        named: list[str] = []
        try:
            guard_content(data, recording, np.stack([ONE, ONE, TWO]), "folds", allow=False)
        except LeakageError as error:
            named = re.findall(r"\d\.wav", " ".join(error.leaks))
        assert len(named) == len(set(named))
        assert set(named) == concerned


@pytest.mark.parametrize("hashes", [[SILENCE, TWO, SILENCE, SILENCE], [ONE, ONE, TWO, THREE]])
def test_silence_may_recur_and_copies_within_a_split_are_no_leak(hashes: list[np.ndarray]) -> None:
    assert guard_content(manifest(), np.arange(4), np.stack(hashes), "folds", allow=False) == "none found"


def test_many_leaks_are_counted_and_only_some_are_shown() -> None:
    count = 30
    table = pd.DataFrame(
        {
            "path": [f"{row}.wav" for row in range(2 * count)],
            "label": "x",
            "group": [f"g{row // 2:02d}" for row in range(2 * count)],
            "split": [TRAIN, TEST] * count,
        }
    )
    with pytest.raises(LeakageError, match="30 found") as caught:
        guard_sources(Manifest(Path("."), table, ("x",)), "folds", allow=False)
    assert len(caught.value.leaks) == count
    assert "g09" in str(caught.value)
    assert "g10" not in str(caught.value)
    assert "... and 20 more" in str(caught.value)
