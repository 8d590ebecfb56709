"""Every data source, from its files to a tested and reloaded classifier."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_sources
import torch
from running import run

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import build, choices
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.inference.evaluate import evaluate
from audio_lightning.loggers.media.per_class import collect_outputs
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.results import by_recording

SETTINGS = {
    "speech_commands": ["data.task=12", "data.clip_seconds=0.1", "feature.hop_seconds=0.005"],
    "instruments": ["data.clip_seconds=0.25", "data.hop_seconds=0.25"],
    "table": ["data.table=clips.csv", "data.label_separator=';'"],
}


def test_every_source_has_a_tiny_data_set() -> None:
    """One that is new needs a function in tests/helpers/tiny_sources.py that writes some clips in its layout."""
    assert set(tiny_sources.WRITERS) == set(choices("data"))


@pytest.mark.parametrize("name", choices("data"))
def test_a_source_trains_and_its_checkpoint_is_tested_again(name: str, tmp_path: Path) -> None:
    root = tiny_sources.write(name, tmp_path / "data (ö)")
    settings = [*SETTINGS.get(name, []), "trainer.max_epochs=2"]
    metrics = run(root, tmp_path / "run", f"data={name}", *settings)
    folder = RunFolder(tmp_path / "run")
    assert metrics["epochs"] == 2
    assert metrics["leakage"] in ("none found", "cannot be excluded")
    assert json.loads(folder.metrics.read_text()) == metrics
    predictions = pd.read_csv(folder.predictions, keep_default_na=False)
    assert len(predictions) == metrics["num_clips/test"]
    assert (predictions["end_seconds"] > predictions["start_seconds"]).all()

    again = evaluate(tmp_path / "run").metrics
    assert again.pop("num_train_overlap") == 0
    again.pop("warnings", None)  # it knows the test part alone
    assert {key: metrics[key] for key in again} == again


def test_windows_and_recordings_are_evaluated(tmp_path: Path) -> None:
    root = tiny_sources.write("instruments", tmp_path / "data")
    metrics = run(root, tmp_path / "run", "data=instruments", *SETTINGS["instruments"], "trainer.max_epochs=3")
    folder = RunFolder(tmp_path / "run")
    windows = pd.read_csv(folder.predictions)
    recordings = pd.read_csv(folder.recordings)
    columns = [name for name in windows if name.startswith("probability")]
    windows["duration"] = windows["end_seconds"] - windows["start_seconds"]
    assert windows.groupby("path")["duration"].std().max() > 0, "no window is shorter than the others"
    means = windows.groupby("path", sort=False).apply(
        lambda rows: pd.Series(np.average(rows[columns], axis=0, weights=rows["duration"]), columns)
    )
    assert list(recordings["path"]) == list(means.index)
    # The times in the file, and so the weights, are rounded to milliseconds; windows here last 250 ms.
    assert recordings[columns].to_numpy() == pytest.approx(means.to_numpy(), abs=1e-3)
    assert list(recordings["windows"]) == list(windows.groupby("path", sort=False).size())
    assert recordings["windows"].max() > 1
    guess = means.to_numpy().argmax(axis=1)
    labels = [name.removeprefix("probability ") for name in columns]
    assert list(recordings["predicted"]) == [labels[index] for index in guess]
    assert metrics["test/recording_accuracy"] == (recordings["predicted"] == recordings["label"]).mean()
    assert metrics["test/accuracy"] == (windows["predicted"] == windows["label"]).mean()

    classifier = AudioClassifier.load_from_checkpoint(folder.best)
    datamodule = build(classifier.config["data"], AudioDataModule, where="data")
    datamodule.setup()
    found = collect_outputs(classifier, datamodule, "validation")
    number = torch.from_numpy(datamodule.numbers("validation")[found.position])
    rows, means = by_recording(datamodule, number, found.probabilities)
    assert 1 < len(rows) < len(found.row)
    right = means.argmax(dim=1).numpy() == datamodule.manifest.targets()[rows]
    assert metrics["validation/recording_accuracy"] == pytest.approx(right.mean())


def test_multilabel_predictions_use_the_thresholds_of_the_checkpoint(tmp_path: Path) -> None:
    root = tiny_sources.write("table", tmp_path / "data")
    metrics = run(root, tmp_path / "run", "data=table", *SETTINGS["table"], "trainer.max_epochs=6")
    folder = RunFolder(tmp_path / "run")
    assert metrics["test/mean_average_precision"] > 0.5
    assert "test/balanced_accuracy" not in metrics
    with folder.per_class.open(newline="") as file:
        thresholds = {row["class"]: float(row["threshold"]) for row in csv.DictReader(file)}
    predictions = pd.read_csv(folder.predictions, keep_default_na=False)
    for _, row in predictions.iterrows():
        reached = {name for name, least in thresholds.items() if row[f"probability {name}"] >= least - 1e-8}
        assert set(row["predicted"].split("|")) - {""} == reached
    table = pd.read_csv(root / "clips.csv", index_col="path")["label"]
    assert [set(label.split("|")) for label in predictions["label"]] == [
        set(table[path].split(";")) for path in predictions["path"]
    ]
    assert metrics["test/accuracy"] == pytest.approx((predictions["label"] == predictions["predicted"]).mean())
    assert any(value != 0.5 for value in thresholds.values())


@pytest.mark.parametrize(
    ("overrides", "leakage"),
    [
        (["data.split=random"], "present"),
        (["data.folds=4", "data.test_fold=2"], "none found"),
    ],
)
def test_results_contain_the_split(tiny_urbansound8k: Path, tmp_path: Path, overrides: list[str], leakage: str) -> None:
    metrics = run(tiny_urbansound8k, tmp_path, *overrides, "trainer.max_epochs=1")
    assert metrics["leakage"] == leakage
    assert metrics["split"] == ("random" if leakage == "present" else "folds")
    if leakage == "none found":
        assert (metrics["test_fold"], metrics["validation_fold"]) == (2, 3)
