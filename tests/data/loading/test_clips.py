"""Positions of clips and windows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audio_lightning.audio import windows
from audio_lightning.data.loading.clips import cut, window_count
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.store.decoded import FACTS, DecodedAudio

RATE = 1000


def audio(*lengths: int) -> DecodedAudio:
    offsets = np.cumsum([0, *lengths])
    samples = np.arange(offsets[-1], dtype=np.float32)
    hashes = np.ones((len(lengths), 16), np.uint8)
    return DecodedAudio(samples, offsets[:-1], offsets[1:], hashes, np.zeros(len(lengths), FACTS), {})


def manifest(paths: list[str], **columns: list) -> Manifest:
    return Manifest(Path("."), pd.DataFrame({"path": paths, "label": "x", **columns}), ("x",))


@pytest.mark.parametrize("hop", [3, 7, 10, 15])
@pytest.mark.parametrize("length", [1, 9, 10, 11, 12, 13, 19, 20, 21, 27, 33, 34, 45, 46, 100])
def test_windows_are_those_of_a_recording_of_any_length(tmp_path: Path, length: int, hop: int) -> None:
    """The windows equal those of prediction."""
    soundfile.write(tmp_path / "a.wav", np.arange(length) / 1000, RATE, subtype="FLOAT")
    expected = [
        (round(window.start_seconds * RATE), len(window.samples))
        for window in windows(tmp_path / "a.wav", RATE, window_samples=10, hop_samples=hop)
    ]
    clips = cut(manifest(["a", "b"]), np.array([0, 1]), audio(length, length), RATE, 10, hop)
    for row in (0, 1):
        mine = clips.row == row
        assert list(zip(clips.offset[mine].tolist(), clips.length[mine].tolist())) == expected
        np.testing.assert_array_equal(clips.start[mine], clips.offset[mine] + row * length)


def test_one_clip_a_row_is_cut_at_its_end() -> None:
    clips = cut(manifest(["a", "b", "a"]), np.array([0, 1, 0]), audio(25, 4), RATE, 10, None)
    assert clips.row.tolist() == [0, 1, 2]
    assert clips.start.tolist() == [0, 25, 0]
    assert clips.length.tolist() == [10, 4, 10]


@pytest.mark.parametrize("hop", [None, 10])
def test_a_part_of_a_recording(hop: int | None) -> None:
    data = manifest(["a"] * 4, start_seconds=[0.0, 0.005, 0.03, 0.9], stop_seconds=[0.008, 0.017, np.nan, np.nan])
    clips = cut(data, np.zeros(4, int), audio(50), RATE, 10, hop)
    expected = {
        None: ([0, 1, 2, 3], [0, 5, 30, 50], [8, 10, 10, 0]),
        10: ([0, 1, 1, 2, 2, 3], [0, 5, 15, 30, 40, 50], [8, 10, 2, 10, 10, 0]),
    }[hop]
    assert (clips.row.tolist(), clips.start.tolist(), clips.length.tolist()) == expected


@pytest.mark.parametrize("hop", [None, 10])
def test_background_is_one_clip_that_may_be_anywhere(hop: int | None) -> None:
    clips = cut(manifest(["a"], background=[True]), np.array([0]), audio(50), RATE, 10, hop)
    assert (clips.start.tolist(), clips.length.tolist(), clips.background.tolist()) == ([0], [50], [True])


def test_an_unreadable_recording_is_one_clip_of_nothing() -> None:
    clips = cut(manifest(["a", "b"]), np.array([0, 1]), audio(0, 20), RATE, 10, 5)
    assert clips.length.tolist() == [0, 10, 10, 10]
    assert window_count(np.array([0]), 10, 5).tolist() == [1]
