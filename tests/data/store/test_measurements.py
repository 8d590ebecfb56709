"""Recordings are measured correctly, once, and again if they change."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from jaxtyping import Float

from audio_lightning.audio import resample
from audio_lightning.audio.ffmpeg import LACKING
from audio_lightning.core.errors import AudioError
from audio_lightning.data.store.cache import Cache
from audio_lightning.data.store.measurements import MEASURED, describe, measure
from audio_lightning.data.store.recordings import Decoded, Identity, Recordings

RATE = 16_000


def noise(seconds: float, rate: int = RATE, amplitude: float = 0.1) -> Float[np.ndarray, "frames"]:
    return (amplitude * np.random.default_rng(0).normal(size=round(seconds * rate))).astype(np.float32)


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> Float[np.ndarray, "frames"]:
    time = np.arange(round(seconds * rate)) / rate
    return sum(0.3 / part * np.sin(2 * np.pi * hertz * part * time) for part in (1, 2, 3)).astype(np.float32)


def measured(samples: np.ndarray, rate: int = RATE) -> np.void:
    return describe(Decoded(samples.reshape(len(samples), -1), rate, "WAV", "PCM_16"))[()]


def test_silence_at_the_ends_is_measured() -> None:
    quiet = np.zeros(RATE, np.float32)
    found = measured(np.concatenate([quiet, noise(0.5), quiet, quiet]))
    assert found["seconds"] == pytest.approx(3.5)
    assert found["lead_seconds"] == pytest.approx(1.0, abs=0.05)
    assert found["trail_seconds"] == pytest.approx(2.0, abs=0.05)
    assert found["loudness"] == pytest.approx(-20, abs=0.5)


@pytest.mark.parametrize("samples", [np.zeros(RATE, np.float32), np.zeros(1, np.float32)], ids=["long", "one sample"])
def test_silence_has_no_sounding_part(samples: np.ndarray) -> None:
    found = measured(samples)
    assert found["lead_seconds"] == pytest.approx(found["seconds"])
    assert found["bandwidth"] == found["pitch"] == 0


@pytest.mark.parametrize("own", [8_000, 16_000, 22_050])
def test_upsampling_keeps_the_bandwidth(own: int) -> None:
    found = measured(resample(noise(1.0, own), own, 44_100), 44_100)
    assert found["bandwidth"] == pytest.approx(own / 2, rel=0.05)


def test_quiet_high_sounds_count_as_bandwidth_though_little_energy_is_there() -> None:
    loud = 10 * tone(100.0, rate=44_100)
    high = 0.05 * np.sin(2 * np.pi * 9_000 * np.arange(len(loud)) / 44_100).astype(np.float32)
    assert measured(loud + high, 44_100)["bandwidth"] == pytest.approx(9_000, rel=0.05)


def test_share_of_high_energy() -> None:
    time = np.arange(96_000) / 96_000
    assert measured(np.sin(2 * np.pi * 30_000 * time).astype(np.float32), 96_000)["high_share"] > 0.99
    assert measured(tone(440.0))["high_share"] == 0


@pytest.mark.parametrize("hertz", [60.0, 220.0, 800.0])
def test_a_steady_tone_has_a_pitch_and_noise_has_none(hertz: float) -> None:
    assert measured(tone(hertz))["pitch"] > 0.9
    assert measured(noise(1.0))["pitch"] < 0.4


def test_steady_sounds_differ_from_changing_ones() -> None:
    swelling = noise(2.0) * (1 + 0.95 * np.sin(2 * np.pi * 2 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    assert measured(noise(2.0))["unsteadiness"] < 1 < 5 < measured(swelling)["unsteadiness"]
    assert measured(noise(2.0))["range"] < 3 < 10 < measured(swelling)["range"]


@pytest.mark.parametrize("frames", [1, 2, 7, 799, 801])
def test_a_recording_of_any_length_is_measured(frames: int) -> None:
    found = measured(noise(1.0)[:frames])
    assert found["seconds"] == frames / RATE
    assert all(np.isfinite(found[name]) for name in MEASURED.names or ())


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for number, path in enumerate(paths):
        soundfile.write(path, noise(0.1 * (number + 1)), RATE)
    return paths


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    original = Recordings.decode

    def spy(self: Recordings, index: int) -> Decoded:
        seen.append(Path(self.files[index]).name)
        return original(self, index)

    monkeypatch.setattr(Recordings, "decode", spy)
    return seen


def test_measurements_are_reused(files: list[Path], decoded: list[str], tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = measure(Recordings(files[:2]), cache)
    assert sorted(decoded) == ["0.wav", "1.wav"]
    soundfile.write(files[0], noise(0.7), RATE)
    again = measure(Recordings(files), cache)
    assert sorted(decoded) == ["0.wav", "0.wav", "1.wav", "2.wav"]
    np.testing.assert_allclose(again["seconds"], [0.7, 0.2, 0.3])
    assert again[1] == first[1]


@pytest.mark.parametrize("identity", ["stat", "content"])
def test_unreadable_recording_is_measured_again_when_it_changes(
    identity: Identity, files: list[Path], decoded: list[str], tmp_path: Path
) -> None:
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:1000])
    files[2].unlink()
    cache = Cache(tmp_path / "cache", identity=identity)
    for _ in range(2):
        assert measure(Recordings(files), cache)["seconds"].tolist()[1:] == [0, 0]
    assert sorted(decoded) == ["0.wav", "1.wav", "2.wav"]
    files[1].write_bytes(whole)
    files[2].write_bytes(whole)
    assert measure(Recordings(files), cache)["seconds"].tolist()[1:] == pytest.approx([0.2, 0.2])


def test_recording_that_lacked_ffmpeg_is_measured_again(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    with monkeypatch.context() as patch:

        def refuse(self: Recordings, index: int) -> Decoded:
            raise AudioError(f"{self.files[index]}: {LACKING}")

        patch.setattr(Recordings, "decode", refuse)
        assert not measure(Recordings(files), cache)["seconds"].any()
    assert measure(Recordings(files), cache)["seconds"].all()


@pytest.mark.parametrize("content", [b"", b"damaged", b"\x93NUMPY\x01\x00"])
def test_damaged_measurements_are_repeated(content: bytes, files: list[Path], tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    before = measure(Recordings(files), cache)
    (stored,) = (tmp_path / "cache/measured").glob("*.npy")
    stored.write_bytes(content)
    np.testing.assert_array_equal(measure(Recordings(files), cache), before)
    np.testing.assert_array_equal(np.load(stored)["measured"], before)


def test_unwritable_cache_measures_all(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done: list[tuple[int, int]] = []
    found = measure(Recordings(files), Cache(tmp_path / "file/cache"), progress=lambda *numbers: done.append(numbers))
    assert (found["seconds"] > 0).all()
    assert done == [(1, 3), (2, 3), (3, 3)]
