"""Content fingerprints of clips."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from audio_lightning.config import build, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.store.fingerprints import SEGMENT, overlapping, segments

ROWS = (
    "path,label,start,stop",
    "a.wav,x,,",
    "copy.flac,x,,",
    "b.wav,y,,",
    "a.wav,x,0.1,0.2",
    "copy.flac,y,0.15,0.25",
    "copy.flac,y,0.2,0.3",
    "b.wav,x,0.1,0.2",
    "a.wav,y,0.25,",
    "silent.wav,y,,",
)


@pytest.fixture
def clips(tmp_path: Path) -> AudioDataModule:
    rng = np.random.default_rng(0)
    first, second = ((tiny.sound("noise", rng, seconds=0.5) * 10_000).astype(np.int16) for _ in range(2))
    for name, samples in {"a.wav": first, "copy.flac": first, "b.wav": second, "silent.wav": 0 * first}.items():
        soundfile.write(tmp_path / name, samples, tiny.RATE)
    (tmp_path / "clips.csv").write_text("\n".join(ROWS))
    columns = ["data.start_column=start", "data.stop_column=stop", "data.split=all", "data.sample_rate=8000"]
    line = ["data=table", f"data.root={tmp_path}", "data.table=clips.csv", *columns]
    datamodule = build(compose(quote_paths(line)).data, AudioDataModule, where="data")
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (0, [0, 1, 3, 4, 5, 7]),
        (1, [0, 1, 3, 4, 5, 7]),
        (2, [2, 6]),
        (3, [0, 1, 3, 4]),  # not the adjacent one
        (4, [0, 1, 3, 4, 5]),
        (6, [2, 6]),
        (7, [0, 1, 5, 7]),
    ],
)
def test_clips_are_recognized_by_shared_samples(clips: AudioDataModule, row: int, expected: list[int]) -> None:
    every = segments(clips, np.arange(8))
    assert np.flatnonzero(overlapping(every, segments(clips, np.array([row])))).tolist() == expected
    assert len(every) == 8


def test_silence_and_background_noise_have_no_segments(clips: AudioDataModule) -> None:
    assert len(segments(clips, np.array([8]))) == 0
    clips.manifest.table["background"] = clips.manifest.table["path"] == "b.wav"
    assert len(segments(clips, np.array([2, 6]))) == 0


def test_overlaps_are_those_of_a_comparison_of_all_with_all() -> None:
    rng = np.random.default_rng(1)
    some, others = np.empty(60, SEGMENT), np.empty(40, SEGMENT)
    for many in (some, others):
        many["recording"] = rng.integers(-4, 4, len(many)) << 50
        many["start"] = rng.integers(0, 300, len(many))
        many["stop"] = many["start"] + rng.integers(1, 20, len(many))
    expected = [
        any(
            one["recording"] == other["recording"] and one["start"] < other["stop"] and other["start"] < one["stop"]
            for other in others
        )
        for one in some
    ]
    assert 5 < sum(expected) < 55
    assert overlapping(some, others).tolist() == expected
    assert not overlapping(some, others[:0]).any()
