"""Calibration of a fit's ensemble on out-of-fold predictions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from generated_predictions import generated, write_run

from audio_lightning.fit.calibrating import calibrate, typed_method
from audio_lightning.fit.ensemble_selection import SelectionSettings, combined, select_ensemble
from audio_lightning.fit.out_of_fold import OutOfFold
from audio_lightning.metrics.calibration import calibration_metrics


def sharper(predictions: OutOfFold, power: float) -> OutOfFold:
    """The same with overconfident probabilities."""
    shares = predictions.probabilities.astype(np.float64)
    if predictions.multilabel:
        odds = (shares / (1 - shares)) ** power
        predictions.probabilities[:] = odds / (1 + odds)
    else:
        powers = shares**power
        predictions.probabilities[:] = powers / powers.sum(axis=-1, keepdims=True)
    return predictions


@pytest.mark.parametrize("multilabel", [False, True])
def test_overconfidence_is_corrected(multilabel: bool) -> None:
    predictions = sharper(generated([2.0], 1200, size=3, multilabel=multilabel), 4.0)
    ensemble = select_ensemble(
        predictions, "f1_macro" if not multilabel else "mean_average_precision", SelectionSettings()
    )
    found = calibrate(predictions, ensemble, {}, "auto")
    assert found.summary is not None
    assert found.summary.ece < 0.5 * found.summary.ece_uncalibrated
    assert found.summary.brier < found.summary.brier_uncalibrated
    if multilabel:
        assert found.thresholds is not None
        assert len(found.thresholds) == 4
    else:
        assert found.summary.temperature is not None
        assert found.summary.temperature > 2
        assert (found.probabilities.argmax(1) == combined(predictions, ensemble).argmax(1)).all()


def test_metrics_are_cross_fitted() -> None:
    """With a scale and a bias for each of many classes, the clips that were fitted to look better than others do."""
    predictions = generated([1.0], 60, classes=12)
    ensemble = select_ensemble(predictions, "accuracy", SelectionSettings())
    found = calibrate(predictions, ensemble, {}, "vector")
    targets = torch.from_numpy(predictions.targets.argmax(axis=1))
    logits = torch.from_numpy(combined(predictions, ensemble)).log()
    fitted = (logits * found.scale + found.bias).softmax(1)
    assert found.summary is not None
    assert found.summary.brier > calibration_metrics(fitted, targets, multilabel=False)["brier"]
    single = generated([1.0], 60, classes=12, size=60)
    one_group = calibrate(single, select_ensemble(single, "accuracy", SelectionSettings()), {}, "vector")
    np.testing.assert_allclose(one_group.probabilities, single.probabilities[0], atol=1e-6)


def test_calibration_can_be_switched_off() -> None:
    predictions = generated([1.0, 1.0], 60)
    ensemble = select_ensemble(predictions, "accuracy", SelectionSettings(max_members=2))
    found = calibrate(predictions, ensemble, {}, "none")
    assert found.summary is None
    np.testing.assert_allclose(found.probabilities, combined(predictions, ensemble), atol=1e-6)
    assert (found.scale.unique().tolist(), found.bias.unique().tolist()) == ([1.0], [0.0])


def test_windows_are_calibrated_and_recordings_are_their_mean(tmp_path: Path) -> None:
    windows = sharper(generated([1.5], 240, size=4), 3.0)
    windows.clips["path"] = windows.clips["group"]
    windows.clips["start_seconds"] = [float(place % 4) for place in range(240)]
    windows.clips["end_seconds"] = windows.clips["start_seconds"] + 1.0
    whole = generated([1.5], 60)
    whole.clips["path"] = whole.clips["group"] = windows.clips["group"].unique()
    whole.clips["label"] = windows.clips["label"].to_numpy()[::4]
    targets = windows.targets[::4]
    mean = windows.probabilities[0].reshape(60, 4, 4).mean(axis=1)
    recordings = OutOfFold(
        whole.candidates, whole.classes, False, True, whole.clips, targets, mean[None].astype(np.float32), 240, 240
    )
    run = write_run(tmp_path, windows)
    ensemble = select_ensemble(recordings, "accuracy", SelectionSettings())
    found = calibrate(recordings, ensemble, {whole.candidates[0]: [run]}, "temperature")
    assert len(found.validated.targets) == 240
    assert found.probabilities.shape == (60, 4)
    logits = torch.from_numpy(windows.probabilities[0]).log()
    expected = (logits * found.scale).softmax(1).reshape(60, 4, 4).mean(1)
    np.testing.assert_allclose(found.probabilities, expected, atol=0.05)  # each fifth has a temperature of its own


@pytest.mark.parametrize(
    ("lines", "method"),
    [([], "auto"), (["calibration=vector"], "vector"), (["calibration=vector", "calibration=none"], "none")],
)
def test_the_method_is_that_of_the_command(lines: list[str], method: str) -> None:
    assert typed_method(lines) == method
