"""Simulated folders of fits."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from omegaconf import OmegaConf
from sweep_folders import make_sweep, trial

from audio_lightning.compare.fit_summary import (
    FitCalibration,
    FitCandidate,
    FitChoice,
    FitFolder,
    FitMachine,
    FitProperty,
    FitResult,
    FitSummary,
    LearningPoint,
    TimeSpent,
)
from audio_lightning.config import compose
from audio_lightning.core.files import write_csv

CLASSES = ("dog bark", "rain", "siren", "wind")


def whole_summary(root: Path, classes: Sequence[str] = CLASSES, **changes: Any) -> FitSummary:
    """A completed fit, with everything that a page can show."""
    summary = FitSummary(
        preset="good",
        metric="accuracy",
        version="0.2.0",
        budget_seconds=1200.0,
        spent_seconds=1130.2,
        data=["data=folder", f"data.root={root}"],
        classes=list(classes),
        recordings=80,
        clips=96,
        groups=40,
        properties=[
            FitProperty("length", "median 4.0 s, 95 % of the recordings up to 9.5 s", ["data.clip_seconds"]),
            FitProperty("sample rate", "44,100 Hz (80)", ["data.sample_rate"]),
            FitProperty("imbalance", "the largest class has 3.1 times the clips of the smallest"),
        ],
        choices=[
            FitChoice("data.clip_seconds", 4.0, "the median recording"),
            FitChoice("feature.bands", [20, 16000], "97 % of the energy lies there"),
        ],
        machine=FitMachine("CPU", 2, 25.0),
        folds=3,
        fold_origin="made, groups stay together",
        candidates=[
            FitCandidate("mfcc", "MFCC, small CNN", ["feature=mfcc", "model=cnn"], "selected", "", 0.78, 0.74, 0.33,
                         112.0, 31.0, 40),
            FitCandidate("auto", "two PANNs, log-mel and PCEN", ["experiment=auto"], "selected", "", 0.81, 0.79, 0.67,
                         812.0, 310.0, 40),
            FitCandidate("raw", "SincNet on the waveform", [], "trained", "adds nothing", 0.7, 0.69, 0.0, 90.0, 60.0,
                         20),
            FitCandidate("vgg", "", [], "stopped", "behind the best after fold 1", 0.4, None, None, 20.0, 25.0, 5),
            FitCandidate("wav2vec2", "", [], "failed", "no published weights at hand"),
            FitCandidate("late", "", [], "skipped", "no time left"),
        ],
        result=FitResult("accuracy", 0.78, 0.71, 0.84, 0.8, 0.02, False, "40 groups"),
        calibration=FitCalibration("temperature", 0.031, 0.402, 0.094, 0.431, 1.62),
        learning=[LearningPoint(0.25, 0.6), LearningPoint(0.5, 0.7), LearningPoint(1.0, 0.78)],
        time=[
            TimeSpent("measuring recordings", 12.0),
            TimeSpent("trying candidates", 200.0),
            TimeSpent("training folds", 850.0),
        ],
        notes=["Two recordings cannot be read and were left out."],
    )  # fmt: skip
    return replace(summary, **changes)


def write_recordings(root: Path, classes: Sequence[str], number: int) -> None:
    """Tones of half a second in a folder for each class."""
    for place, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        tone = 0.5 * np.sin(2 * np.pi * 220 * (place + 1) * np.arange(8000) / 16000)
        for count in range(number):
            soundfile.write(root / name / f"{count}.wav", tone, 16000)


def write_fit(
    path: Path,
    summary: FitSummary,
    rows: Sequence[tuple[str, str, str]] | None = None,
    *,
    data: Path | None = None,
    windows: bool = True,
) -> FitFolder:
    """Write a fit.

    Args:
        path: its folder.
        summary: what is known of it.
        rows: path, label and predicted label of out-of-fold predictions, several with ``|`` between them; the first
            rows are the most certain.
        data: folder with the recordings; None: there is no training that knows one.
        windows: whether predictions are of clips of half a second, not of whole recordings.
    """
    folder = FitFolder(path)
    folder.write_summary(summary)
    if data is not None:
        overrides = ["data=folder", "data.sample_rate=16000", "data.clip_seconds=0.5"]
        source: Any = OmegaConf.to_container(compose(overrides).data, resolve=True)
        make_sweep(folder.trials, [trial(model="cnn", config={"data": {**source, "root": str(data)}})])
    if rows is not None:
        header = ["path", "group", "start_seconds", "end_seconds", "label", "predicted"]
        header += [f"probability {name}" for name in summary.classes]
        write_csv(folder.out_of_fold, header, [
            [row[0], row[0], *(("0.000", "0.500") if windows else ("0.000", "")), *row[1:],
             *_probabilities(row[2], summary.classes, 0.95 - 0.4 * place / len(rows))]
            for place, row in enumerate(rows)
        ])  # fmt: skip
    return folder


def _probabilities(predicted: str, classes: Sequence[str], certainty: float) -> list[float]:
    named = set(predicted.split("|"))
    return [certainty if name in named else (1 - certainty) / max(1, len(classes) - 1) for name in classes]
