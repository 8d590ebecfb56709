"""Results of a test: prediction tables, per-class metrics, intervals and calibration."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from audio_lightning.classifier.base import Classifier
from audio_lightning.core.cross_fitting import folds_of_groups
from audio_lightning.core.files import write_csv
from audio_lightning.core.recording_means import recording_means
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import SPLITS, TEST, VALIDATION
from audio_lightning.data.splitting.splits import source_of
from audio_lightning.metrics.calibration import calibration_metrics
from audio_lightning.metrics.factory import metrics_of
from audio_lightning.metrics.multilabel import best_thresholds
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.intervals import Interval, accuracy_interval, balanced_accuracy_interval
from audio_lightning.training.samples import data_warnings

ENERGY = "energy"
"""Column of ``predictions.csv``."""

THRESHOLD_FOLDS = 5
"""Number of folds of the validation clips; each is predicted with thresholds fitted to the others."""


def write_results(folder: RunFolder, classifier: Classifier, datamodule: AudioDataModule) -> None:
    """Write the predictions and per-class metrics of the last test.

    ``predictions.csv`` has one row per clip, with its group and its energy (:meth:`Classifier.logits_and_energy`).
    ``per_class.csv`` has one row per class. If recordings were cut into windows, ``recordings.csv`` has one row per
    recording, with the mean of its windows (:func:`by_recording`).
    """
    number, probabilities = classifier.last_predictions()
    energies = classifier.last_energies()
    clips, rate = datamodule.clips.select(number.numpy()), datamodule.sample_rate
    table = datamodule.manifest.table
    path, label = table["path"].to_numpy()[clips.row], _labels(datamodule)[clips.row]
    start = clips.offset / rate
    stop = start + np.minimum(clips.length, datamodule.num_samples) / rate
    classes = classifier.task.classes
    columns = ["label", "predicted", *(f"probability {name}" for name in classes)]
    group = table["group"].to_numpy()
    write_csv(
        folder.predictions,
        ["path", "group", "start_seconds", "end_seconds", *columns, ENERGY],
        (
            [
                path[place],
                group[clips.row[place]],
                f"{start[place]:.3f}",
                f"{stop[place]:.3f}",
                label[place],
                *cells,
                f"{energies[place]:.6g}",
            ]
            for place, cells in enumerate(_cells(classifier, probabilities))
        ),
    )
    per_class = {name: values.tolist() for name, values in classifier.test_metrics.per_class().items()}
    write_csv(folder.per_class, ["class", *per_class], zip(classes, *per_class.values()))
    if datamodule.hop_samples is not None:
        rows, means = by_recording(datamodule, number, probabilities)
        write_csv(
            folder.recordings,
            ["path", "group", "windows", *columns],
            (
                [table["path"].iloc[row], group[row], windows, name, *cells]
                for row, windows, name, cells in zip(
                    rows, np.bincount(clips.row)[rows], _labels(datamodule)[rows], _cells(classifier, means)
                )
            ),
        )


def measured(classifier: Classifier, datamodule: AudioDataModule) -> dict[str, float]:
    """Return the metrics of the last test with intervals; also per recording, if recordings were cut into windows.

    ``test/ece`` and ``test/brier`` are computed from the calibrated probabilities. If the classifier was calibrated,
    ``test/ece_uncalibrated`` and ``test/brier_uncalibrated`` are those before calibration.

    ``test/accuracy_low`` and ``test/accuracy_high`` are the ends of the 95 % confidence interval over grouped clips;
    ``num_groups/test`` is the number of groups. Balanced accuracy and whole recordings have the same columns.
    """
    metrics = {f"test/{name}": float(value) for name, value in classifier.test_metrics.compute().items()}
    number, probabilities = classifier.last_predictions()
    row = datamodule.clips.row[number.numpy()]
    metrics |= intervals(datamodule, row, probabilities, "test/", _thresholds(classifier))
    metrics |= _calibration(classifier, probabilities, targets_of(datamodule, number))
    return metrics | recording_metrics(classifier, datamodule, TEST)


def targets_of(datamodule: AudioDataModule, number: Int64[Tensor, "clips"]) -> Tensor:
    """Return the targets of clips: class indices ``[clips]``, or ``[clips, classes]`` for multi-label tasks."""
    return torch.from_numpy(datamodule.manifest.targets()[datamodule.clips.row[number.numpy()]])


def recording_metrics(classifier: Classifier, datamodule: AudioDataModule, part: str) -> dict[str, float]:
    """Return the metrics per recording of the last predictions; empty unless recordings were cut into windows.

    For multi-label tasks, the thresholds of the classifier are fitted to the validation clips. Metrics on the same
    clips would be optimistic, so each group of clips is predicted with thresholds fitted to other groups.

    Args:
        classifier: classifier that made the predictions.
        datamodule: data of the predictions.
        part: name of the predicted split, ``test`` or ``validation``.
    """
    if datamodule.hop_samples is None:
        return {}
    number, probabilities = classifier.last_predictions()
    row = datamodule.clips.row[number.numpy()]
    rows, means = by_recording(datamodule, number, probabilities)
    targets = torch.from_numpy(datamodule.manifest.targets()[rows])
    thresholds = _thresholds(classifier)
    ends: dict[str, float] = {}
    if part == TEST:
        ends = intervals(datamodule, rows, means, "test/recording_", thresholds)
    if thresholds is not None and part == VALIDATION:
        of_clips = torch.from_numpy(datamodule.manifest.targets()[row]).bool()
        fitted = cross_fitted_thresholds(probabilities, of_clips, groups_of(datamodule)[row])
        thresholds = fitted[np.unique(row, return_index=True)[1]]
    whole = metrics_of(classifier.task, means, targets, thresholds=thresholds, configured=classifier.configured)
    return {f"{part}/recording_{name}": float(value) for name, value in whole.compute().items()} | ends


def cross_fitted_thresholds(
    probabilities: Float[Tensor, "clips classes"],
    targets: Bool[Tensor, "clips classes"],
    group: Shaped[np.ndarray, "clips"],
) -> Float[Tensor, "clips classes"]:
    """Fit thresholds for every clip that maximize F1 on clips of other groups.

    With a single group nothing can be fitted; all thresholds are 0.5.
    """
    found = torch.full_like(probabilities, 0.5)
    for part in folds_of_groups(group, THRESHOLD_FOLDS):
        own = torch.from_numpy(part)
        found[own] = best_thresholds(probabilities[~own], targets[~own])
    return found


def _calibration(
    classifier: Classifier, probabilities: Float[Tensor, "clips classes"], targets: Tensor
) -> dict[str, float]:
    """Return the calibration metrics of the last test, before and after calibration."""
    multilabel = classifier.task.multilabel
    found = calibration_metrics(probabilities, targets, multilabel=multilabel)
    metrics = {f"test/{name}": value for name, value in found.items()}
    if classifier.calibration.fitted:
        before = classifier.activate_uncalibrated(classifier.last_logits()[1])
        found = calibration_metrics(before, targets, multilabel=multilabel)
        metrics |= {f"test/{name}_uncalibrated": value for name, value in found.items()}
    return metrics


def _thresholds(classifier: Classifier) -> Float[Tensor, "classes"] | None:
    return classifier.thresholds.cpu() if classifier.task.multilabel else None


def intervals(
    datamodule: AudioDataModule,
    row: Int64[np.ndarray, "clips"],
    probabilities: Float[Tensor, "clips classes"],
    prefix: str,
    thresholds: Float[Tensor, "classes"] | None,
) -> dict[str, float]:
    """Return the ends of the accuracy intervals of clips or recordings, given by their manifest rows.

    Args:
        datamodule: data of the predictions.
        row: manifest row of each clip.
        probabilities: class probabilities, ``[clips, classes]``.
        prefix: start of the names.
        thresholds: minimum probability of each class for multi-label tasks; None for single-label tasks.
    """
    target = torch.from_numpy(datamodule.manifest.targets()[row])
    group = groups_of(datamodule)[row]
    found: dict[str, Interval | None] = {}
    if thresholds is not None:
        correct = ((probabilities >= thresholds) == target.bool()).all(dim=1).numpy()
    else:
        correct = (probabilities.argmax(dim=1) == target).numpy()
        found["balanced_accuracy"] = balanced_accuracy_interval(correct, target.numpy(), group)
    found["accuracy"] = accuracy_interval(correct, group)
    ends = {
        f"{prefix}{name}_{end}": getattr(interval, end)
        for name, interval in found.items()
        if interval is not None
        for end in ("low", "high")
    }
    return {**ends, "num_groups/test": len(set(group))}


def groups_of(datamodule: AudioDataModule) -> Shaped[np.ndarray, "rows"]:
    """Return the group of every manifest row, within which clips are not independent.

    The group of a piece of background noise is its recording.
    """
    table = datamodule.manifest.table
    return np.where(table["background"], table["path"], source_of(datamodule.manifest)).astype(str)


def division(datamodule: AudioDataModule) -> dict[str, int | str]:
    """Return how the splits were made: method, test and validation folds if any, result of the leakage check, seed."""
    folds = {}
    if datamodule.split_method == "folds":
        fold = datamodule.manifest.table["fold"].to_numpy()
        rows = {split: datamodule.manifest.rows(split) for split in (TEST, VALIDATION)}
        folds = {f"{split}_fold": int(fold[found[0]]) for split, found in rows.items() if len(found)}
    return {"split": datamodule.split_method, **folds, "leakage": datamodule.leakage, "seed": datamodule.seed}


def warnings_of(datamodule: AudioDataModule, splits: Sequence[str] = SPLITS) -> dict[str, str]:
    """Return the warnings about the data for ``metrics.json``, joined into one text; empty if there are none."""
    sentences = data_warnings(datamodule, splits)
    return {"warnings": "; ".join(sentences)} if sentences else {}


def by_recording(
    datamodule: AudioDataModule, number: Int64[Tensor, "clips"], probabilities: Float[Tensor, "clips classes"]
) -> tuple[np.ndarray, Float[Tensor, "recordings classes"]]:
    """Average the probabilities over the windows of each recording, weighted by their duration.

    Args:
        datamodule: data of the predictions.
        number: clip number of every window.
        probabilities: probabilities of every window, ``[windows, classes]``.

    Returns:
        The distinct manifest rows in ascending order, and the mean probabilities ``[recordings, classes]``.
    """
    clips = datamodule.clips.select(number.numpy())
    rows, recording = np.unique(clips.row, return_inverse=True)
    duration = np.minimum(clips.length, datamodule.num_samples)
    return rows, torch.from_numpy(recording_means(recording, probabilities.numpy(), duration)).float()


def _labels(datamodule: AudioDataModule) -> np.ndarray:
    """Return the label of every manifest row in the format of predictions: labels in the order of the classes."""
    manifest = datamodule.manifest
    place = {name: index for index, name in enumerate(manifest.classes)}
    entries = {
        entry: LABEL_SEPARATOR.join(sorted(set(manifest.labels(entry)), key=place.__getitem__))
        for entry in manifest.table["label"].unique()
    }
    return manifest.table["label"].map(entries).to_numpy()


def _cells(classifier: Classifier, probabilities: Float[Tensor, "clips classes"]) -> list[list[str]]:
    """Return the predicted labels and the probabilities of every clip, as table cells."""
    return [
        [LABEL_SEPARATOR.join(labels), *(f"{value:.8f}" for value in values)]
        for labels, values in zip(classifier.decide(probabilities), probabilities.tolist())
    ]
