"""Inference of clip settings: one rule at a time, on measurements that differ in one property."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from data_sources import source

from audio_lightning.core.errors import ConfigError
from audio_lightning.data.clip_choice import ClipChoice, Stretches, choose_clips, left_out
from audio_lightning.data.settings import ClipSettings
from audio_lightning.data.store.measurements import MEASURED

ALL = ClipSettings("auto", "auto", "auto", "auto")


def choose(
    seconds: object = 1.0, *, settings: ClipSettings = ALL, stop: object = np.nan, **properties: object
) -> ClipChoice:
    """The choice for recordings of the given durations; other properties are those of speech at 16 kHz."""
    lengths = np.atleast_1d(np.asarray(seconds, dtype=float))
    measured = np.zeros(len(lengths), MEASURED)
    for name, value in {"sample_rate": 16_000, "bandwidth": 7_500.0, **properties, "seconds": lengths}.items():
        measured[name] = value
    stops = np.broadcast_to(np.asarray(stop, dtype=float), lengths.shape)
    return choose_clips(settings, Stretches(measured, 0 * lengths, stops, marked=bool(np.isfinite(stops).any())))


def test_a_mixture_of_rates_is_described_by_its_median() -> None:
    found = choose([1.0, 1.0, 1.0], sample_rate=[16_000, 16_000, 44_100], bandwidth=[7_500, 7_500, 22_042])
    assert found.shape.sample_rate == 16_000
    assert found.reasons["sample_rate"].startswith("median sample rate 16,000 Hz; 95 % of the recordings have sound up")


@pytest.mark.parametrize(
    ("seconds", "clip", "hop"),
    [
        ([1.0] * 20, 1.0, None),  # spoken words
        ([0.6, 0.8, *[1.0] * 18], 1.0, None),
        ([*[4.0] * 15, 0.4, 0.5, 1, 2, 3], 4.0, None),  # UrbanSound8K
        ([1.0003] * 20, 1.0, None),  # one more frame does not lengthen clips
        ([20.0] * 36, 5.0, 5.0),  # field recordings
        (np.geomspace(1, 40, 50), 5.0, 5.0),
        (np.geomspace(0.3, 9, 50), 4.0, 4.0),  # notes of instruments
        ([*[1.0] * 99, 100.0], 1.0, 1.0),  # one of them is most of the sounding duration
        ([0.01] * 5, 0.25, None),
    ],
)
def test_clip_length_covers_most_recordings_and_windows_cover_all(
    seconds: object, clip: float, hop: float | None
) -> None:
    shape = choose(seconds).shape
    assert (shape.clip_seconds, shape.hop_seconds) == (clip, hop)


def test_trailing_silence_does_not_lengthen_clips() -> None:
    assert choose([10.0] * 9, trail_seconds=9.0).shape.clip_seconds == 1.0
    assert choose([10.0] * 9, trail_seconds=9.0).shape.hop_seconds is None
    assert choose([10.0] * 9, lead_seconds=9.0).shape.hop_seconds == 5.0


def test_clip_length_follows_annotations() -> None:
    assert choose([60.0] * 9, stop=[0.5] * 9).shape.clip_seconds == 0.5


@pytest.mark.parametrize(
    ("own", "bandwidth", "high_share", "rate"),
    [
        (16_000, 7_900.0, 0.0, 16_000),
        (44_100, 3_800.0, 0.0, 8_000),  # brought to a higher rate
        (44_100, 7_900.0, 0.0, 16_000),
        (44_100, 16_000.0, 0.01, 22_050),
        (48_000, 20_000.0, 0.5, 44_100),  # birds and insects
        (250_000, 100_000.0, 0.9, 250_000),  # bats
        (11_025, 5_400.0, 0.0, 11_025),
        (8_000, 3_900.0, 0.0, 8_000),
    ],
)
def test_sample_rate_keeps_the_bandwidth(own: int, bandwidth: float, high_share: float, rate: int) -> None:
    found = choose([1.0] * 9, sample_rate=own, bandwidth=bandwidth, high_share=high_share)
    assert found.shape.sample_rate == rate
    assert f"{own:,} Hz" in found.reasons["sample_rate"]


@pytest.mark.parametrize(("short", "padding"), [(0, "zero"), (4, "zero"), (6, "repeat")])
def test_padding_repeats_many_short_recordings(short: int, padding: str) -> None:
    assert choose([*[1.0] * (50 - short), *[0.3] * short]).shape.padding == padding


def test_given_numbers_are_kept() -> None:
    found = choose([20.0] * 9, settings=ClipSettings(8000, "auto", None, "reflect"))
    assert (found.shape.sample_rate, found.shape.hop_seconds, found.shape.padding) == (8000, None, "reflect")
    assert list(found.reasons) == ["clip_seconds"]


@pytest.mark.parametrize("seconds", [[], [0.0, 0.0]], ids=["none", "unreadable"])
def test_unusable_recordings_give_defaults(seconds: list[float]) -> None:
    shape = choose(seconds).shape
    assert (shape.sample_rate, shape.clip_seconds, shape.hop_seconds) == (22050, 4.0, None)


def test_silent_and_unreadable_recordings_are_ignored() -> None:
    assert choose([0.0, 0.0, 1.0], trail_seconds=[0, 0, 0]).shape.clip_seconds == 1.0
    assert choose([9.0, 9.0, 1.0], lead_seconds=[9.0, 9.0, 0]).shape.clip_seconds == 1.0


def test_omitted_share_refers_to_the_sounding_duration() -> None:
    first, last = np.array([0.0, 2.0, 8.0]), np.array([4.0, 10.0, 9.0])
    assert left_out(first, last, 4.0) == pytest.approx((0 + 6 + 1) / (4 + 8 + 1))
    assert left_out(first, first, 4.0) == 0


@pytest.mark.parametrize("key", ["sample_rate", "clip_seconds", "hop_seconds"])
@pytest.mark.parametrize("value", [0, -1.0])
def test_invalid_number_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        ClipSettings(**{key: value})


def test_source_infers_settings_and_measures_only_if_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.wav", "a/2.wav", "b/3.wav", "b/4.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        samples = np.random.default_rng(0).normal(scale=0.1, size=48_000)
        soundfile.write(tmp_path / name, samples, 8000)
    ready = source("folder", tmp_path, "data.sample_rate=auto")
    assert (ready.sample_rate, ready.num_samples, ready.hop_samples, ready.padding) == (8000, 40_000, 40_000, "zero")
    monkeypatch.setattr("audio_lightning.data.source.measure", None)
    given = source("folder", tmp_path, "data.clip_seconds=1", "data.hop_seconds=null", "data.padding=zero")
    assert given.num_samples == 8000
