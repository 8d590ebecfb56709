"""Parts, channels, sample rates and limits."""

import math
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import SAMPLE_RATE, tones, write_tones

from audio_lightning.audio import decode, load, resample, resampled_length, to_mono
from audio_lightning.core.errors import AudioError

FORMATS = {
    "pcm": {"format": "WAV", "subtype": "PCM_16"},
    "adpcm": {"format": "WAV", "subtype": "MS_ADPCM"},
    "unseekable": {"format": "WAV", "subtype": "GSM610"},
    "flac": {"format": "FLAC"},
    "vorbis": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3_constant": {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.9},
    "mp3_variable": {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5},
}


@pytest.mark.parametrize("encoding", FORMATS)
def test_a_part_equals_the_part_of_the_whole(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "sound"
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * SAMPLE_RATE).astype(np.float32)
    soundfile.write(path, np.cumsum(noise) % 1 - 0.5, SAMPLE_RATE, **FORMATS[encoding])
    whole, _ = decode(path)

    for start in (0, 1, 1_000, 37_777, 100_001, 200_000, 300_003):
        part, _ = decode(path, start_seconds=start / SAMPLE_RATE, stop_seconds=(start + 999) / SAMPLE_RATE)
        assert part.shape == (999, 1)
        np.testing.assert_allclose(part, whole[start : start + 999], rtol=0, atol=1e-6)
    rest, _ = decode(path, start_seconds=19.5)
    np.testing.assert_allclose(rest, whole[round(19.5 * SAMPLE_RATE) :], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (-0.1, None),
        (0.5, 0.5),
        (0.6, 0.5),
        (0.0, 1.01),
        (1.0, None),
        (2.0, 3.0),
        (0.2, 0.200001),
        (math.nan, None),
        (0.0, math.nan),
        (0.0, math.inf),
    ],
)
def test_a_part_out_of_range_is_refused(start: float, stop: float | None, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    write_tones(path)
    with pytest.raises(AudioError, match=r"sound\.wav: has no part .* its duration is 1\.0 s"):
        decode(path, start_seconds=start, stop_seconds=stop)


@pytest.mark.parametrize("read", [decode, lambda path, **limits: load(path, 8_000, **limits)])
def test_the_limit_holds_for_what_is_read_not_for_the_file(read, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    write_tones(path, 2.0)
    with pytest.raises(AudioError, match=r"its 2\.0 s are longer than the maximum of 1\.5 s"):
        read(path, max_seconds=1.5)
    read(path, max_seconds=2.0)
    read(path, start_seconds=0.5, stop_seconds=1.9, max_seconds=1.5)


def test_a_resampled_recording_too_large_for_memory_is_refused_unread(tmp_path: Path) -> None:
    write_tones(tmp_path / "sound.wav", 1.0, sample_rate=1_000)
    with pytest.raises(AudioError, match="the maximum is 8 GiB"):
        load(tmp_path / "sound.wav", 2**31 + 1_000)


def test_many_channels_too_large_for_memory_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "wide.wav"
    soundfile.write(path, np.zeros((10, 64)), 100_000, subtype="PCM_U8")
    header = path.read_bytes()
    with path.open("r+b") as file:  # 64 channels of 1 hour as a sparse file
        data_bytes = 64 * 2**20 * 33
        file.truncate(len(header) + data_bytes)
        at = header.index(b"data") + 4
        file.seek(at)
        file.write(data_bytes.to_bytes(4, "little"))
    with pytest.raises(AudioError, match="64 channels"):
        decode(path)


def test_mono_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    samples = tones(1_000, channels=3)
    np.testing.assert_allclose(to_mono(samples), samples.mean(axis=1), atol=1e-7)
    single = samples[:, :1]
    assert np.shares_memory(to_mono(single), single)


@pytest.mark.parametrize(
    ("rate", "target_rate"), [(8_000, 16_000), (44_100, 16_000), (44_099, 22_050), (96_000, 8_000)]
)
def test_a_resampled_tone_is_the_same_tone(rate: int, target_rate: int) -> None:
    resampled = resample(tones(rate, sample_rate=rate)[:, 0], rate, target_rate)
    assert resampled.dtype == np.float32
    assert len(resampled) == target_rate
    inner = slice(target_rate // 10, -target_rate // 10)  # the ends ring, because the sound starts and stops abruptly
    np.testing.assert_allclose(resampled[inner], tones(target_rate, sample_rate=target_rate)[inner, 0], atol=1e-4)


def test_a_tone_above_the_new_rate_is_removed() -> None:
    high = np.sin(2 * np.pi * 7_000 * np.arange(16_000) / 16_000).astype(np.float32)
    assert np.abs(resample(high, 16_000, 8_000)[400:-400]).max() < 1e-3


def test_equal_rates_return_the_input() -> None:
    samples = tones(100)[:, 0]
    assert resample(samples, 16_000, 16_000) is samples


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 77, 44_099])
@pytest.mark.parametrize(
    ("rate", "target_rate"), [(44_100, 16_000), (8_000, 44_100), (96_000, 8_000), (16_000, 16_000)]
)
def test_the_resampled_length_is_known_beforehand(frames: int, rate: int, target_rate: int) -> None:
    resampled = resample(np.full(frames, 0.25, np.float32), rate, target_rate)
    assert len(resampled) == resampled_length(frames, rate, target_rate)
    assert np.isfinite(resampled).all()
    assert abs(len(resampled) - frames * target_rate / rate) <= 0.5 or len(resampled) == 1


def test_odd_sample_rates_are_resampled_fast() -> None:
    samples = tones(10 * 44_099, sample_rate=44_099)[:, 0]
    started = time.perf_counter()
    assert len(resample(samples, 44_099, 16_000)) == 160_000
    assert time.perf_counter() - started < 1.0


def test_load_decodes_mixes_down_and_resamples(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, tones(44_100, sample_rate=44_100, channels=2), 44_100, subtype="FLOAT")

    loaded = load(path, SAMPLE_RATE)

    assert loaded.dtype == np.float32
    assert loaded.shape == (SAMPLE_RATE,)
    expected = tones(SAMPLE_RATE, channels=2).mean(axis=1)
    np.testing.assert_allclose(loaded[1_000:-1_000], expected[1_000:-1_000], atol=1e-4)
    part = load(path, SAMPLE_RATE, start_seconds=0.25, stop_seconds=0.75)
    np.testing.assert_allclose(part[1_000:-1_000], loaded[4_000:12_000][1_000:-1_000], atol=1e-4)
