"""Sounding part of a clip."""

import numpy as np
import pytest

from audio_lightning.audio.sounding import segment_levels, sounding_seconds


def clip(*parts: tuple[float, float], rate: int = 8000) -> np.ndarray:
    """Parts of a clip as seconds and level in dB of full scale, each a square wave, whose RMS is its amplitude."""
    waves = [10 ** (level / 20) * (-1.0) ** np.arange(round(seconds * rate)) for seconds, level in parts]
    return np.concatenate(waves).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize(("level", "expected"), [(-24.0, 0.7), (-26.0, 0.4)])
def test_a_sound_ends_25_db_below_its_loudest_segment(rate: int, level: float, expected: float) -> None:
    tail = clip((0.2, -90), (0.4, -6), (0.3, -6 + level), (0.1, -90), rate=rate)
    assert sounding_seconds(tail, rate) == pytest.approx(expected, abs=0.001)


def test_pauses_within_a_sound_count() -> None:
    assert sounding_seconds(clip((0.1, -80), (0.06, -20), (0.3, -80), (0.04, -20), (0.2, -80)), 8000) == 0.4


def test_the_volume_does_not_matter() -> None:
    quiet = clip((0.2, -140), (0.4, -56), (0.4, -140))
    assert sounding_seconds(quiet, 8000) == pytest.approx(0.4)


def test_the_last_segment_may_be_shorter() -> None:
    assert sounding_seconds(clip((0.1, -80), (0.0355, -6)), 8000) == pytest.approx(0.0355)
    assert sounding_seconds(clip((0.003, -6)), 8000) == pytest.approx(0.003)


def test_silence_has_no_sounding_part() -> None:
    assert sounding_seconds(np.zeros(8000, np.float32), 8000) == 0
    assert sounding_seconds(np.zeros(0, np.float32), 8000) == 0
    assert sounding_seconds(clip((0.5, -81)), 8000) == 0


def test_levels_are_those_of_full_segments_and_of_the_rest() -> None:
    np.testing.assert_allclose(segment_levels(clip((0.1, -20), (0.03, -40)), 800), [-20, -40], atol=1e-3)
