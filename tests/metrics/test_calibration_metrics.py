"""Calibration error and Brier score against their definitions."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss

from audio_lightning.metrics.calibration import calibration_metrics, reliability


def by_definition(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    total = 0.0
    for low in range(bins):
        inside = (confidence > low / bins) & (confidence <= (low + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return total


def test_single_label() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.5] * 4, size=500).astype(np.float32)
    targets = rng.integers(4, size=500)
    found = calibration_metrics(torch.from_numpy(probabilities), torch.from_numpy(targets), multilabel=False)
    right = probabilities.argmax(1) == targets
    assert found["ece"] == pytest.approx(by_definition(probabilities.max(1), right, 15), abs=1e-5)
    assert found["brier"] == pytest.approx(float(((probabilities - np.eye(4)[targets]) ** 2).sum(1).mean()), abs=1e-6)


def test_multilabel_is_the_mean_over_classes() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((300, 2)).astype(np.float32)
    targets = rng.random((300, 2)) < probabilities
    found = calibration_metrics(torch.from_numpy(probabilities), torch.from_numpy(targets), multilabel=True)
    pairs = list(zip(probabilities.T, targets.T))
    assert found["brier"] == pytest.approx(
        np.mean([brier_score_loss(right, share) for share, right in pairs]), abs=1e-6
    )
    assert found["ece"] == pytest.approx(np.mean([by_definition(share, right, 15) for share, right in pairs]), abs=1e-5)


def test_values_are_nan_without_clips() -> None:
    found = calibration_metrics(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), multilabel=False)
    assert all(math.isnan(value) for value in found.values())


def test_reliability_has_no_empty_bins() -> None:
    found = reliability(np.array([0.05, 0.07, 0.95, 1.0]), np.array([False, True, True, True]))
    assert found.clips.tolist() == [2, 2]
    np.testing.assert_allclose(found.confidence, [0.06, 0.975])
    assert found.frequency.tolist() == [0.5, 1.0]
    assert found.error == pytest.approx((0.44 + 0.025) / 2)
