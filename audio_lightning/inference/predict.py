"""Prediction of recordings of any length, sample rate and number of channels; torch is imported only if needed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float

from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.onnx_model import OnnxModel
from audio_lightning.inference.windows import Part, batches, mean_of_channels, not_finite, samples_of

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier

Probabilities = Float[np.ndarray, "parts classes"]


@dataclass(frozen=True)
class Prediction:
    """The prediction for one window or for a whole recording, or an error.

    Attributes:
        path: the recording.
        start_seconds: start of the (first) window in the recording.
        stop_seconds: end of the (last) window.
        probabilities: probability of every class.
        labels: predicted class; any number of classes for multi-label tasks.
        typicality: see :meth:`Classifier.typicality`; None if it was not requested.
        error: reason why the recording cannot be read; the other values are then None.
    """

    path: Path
    start_seconds: float | None = None
    stop_seconds: float | None = None
    probabilities: Float[np.ndarray, "classes"] | None = None
    labels: list[str] | None = None
    typicality: float | None = None
    error: str | None = None

    @property
    def duration(self) -> float:
        """Duration of the window in seconds, without padding; 0 for an error."""
        return (self.stop_seconds or 0.0) - (self.start_seconds or 0.0)


class Answers(Protocol):
    """Interface of predictions by a torch classifier or an ONNX model, with NumPy arrays."""

    def of(
        self, parts: list[Part], samples: Float[np.ndarray, "rows samples"]
    ) -> tuple[Probabilities, Float[np.ndarray, "parts"] | None]:
        """Return the probability of every class for each readable window, and its typicality if requested."""

    def decide(self, probabilities: Probabilities) -> list[list[str]]:
        """Return the predicted labels."""


@dataclass(frozen=True)
class _OfClassifier:
    """Predictions of a torch classifier."""

    classifier: "Classifier"
    thresholds: Float[np.ndarray, "classes"] | None = None
    raw: bool = False
    typicality: bool = False

    def of(
        self, parts: list[Part], samples: Float[np.ndarray, "rows samples"]
    ) -> tuple[Probabilities, Float[np.ndarray, "parts"] | None]:
        import torch

        classifier = self.classifier
        logits, energies = classifier.logits_and_energy(torch.from_numpy(samples))
        activate = classifier.activate_uncalibrated if self.raw else classifier.activate
        probabilities = mean_of_channels(parts, activate(logits).cpu().numpy())
        if not self.typicality:
            return probabilities, None
        means = mean_of_channels(parts, energies.cpu().numpy()[:, None])[:, 0]
        shares = classifier.typicality(torch.from_numpy(means))
        return probabilities, None if shares is None else shares.numpy()

    def decide(self, probabilities: Probabilities) -> list[list[str]]:
        import torch

        thresholds = None if self.thresholds is None else torch.from_numpy(self.thresholds).float()
        if thresholds is None and self.raw and self.classifier.task.multilabel:
            thresholds = self.classifier.uncalibrated_thresholds()
        return self.classifier.decide(torch.from_numpy(probabilities), thresholds)


@dataclass(frozen=True)
class _OfModel:
    """Predictions of an ONNX model."""

    model: OnnxModel
    thresholds: Float[np.ndarray, "classes"] | None = None

    def of(self, parts: list[Part], samples: Float[np.ndarray, "rows samples"]) -> tuple[Probabilities, None]:
        return mean_of_channels(parts, self.model.probabilities(samples)), None

    def decide(self, probabilities: Probabilities) -> list[list[str]]:
        return self.model.decide(probabilities, self.thresholds)


def predict(
    classifier: "Classifier | OnnxModel",
    recordings: Iterable[Path],
    *,
    per_recording: bool = False,
    raw: bool = False,
    thresholds: Float[np.ndarray, "classes"] | None = None,
    typicality: bool = False,
    **options: Any,
) -> Iterator[Prediction]:
    """Predict recordings in order, with memory that does not depend on their length.

    Args:
        classifier: in evaluation mode, or an ONNX model.
        recordings: files; an unreadable one yields an error and does not stop the others.
        per_recording: yield one prediction per recording, from the mean of the probabilities of its windows, as for
            ``test/recording_accuracy`` of a run. A recording that cannot be read to its end yields an error.
        raw: return probabilities before calibration.
        thresholds: of the returned probabilities, see :meth:`Classifier.decide`.
        typicality: compute the similarity to the validation clips, see :meth:`Classifier.typicality`; for a recording,
            the mean of its windows.
        **options: window, hop and batch size, see :func:`audio_lightning.inference.windows.batches`.

    Raises:
        ConfigError: an invalid window or hop, a checkpoint without the energies that typicality needs, or ``raw`` or
            ``typicality`` with an ONNX model.
    """
    check_outputs(classifier, raw=raw, typicality=typicality)
    answers: Answers
    if isinstance(classifier, OnnxModel):
        answers = _OfModel(classifier, thresholds)
    else:
        answers = _OfClassifier(classifier, thresholds, raw, typicality)
    found = _of_windows(answers, batches(classifier, recordings, **options))
    if not per_recording:
        return found
    by_recording = groupby(found, key=lambda prediction: prediction.path)
    return (_of_recording(answers, windows) for _, windows in by_recording)


def check_outputs(classifier: "Classifier | OnnxModel", *, raw: bool = False, typicality: bool = False) -> None:
    """Check that a classifier supports ``raw`` and ``typicality`` of :func:`predict`, if they are requested.

    Raises:
        ConfigError: see :func:`predict`.
    """
    if isinstance(classifier, OnnxModel):
        if raw or typicality:
            raise ConfigError(
                f"{classifier.name}: an ONNX model supports neither --raw nor --typicality; leave them out, or use the "
                "checkpoint"
            )
    elif typicality:
        _require_typicality(classifier)


def _require_typicality(classifier: "Classifier") -> None:
    known = classifier.validated_clips
    if known is None or known.energies is None or not len(known.energies):
        raise ConfigError(
            "--typicality: the checkpoint contains no energies of validation clips (it was trained without validation, "
            "with calibration=none, or by an earlier version); train again"
        )


def _of_windows(answers: Answers, batched: Iterable[list[Part]]) -> Iterator[Prediction]:
    for parts in batched:
        samples = samples_of(parts)
        found: Iterator[tuple[Float[np.ndarray, "classes"], list[str], float | None]] = iter(())
        if samples is not None:
            probabilities, typical = answers.of(parts, samples)
            shares = [None] * len(probabilities) if typical is None else typical.tolist()
            found = zip(probabilities, answers.decide(probabilities), shares)
        for part in parts:
            if part.samples is None:
                yield Prediction(part.path, error=part.error)
                continue
            values, labels, share = next(found)
            if error := not_finite(part, values, "probabilities"):
                yield Prediction(part.path, error=error)
            else:
                yield Prediction(part.path, part.start_seconds, part.stop_seconds, values, labels, share)


def _of_recording(answers: Answers, windows: Iterable[Prediction]) -> Prediction:
    """Average the windows of a recording, weighted by their duration; return the first error if there is one.

    The sum is kept while the windows are read, so that memory does not depend on the length of the recording.
    """
    total: Float[np.ndarray, "classes"] | float = 0.0
    typical, seconds = 0.0, 0.0
    failed: Prediction | None = None
    for window in windows:
        if window.probabilities is not None:
            total = total + window.duration * window.probabilities.astype(np.float64)
            typical += window.duration * (window.typicality or 0.0)
            seconds += window.duration
        else:
            failed = failed or window
        last = window
    if failed is not None:
        return failed
    mean = np.asarray(total / seconds, dtype=np.float32)[None]
    typicality = None if last.typicality is None else typical / seconds
    return Prediction(last.path, 0.0, last.stop_seconds, mean[0], answers.decide(mean)[0], typicality)
