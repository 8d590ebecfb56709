"""Clips of fixed length."""

import tracemalloc
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from recordings import SAMPLE_RATE, write_tones

from audio_lightning.audio import describe, fit_length, load, windows
from audio_lightning.core.task import Padding

PADDINGS = pytest.mark.parametrize("padding", get_args(Padding))


@PADDINGS
@pytest.mark.parametrize("length", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("num_samples", [1, 2, 5, 9, 10, 11, 50])
def test_fit_length_pads_at_the_end(length: int, num_samples: int, padding: Padding) -> None:
    samples = np.random.default_rng(length).normal(size=length).astype(np.float32)

    fitted = fit_length(samples, num_samples, padding)

    assert fitted.shape == (num_samples,)
    assert fitted.dtype == np.float32
    assert fitted.flags.c_contiguous
    if num_samples <= length:
        assert np.shares_memory(fitted, samples)
        np.testing.assert_array_equal(fitted, samples[:num_samples])
    else:
        mode = {"zero": "constant", "repeat": "wrap", "reflect": "reflect"}[padding]
        np.testing.assert_array_equal(fitted, np.pad(samples, (0, num_samples - length), mode=mode))


@PADDINGS
@pytest.mark.parametrize("num_samples", [3, 8, 20])
def test_fit_length_converts_to_contiguous_float32(num_samples: int, padding: Padding) -> None:
    stereo = np.arange(16, dtype=np.float64).reshape(8, 2)
    fitted = fit_length(stereo[:, 0], num_samples, padding)
    assert fitted.dtype == np.float32
    assert fitted.flags.c_contiguous
    np.testing.assert_array_equal(fitted[:3], [0, 2, 4])


@PADDINGS
def test_empty_clip_cannot_be_padded(padding: Padding) -> None:
    with pytest.raises(ValueError, match="empty"):
        fit_length(np.empty(0, np.float32), 5, padding)


def _write_noise(path: Path, frames: int, sample_rate: int, channels: int = 1) -> None:
    noise = np.random.default_rng(frames).uniform(-0.5, 0.5, (frames, channels))
    soundfile.write(path, noise, sample_rate, subtype="PCM_16")


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 8_000])
@pytest.mark.parametrize("seconds", [0.0001, 0.3, 0.999, 1.0, 1.049])
@pytest.mark.parametrize("hop_samples", [4_000, 16_000, 20_000])
def test_a_recording_that_fits_gives_one_window_equal_to_load(
    seconds: float, sample_rate: int, hop_samples: int, tmp_path: Path
) -> None:
    path = tmp_path / "short.wav"
    _write_noise(path, max(1, round(seconds * sample_rate)), sample_rate, channels=2)

    (window,) = windows(path, SAMPLE_RATE, window_samples=SAMPLE_RATE, hop_samples=hop_samples)

    np.testing.assert_array_equal(window.samples, load(path, SAMPLE_RATE)[:SAMPLE_RATE])
    assert window.start_seconds == 0
    assert window.stop_seconds == min(describe(path).duration_seconds, 1.0)


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 8_000, 44_099])
@pytest.mark.parametrize("seconds", [1.06, 2.0, 7.51])
@pytest.mark.parametrize("hop_samples", [300, 6_000, 16_000, 24_000])
def test_windows_of_a_long_recording_are_slices_of_load(
    seconds: float, sample_rate: int, hop_samples: int, tmp_path: Path
) -> None:
    path = tmp_path / "long.wav"
    _write_noise(path, round(seconds * sample_rate), sample_rate)
    whole = load(path, SAMPLE_RATE)
    length, tail = SAMPLE_RATE, SAMPLE_RATE // 20

    cut = list(windows(path, SAMPLE_RATE, window_samples=length, hop_samples=hop_samples))

    full = 1 + (len(whole) - length) // hop_samples
    left_over = len(whole) - max(full * hop_samples, (full - 1) * hop_samples + length)
    assert len(cut) == full + (left_over >= tail)
    for index, window in enumerate(cut):
        begin = index * hop_samples
        expected = whole[begin : begin + length]
        assert window.samples.shape == expected.shape
        np.testing.assert_allclose(window.samples, expected, rtol=0, atol=1e-4)
        assert window.start_seconds == begin / SAMPLE_RATE
        reaches_end = begin + length >= len(whole)
        end = describe(path).duration_seconds if reaches_end else (begin + length) / SAMPLE_RATE
        assert window.stop_seconds == end


@pytest.mark.parametrize("encoding", [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
@pytest.mark.parametrize("sample_rate", [16_000, 12_000])
def test_stateful_decoder_continues_at_its_position(
    encoding: tuple[str, str | None], sample_rate: int, tmp_path: Path
) -> None:
    path = tmp_path / "long"
    noise = np.random.default_rng(0).normal(0, 0.1, 25 * SAMPLE_RATE)
    soundfile.write(path, np.cumsum(noise) % 1 - 0.5, SAMPLE_RATE, format=encoding[0], subtype=encoding[1])
    whole = load(path, sample_rate)
    for window in windows(path, sample_rate, window_samples=5_000, hop_samples=5_000):
        start = round(window.start_seconds * sample_rate)
        np.testing.assert_allclose(window.samples, whole[start : start + 5_000], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("seconds", "tail_samples", "lengths"),
    [
        (2.049, None, [16_000, 16_000]),
        (2.05, None, [16_000, 16_000, 800]),
        (2.4, 6_401, [16_000, 16_000]),
        (2.4, 6_400, [16_000, 16_000, 6_400]),
        (2.0, 0, [16_000, 16_000]),
        (1.3, 4_801, [16_000]),
    ],
)
def test_what_is_left_over_makes_a_window_only_if_it_is_long_enough(
    seconds: float, tail_samples: int | None, lengths: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "sound.wav"
    write_tones(path, seconds)
    options = {"window_samples": 16_000, "hop_samples": 16_000, "tail_samples": tail_samples}
    assert [len(window.samples) for window in windows(path, SAMPLE_RATE, **options)] == lengths


def test_windows_belong_to_their_receiver(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    write_tones(path, 4.0)
    whole = load(path, SAMPLE_RATE)
    for index, window in enumerate(windows(path, SAMPLE_RATE, window_samples=16_000, hop_samples=4_000)):
        np.testing.assert_array_equal(window.samples, whole[4_000 * index :][:16_000])
        window.samples[:] = 9


@pytest.mark.parametrize("sizes", [(0, 10), (10, 0), (-1, 10)])
def test_windows_and_hops_need_a_length(sizes: tuple[int, int], tmp_path: Path) -> None:
    write_tones(tmp_path / "sound.wav")
    with pytest.raises(ValueError, match="at least 1 sample"):
        next(windows(tmp_path / "sound.wav", SAMPLE_RATE, window_samples=sizes[0], hop_samples=sizes[1]))


def _peak_bytes(path: Path, sample_rate: int) -> int:
    tracemalloc.start()
    try:
        for _ in windows(path, sample_rate, window_samples=sample_rate, hop_samples=sample_rate // 2):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sample_rate", [16_000, 12_000])
def test_memory_does_not_grow_with_the_recording(sample_rate: int, tmp_path: Path) -> None:
    minutes_to_peak = {}
    for minutes in (1, 10):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, np.zeros(minutes * 60 * SAMPLE_RATE, np.int16), SAMPLE_RATE)
        minutes_to_peak[minutes] = _peak_bytes(path, sample_rate)
    assert minutes_to_peak[10] < 1.1 * minutes_to_peak[1]
    assert minutes_to_peak[10] < 4 * 2**20
