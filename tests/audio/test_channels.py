"""Selection of channels."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import SAMPLE_RATE, tones

from audio_lightning.audio import Channel, select_channels, windows
from audio_lightning.core.errors import AudioError


@pytest.mark.parametrize(
    ("channel", "expected"),
    [("mean", [[2.0]]), ("left", [[1.0]]), ("right", [[2.0]]), (3, [[3.0]]), ("each", [[1.0, 2.0, 3.0]])],
)
def test_selected_channel(channel: Channel, expected: list[list[float]]) -> None:
    samples = np.array([[1, 2, 3]], dtype=np.float32)
    assert select_channels(samples, channel, "a.wav").tolist() == expected


@pytest.mark.parametrize("channel", ["mean", "left", "right", "each", 1])
def test_mono_recording_is_left_and_right(channel: Channel) -> None:
    assert select_channels(np.ones((1, 1), np.float32), channel, "a.wav").tolist() == [[1.0]]


@pytest.mark.parametrize(("count", "channel"), [(1, 2), (2, 3)])
def test_missing_channel_is_an_error(count: int, channel: int) -> None:
    with pytest.raises(AudioError, match=rf"a.wav: has {count} channels?, but data.channel={channel} needs number"):
        select_channels(np.ones((1, count), np.float32), channel, "a.wav")


@pytest.mark.parametrize("sample_rate", [SAMPLE_RATE, 11_025])
@pytest.mark.parametrize("seconds", [0.3, 6.0])
def test_windows_of_a_channel_are_those_of_a_recording_of_it_alone(
    sample_rate: int, seconds: float, tmp_path: Path
) -> None:
    """Short recordings are read in one block, long ones in several."""
    samples = tones(round(seconds * SAMPLE_RATE), channels=3)
    soundfile.write(tmp_path / "all.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    options = {"window_samples": 4_000, "hop_samples": 3_000}
    each = list(windows(tmp_path / "all.wav", sample_rate, **options, channel="each"))
    for number in (1, 2, 3):
        soundfile.write(tmp_path / "one.wav", samples[:, number - 1], SAMPLE_RATE, subtype="FLOAT")
        alone = list(windows(tmp_path / "one.wav", sample_rate, **options))
        chosen = list(windows(tmp_path / "all.wav", sample_rate, **options, channel=number))
        assert len(alone) == len(chosen) == len(each)
        for expected, one, all_of_them in zip(alone, chosen, each):
            np.testing.assert_allclose(one.samples, expected.samples, atol=1e-6)
            np.testing.assert_allclose(all_of_them.samples[number - 1], expected.samples, atol=1e-6)
            assert one.start_seconds == all_of_them.start_seconds == expected.start_seconds
