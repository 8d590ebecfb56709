"""Class probabilities of recordings of any length, rate and number of channels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.classifier.base import Classifier
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.windows import Part, batches, merged, not_finite, stacked


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


def predict(
    classifier: Classifier,
    recordings: Iterable[Path],
    *,
    per_recording: bool = False,
    raw: bool = False,
    thresholds: Float[Tensor, "classes"] | None = None,
    typicality: bool = False,
    **options: Any,
) -> Iterator[Prediction]:
    """Answer for every recording, in order, in memory that does not depend on how long the recordings are.

    Args:
        classifier: in evaluation mode.
        recordings: files; one that cannot be read gives an error and does not stop the others.
        per_recording: answer once for each, by the mean of the probabilities of its windows, as
            ``test/recording_accuracy`` of a run does; there is no answer if it cannot be read to its end.
        raw: give the probabilities before calibration.
        thresholds: see :meth:`Classifier.decide`.
        typicality: say how much a sound is like the validation clips, see :meth:`Classifier.typicality`; of a
            recording, the mean of its windows.
        **options: window, hop and batch size, see :func:`audio_lightning.inference.windows.batches`.

    Raises:
        ConfigError: a window or hop that cannot be used, or a checkpoint that does not know what is typical.
    """
    if typicality and classifier.typicality(torch.zeros(1)) is None:
        raise ConfigError(
            "--typicality: the checkpoint holds no energies of validation clips (it was trained without validation, "
            "with calibration=none, or by an earlier version); train again"
        )
    batched = batches(classifier, recordings, **options)
    found = _of_windows(classifier, batched, raw=raw, thresholds=thresholds, typicality=typicality)
    if not per_recording:
        return found
    by_recording = groupby(found, key=lambda prediction: prediction.path)
    return (_of_recording(classifier, windows, thresholds) for _, windows in by_recording)


def _of_windows(
    classifier: Classifier,
    batched: Iterable[list[Part]],
    *,
    raw: bool,
    thresholds: Float[Tensor, "classes"] | None,
    typicality: bool,
) -> Iterator[Prediction]:
    activate = classifier.activate_uncalibrated if raw else classifier.activate
    for parts in batched:
        waveforms = stacked(parts)
        answers: Iterator[tuple[Float[np.ndarray, "classes"], list[str], float | None]] = iter(())
        if waveforms is not None:
            logits, energies = classifier.logits_and_energy(waveforms)
            probabilities = merged(parts, activate(logits).cpu())
            typical = classifier.typicality(merged(parts, energies[:, None].cpu())[:, 0]) if typicality else None
            shares = [None] * len(probabilities) if typical is None else typical.tolist()
            answers = zip(probabilities.numpy(), classifier.decide(probabilities, thresholds), shares)
        for part in parts:
            if part.samples is None:
                yield Prediction(part.path, error=part.error)
                continue
            values, labels, share = next(answers)
            if error := not_finite(part, values, "probabilities"):
                yield Prediction(part.path, error=error)
            else:
                yield Prediction(part.path, part.start_seconds, part.stop_seconds, values, labels, share)


def _of_recording(
    classifier: Classifier, windows: Iterable[Prediction], thresholds: Float[Tensor, "classes"] | None = None
) -> Prediction:
    """The mean of a recording's windows, added up in double precision; its error if there is one."""
    total, count, shares = np.zeros(classifier.task.num_classes), 0, list[float]()
    failed: Prediction | None = None
    for window in windows:
        if window.probabilities is not None:
            total += window.probabilities
            count += 1
            shares += [] if window.typicality is None else [window.typicality]
        else:
            failed = failed or window
        last = window
    if failed is not None:
        return failed
    mean = torch.from_numpy(total / count).float()[None]
    typicality = sum(shares) / len(shares) if shares else None
    labels = classifier.decide(mean, thresholds)[0]
    return Prediction(last.path, 0.0, last.stop_seconds, mean[0].numpy(), labels, typicality)
