"""Means of the windows of recordings."""

import numpy as np
import pytest

from audio_lightning.core.recording_means import recording_means


def test_every_second_of_a_recording_counts_the_same() -> None:
    values = np.array([[1, 0], [0.5, 0.5], [0, 1]], dtype=np.float32)
    means = recording_means(np.array([1, 0, 1]), values, np.array([5.0, 5.0, 0.25]))
    assert means == pytest.approx(np.array([[0.5, 0.5], [5 / 5.25, 0.25 / 5.25]]))
