"""Recordings are decoded once, and found again only while they are the same."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_lightning.audio import load
from audio_lightning.data import cache
from audio_lightning.data.cache import decode_all


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for number, length in enumerate((100, 4000, 1234)):
        paths.append(tmp_path / "sounds" / f"{number}.wav")
        paths[-1].parent.mkdir(exist_ok=True)
        soundfile.write(paths[-1], rng.uniform(-0.5, 0.5, length), 8000, subtype="FLOAT")
    return paths


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that are decoded from now on."""
    seen: list[Path] = []

    def spy(path: Path, sample_rate: int) -> np.ndarray:
        seen.append(path)
        return load(path, sample_rate)

    monkeypatch.setattr(cache, "load", spy)
    return seen


def test_samples_are_those_of_the_recordings(recordings: list[Path], tmp_path: Path) -> None:
    audio = decode_all(recordings, 8000, tmp_path / "cache")
    assert len(audio) == 3
    for index, path in enumerate(recordings):
        np.testing.assert_array_equal(audio[index], load(path, 8000))
    assert len(set(audio.hashes)) == 3
    assert isinstance(audio.samples, np.memmap)


def test_a_second_run_decodes_nothing(recordings: list[Path], tmp_path: Path, decoded: list[Path]) -> None:
    first = decode_all(recordings, 8000, tmp_path / "cache")
    assert sorted(decoded) == recordings
    second = decode_all(recordings, 8000, tmp_path / "cache")
    assert len(decoded) == 3
    np.testing.assert_array_equal(first.samples, second.samples)
    assert first.hashes == second.hashes


@pytest.mark.parametrize("change", ["contents", "rate", "fewer", "order"])
def test_another_source_is_decoded_anew(
    recordings: list[Path], tmp_path: Path, decoded: list[Path], change: str
) -> None:
    decode_all(recordings, 8000, tmp_path / "cache")
    rate = 8000
    if change == "contents":
        soundfile.write(recordings[0], np.full(100, 0.25), 8000, subtype="FLOAT")
        os.utime(recordings[0], ns=(time.time_ns(), time.time_ns() + 10**9))
    elif change == "rate":
        rate = 4000
    elif change == "fewer":
        recordings = recordings[1:]
    else:
        recordings = recordings[::-1]
    audio = decode_all(recordings, rate, tmp_path / "cache")
    assert len(decoded) == 3 + len(recordings)
    np.testing.assert_array_equal(audio[0], load(recordings[0], rate))


def test_unreadable_recordings_are_kept_apart(recordings: list[Path], tmp_path: Path) -> None:
    recordings[1].write_text("no sound")
    for _ in range(2):  # made, and found again
        audio = decode_all([*recordings, tmp_path / "gone.wav"], 8000, tmp_path / "cache")
        assert set(audio.errors) == {1, 3}
        assert str(recordings[1]) in audio.errors[1]
        assert len(audio[1]) == 0
        np.testing.assert_array_equal(audio[2], load(recordings[2], 8000))


def test_silence_has_no_hash(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    assert decode_all([tmp_path / "a.wav"], 8000, tmp_path / "cache").hashes == [None]


@pytest.mark.parametrize("damage", ["half the samples", "no index", "half the index"])
def test_a_damaged_cache_is_made_anew(recordings: list[Path], tmp_path: Path, decoded: list[Path], damage: str) -> None:
    decode_all(recordings, 8000, tmp_path / "cache")
    (folder,) = (tmp_path / "cache/decoded").iterdir()
    samples, index = folder / "samples.f32", folder / "recordings.json"
    if damage == "half the samples":
        samples.write_bytes(samples.read_bytes()[:1000])
    elif damage == "no index":
        index.unlink()
    else:
        index.write_text(index.read_text()[:20])
    audio = decode_all(recordings, 8000, tmp_path / "cache")
    assert len(decoded) >= 6
    np.testing.assert_array_equal(audio[2], load(recordings[2], 8000))
    count = len(decoded)
    decode_all(recordings, 8000, tmp_path / "cache")
    assert len(decoded) == count, "the damaged cache was not replaced"


def test_a_full_disk_means_a_run_without_a_cache(
    recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_write", full)
    audio = decode_all(recordings, 8000, tmp_path / "cache")
    np.testing.assert_array_equal(audio[1], load(recordings[1], 8000))
    assert "No space left on device" in caplog.text
    assert not list((tmp_path / "cache/decoded").iterdir())


def test_progress_counts_to_the_end(recordings: list[Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    decode_all(recordings, 8000, tmp_path / "cache", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
