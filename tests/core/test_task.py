"""Shapes of features."""

import pytest

from audio_lightning.core.task import FeatureShape


def test_bins_and_frames_are_those_of_a_spectrogram() -> None:
    shape = FeatureShape("spectrogram", (2, 64, 101))
    assert (shape.channels, shape.bins, shape.frames) == (2, 64, 101)
    for name in ("bins", "frames"):
        with pytest.raises(ValueError, match=f"a waveform has no {name}"):
            getattr(FeatureShape("waveform", (1, 8000)), name)
