"""Calibration of a fit's ensemble on its out-of-fold predictions.

Members are not calibrated separately: the mean of several networks is less confident than each of them, so the mean is
calibrated as a whole (Rahaman and Thiery, "Uncertainty Quantification and Deep Ensembles", NeurIPS 2021). If recordings
are cut into windows, the predictions of windows are calibrated, because they are the direct output of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from audio_lightning.classifier.calibration import Calibration, Method, fit, method_of
from audio_lightning.classifier.validated import ValidatedClips
from audio_lightning.compare.fit_summary import FitCalibration
from audio_lightning.core.cross_fitting import folds_of_groups
from audio_lightning.core.recording_means import recording_means
from audio_lightning.fit.ensemble_selection import SelectedEnsemble, combined
from audio_lightning.fit.out_of_fold import OutOfFold, read_out_of_fold
from audio_lightning.metrics.calibration import calibration_metrics
from audio_lightning.metrics.multilabel import best_thresholds
from audio_lightning.run_folder import RunFolder

CALIBRATION_FOLDS = 5
"""Number of folds of groups; for the reported metrics, each fold is calibrated on the others."""


@dataclass(frozen=True)
class CalibratedAnswer:
    """Calibrated out-of-fold predictions of an ensemble.

    Attributes:
        scale, bias: parameters of the final calibration, fitted to all clips; see
            :class:`audio_lightning.classifier.calibration.Calibration`.
        probabilities: out-of-fold probabilities of clips or whole recordings, each calibrated on clips of other groups.
        validated: logits and targets of the clips or windows before calibration.
        thresholds: thresholds that maximize F1 on ``validated``; None for single-label tasks.
        summary: calibration metrics for the page; None without calibration.
    """

    scale: Tensor
    bias: Tensor
    probabilities: Float32[np.ndarray, "clips classes"]
    validated: ValidatedClips
    thresholds: list[float] | None
    summary: FitCalibration | None


def typed_method(lines: Sequence[str]) -> str:
    """Return the value of ``calibration`` among overrides, or ``auto``."""
    typed = [line.partition("=")[2] for line in lines if line.startswith("calibration=")]
    return typed[-1] if typed else "auto"


def calibrate(
    predictions: OutOfFold, ensemble: SelectedEnsemble, runs: Mapping[str, Sequence[RunFolder]], calibration: str
) -> CalibratedAnswer:
    """Calibrate a selected ensemble.

    Args:
        predictions: out-of-fold predictions of the candidates, without gaps.
        ensemble: ensemble that was selected from the candidates.
        runs: runs of each member, one per fold.
        calibration: see :func:`audio_lightning.classifier.calibration.method_of`.

    Raises:
        FileError: a file of a run is missing or damaged.
    """
    answers = combined(predictions, ensemble)
    parts, probabilities = predictions, answers
    if predictions.recordings:
        parts, _ = read_out_of_fold({name: runs[name] for name in ensemble.weights}, whole=False).complete()
        probabilities = combined(parts, ensemble)
    multilabel = parts.multilabel
    method = method_of(calibration, multilabel=multilabel)
    logits = _logits(torch.from_numpy(probabilities), multilabel=multilabel)
    targets = torch.from_numpy(parts.targets) if multilabel else torch.from_numpy(parts.targets.argmax(axis=1))
    scale, bias = fit(logits, targets, method, multilabel=multilabel)
    calibrated = _cross_fitted(logits, targets, parts.group, method, multilabel=multilabel).numpy()
    whole = _by_recording(parts, calibrated, predictions) if predictions.recordings else calibrated
    thresholds = None
    if multilabel:
        thresholds = best_thresholds(_activate(logits, scale, bias, multilabel=True), targets).tolist()
    return CalibratedAnswer(
        scale,
        bias,
        whole,
        ValidatedClips.of(logits, targets, _energies(parts, ensemble)),
        thresholds,
        None if method == "none" else _summary(predictions, answers, whole, method, scale, bias),
    )


def _energies(predictions: OutOfFold, ensemble: SelectedEnsemble) -> Float[Tensor, "clips"] | None:
    """Return the weighted mean of the members' energies, as the model computes it; None if runs lack energies."""
    if predictions.energies is None:
        return None
    places = [predictions.candidates.index(name) for name in ensemble.weights]
    mean = np.array(list(ensemble.weights.values())) @ predictions.energies[places].astype(np.float64)
    return torch.from_numpy(mean).float() if np.isfinite(mean).all() else None


def _summary(
    predictions: OutOfFold,
    before: Float[np.ndarray, "clips classes"],
    after: Float[np.ndarray, "clips classes"],
    method: Method,
    scale: Tensor,
    bias: Tensor,
) -> FitCalibration:
    targets = torch.from_numpy(predictions.targets if predictions.multilabel else predictions.targets.argmax(axis=1))
    found = [
        calibration_metrics(torch.from_numpy(values), targets, multilabel=predictions.multilabel)
        for values in (before, after)
    ]
    same = bool((scale == scale[0]).all()) and not bias.any()
    return FitCalibration(
        method=method,
        ece_uncalibrated=found[0]["ece"],
        ece=found[1]["ece"],
        brier_uncalibrated=found[0]["brier"],
        brier=found[1]["brier"],
        temperature=1 / float(scale[0]) if same else None,
    )


def _logits(probabilities: Float[Tensor, "clips classes"], *, multilabel: bool) -> Float[Tensor, "clips classes"]:
    known = probabilities.double().clamp(min=torch.finfo(torch.float32).tiny)
    return (torch.logit(known, eps=1e-7) if multilabel else known.log()).float()


def _activate(logits: Tensor, scale: Tensor, bias: Tensor, *, multilabel: bool) -> Float[Tensor, "clips classes"]:
    calibration = Calibration(logits.shape[1], multilabel=multilabel)
    calibration.put(scale, bias)
    found = calibration(logits)
    return torch.sigmoid(found) if multilabel else found.softmax(dim=1)


def _cross_fitted(
    logits: Tensor, targets: Tensor, group: Int64[np.ndarray, "clips"], method: Method, *, multilabel: bool
) -> Float[Tensor, "clips classes"]:
    """Calibrate the probabilities of every clip on clips of other groups; a single group stays uncalibrated."""
    found = _activate(logits, *fit(logits[:0], targets[:0], "none", multilabel=multilabel), multilabel=multilabel)
    for own in folds_of_groups(group, CALIBRATION_FOLDS):
        inside = torch.from_numpy(own)
        fitted = fit(logits[~inside], targets[~inside], method, multilabel=multilabel)
        found[inside] = _activate(logits[inside], *fitted, multilabel=multilabel)
    return found


def _by_recording(
    windows: OutOfFold, probabilities: Float32[np.ndarray, "windows classes"], whole: OutOfFold
) -> Float32[np.ndarray, "recordings classes"]:
    """Average the probabilities over the windows of each recording, in the order of the whole recordings."""
    place = whole.clips.reset_index().groupby("path")["index"].first()
    recording = windows.clips["path"].map(place).to_numpy()
    duration = (windows.clips["end_seconds"] - windows.clips["start_seconds"]).to_numpy()
    duration = np.maximum(duration, 0.001)  # the times are rounded to milliseconds
    return recording_means(recording, probabilities, duration).astype(np.float32)
