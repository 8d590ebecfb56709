"""Typical durations of the sounds of the classes."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tiny_speech import speech, write_noise, write_words

from audio_lightning.config import build, compose, quote_paths
from audio_lightning.data import durations
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.durations import typical_seconds

RATE = 8000


def write(path: Path, seconds: float, length: float = 1.0, start: float = 0.1) -> None:
    """Write a noise of known duration with faint noise around it, or silence for 0 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(int(path.stem))
    samples = (1e-4 if seconds else 0) * rng.normal(size=round(length * RATE))
    first = round(start * RATE)
    samples[first : first + round(seconds * RATE)] += 0.1 * rng.choice([-1, 1], round(seconds * RATE))
    soundfile.write(path, samples, RATE)


def opened(root: Path, *overrides: str) -> AudioDataModule:
    line = [f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=1", *overrides]
    ready = build(compose(quote_paths(line)).data, AudioDataModule, where="data")
    ready.setup()
    return ready


def table(root: Path, clips: Sequence[tuple[str, float, str]], *overrides: str, **options: Any) -> AudioDataModule:
    """Clips by labels, duration and split; one more of each class is for training, and one is for the test."""
    rows = [*clips, *((name, 0.05, "train") for name in ("bark", "click", "other")), ("other", 0.05, "test")]
    with (root / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for number, (label, seconds, split) in enumerate(rows):
            write(root / f"{number}.wav", seconds, **options)
            writer.writerow((f"{number}.wav", label, split))
    return opened(root, "data=table", "data.table=clips.csv", "data.split_column=split", *overrides)


BARKS = [("bark", seconds, "validation") for seconds in (0.2, 0.3, 0.8)]


def test_it_is_the_median_of_the_clips_of_a_split(tmp_path: Path) -> None:
    data = table(tmp_path, [*BARKS, ("click", 0.04, "validation"), ("click", 0.9, "test")])
    found = typical_seconds(data, "validation")
    assert found is not None
    assert found.dtype == np.float32
    assert data.task.classes == ("bark", "click", "other")
    np.testing.assert_allclose(found, [0.3, 0.04, np.nan], atol=1e-6)


def test_silent_clips_do_not_count(tmp_path: Path) -> None:
    silent = [("click", 0.0, "validation"), ("other", 0.0, "validation")]
    found = typical_seconds(table(tmp_path, [*BARKS, *silent, ("click", 0.1, "validation")]), "validation")
    np.testing.assert_allclose(found, [0.3, 0.1, np.nan], atol=1e-6)


def test_without_sound_there_is_none(tmp_path: Path) -> None:
    assert typical_seconds(table(tmp_path, [("click", 0.0, "validation")]), "validation") is None


@pytest.mark.parametrize("padding", ["zero", "repeat", "reflect"])
def test_padding_does_not_count(tmp_path: Path, padding: str) -> None:
    data = table(tmp_path, BARKS[:1], f"data.padding={padding}", length=0.4)
    np.testing.assert_allclose(typical_seconds(data, "validation"), [0.2, np.nan, np.nan], atol=1e-6)


def test_longer_recordings_are_cut_to_the_clip(tmp_path: Path) -> None:
    data = table(tmp_path, [("bark", 1.8, "validation")], length=2.0)
    np.testing.assert_allclose(typical_seconds(data, "validation"), [0.9, np.nan, np.nan], atol=1e-6)


def test_a_clip_counts_for_each_of_its_labels(tmp_path: Path) -> None:
    clips = [("bark|click", 0.2, "validation"), ("click", 0.6, "validation"), ("bark|click", 0.8, "validation")]
    found = typical_seconds(table(tmp_path, clips, "data.label_separator=|"), "validation")
    np.testing.assert_allclose(found, [0.5, 0.6, np.nan], atol=1e-6)


def test_many_clips_are_measured_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "MOST_CLIPS", 3)
    clips = [("bark", 0.2 if number % 3 == 0 else 0.6, "validation") for number in range(8)]
    found = typical_seconds(table(tmp_path, clips), "validation")
    np.testing.assert_allclose(found, [0.2, np.nan, np.nan], atol=1e-6)


def test_clips_drawn_from_background_recordings_do_not_count(tmp_path: Path) -> None:
    write_words(tmp_path, ["yes", "no", "cat"], {"train": 2, "validation": 2, "test": 2}, sound=True)
    write_noise(tmp_path, sound=True)
    data = speech(tmp_path, "data.task=12", "data.words=[yes,no]", "data.silence_percent=50", "data.unknown_percent=50")
    data.setup()
    assert data.task.classes[:2] == ("_silence_", "_unknown_")
    assert data.class_counts("validation")[0] > 0
    np.testing.assert_allclose(typical_seconds(data, "validation"), [np.nan, 0.1, 0.1, 0.1], atol=1e-6)
