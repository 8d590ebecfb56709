"""Class probabilities of recordings of any length, rate and number of channels; torch is imported by need."""

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
    """The answer for one window of a recording, or for all of it, or why there is none.

    Attributes:
        path: the recording, as it was named or found.
        start_seconds: where the window, or the first one, begins.
        stop_seconds: where it, or the last one, ends.
        probabilities: one a class.
        labels: what is predicted: one class, or any number of them where clips may have several labels.
        typicality: see :meth:`Classifier.typicality`; None unless it was asked for.
        error: what is wrong with the recording; then the other values are None.
    """

    path: Path
    start_seconds: float | None = None
    stop_seconds: float | None = None
    probabilities: Float[np.ndarray, "classes"] | None = None
    labels: list[str] | None = None
    typicality: float | None = None
    error: str | None = None


class Answers(Protocol):
    """What predictions are made of, in arrays of numpy."""

    def of(
        self, parts: list[Part], samples: Float[np.ndarray, "rows samples"]
    ) -> tuple[Probabilities, Float[np.ndarray, "parts"] | None]:
        """Probability of every class for each part that has samples, and how typical it is, where that is asked for."""

    def decide(self, probabilities: Probabilities) -> list[list[str]]:
        """The labels that are predicted."""


@dataclass(frozen=True)
class _OfClassifier:
    """The answers of a classifier of torch."""

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
        return self.classifier.decide(torch.from_numpy(probabilities), thresholds)


@dataclass(frozen=True)
class _OfModel:
    """The answers of a model of ONNX."""

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
    """Answer for every recording, in order, in memory that does not depend on how long the recordings are.

    Args:
        classifier: in evaluation mode, or a model of ONNX.
        recordings: files; one that cannot be read gives an error and does not stop the others.
        per_recording: answer once for each, by the mean of the probabilities of its windows, as
            ``test/recording_accuracy`` of a run does; there is no answer if it cannot be read to its end.
        raw: give the probabilities before calibration.
        thresholds: see :meth:`Classifier.decide`.
        typicality: say how much a sound is like the validation clips, see :meth:`Classifier.typicality`; of a
            recording, the mean of its windows.
        **options: window, hop and batch size, see :func:`audio_lightning.inference.windows.batches`.

    Raises:
        ConfigError: a window or hop that cannot be used, a checkpoint that does not know what is typical, or ``raw`` or
            ``typicality`` of a model of ONNX.
    """
    answers: Answers
    if isinstance(classifier, OnnxModel):
        if raw or typicality:
            raise ConfigError(
                f"{classifier.name}: a model of ONNX has calibrated probabilities alone: leave out --raw and "
                "--typicality, or use the checkpoint"
            )
        answers = _OfModel(classifier, thresholds)
    else:
        if typicality:
            _require_typicality(classifier)
        answers = _OfClassifier(classifier, thresholds, raw, typicality)
    found = _of_windows(answers, batches(classifier, recordings, **options))
    if not per_recording:
        return found
    by_recording = groupby(found, key=lambda prediction: prediction.path)
    return (_of_recording(answers, windows) for _, windows in by_recording)


def _require_typicality(classifier: "Classifier") -> None:
    known = classifier.validated_clips
    if known is None or known.energies is None or not len(known.energies):
        raise ConfigError(
            "--typicality: the checkpoint holds no energies of validation clips (it was trained without validation, "
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
    """The mean of a recording's windows, added up in double precision; its error if there is one."""
    total: Float[np.ndarray, "classes"] | float = 0.0
    count, shares = 0, list[float]()
    failed: Prediction | None = None
    for window in windows:
        if window.probabilities is not None:
            total = total + window.probabilities.astype(np.float64)
            count += 1
            shares += [] if window.typicality is None else [window.typicality]
        else:
            failed = failed or window
        last = window
    if failed is not None:
        return failed
    mean = np.asarray(total / count, dtype=np.float32)[None]
    typicality = sum(shares) / len(shares) if shares else None
    return Prediction(last.path, 0.0, last.stop_seconds, mean[0], answers.decide(mean)[0], typicality)
