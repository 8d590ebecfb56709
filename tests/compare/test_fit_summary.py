"""Summary of a fit: written and read back; damage is one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from audio_lightning.compare.fit_summary import (
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
from audio_lightning.core.errors import ConfigError, FileError

WHOLE = FitSummary(
    preset="good",
    metric="accuracy",
    version="0.2.0",
    budget_seconds=1200.0,
    spent_seconds=1130.2,
    data=["data=folder", "data.root=recordings"],
    classes=["dog", "Türglocke"],
    recordings=808,
    clips=808,
    groups=500,
    properties=[FitProperty("length", "median 4 s", ["data.clip_seconds"])],
    choices=[FitChoice("data.clip_seconds", 4.0, "the longest recording"), FitChoice("data.bands", [1, 2])],
    machine=FitMachine("CPU", 2, 25.0),
    folds=3,
    fold_origin="made, groups stay together",
    candidates=[
        FitCandidate("mfcc", weight=0.33, state="selected"),
        FitCandidate("auto", "two PANNs", ["model=panns"], "selected", "", 0.81, 0.79, 0.67, 812.0, 310.0, 40),
        FitCandidate("cnn", state="stopped", why="behind after one fold"),
    ],
    result=FitResult("accuracy", 0.78, 0.74, 0.82, 0.8, 0.01, False, "500 groups"),
    learning=[LearningPoint(0.5, 0.7)],
    time=[TimeSpent("trying candidates", 200.0)],
    notes=["Two recordings cannot be read."],
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = FitFolder(tmp_path)
    folder.write_summary(WHOLE)
    assert folder.read_summary() == WHOLE
    assert [candidate.name for candidate in WHOLE.selected] == ["auto", "mfcc"]


def test_a_fit_that_ended_early_has_less(tmp_path: Path) -> None:
    folder = FitFolder(tmp_path)
    folder.summary.write_text('{"preset": "fast", "metric": "accuracy", "result": null, "of a later version": 1}')
    assert folder.read_summary() == FitSummary("fast", "accuracy")


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    folder = FitFolder(tmp_path)
    folder.write_summary(FitSummary("fast", "accuracy", candidates=[FitCandidate("cnn", validation=float("nan"))]))
    assert folder.read_summary().candidates == [FitCandidate("cnn")]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("preset", 3, "fit.preset=3: expected text"),
        ("classes", "dog", "fit.classes='dog': expected a list of text"),
        ("budget_seconds", float("nan"), "fit.budget_seconds=nan: expected a finite number"),
        ("recordings", 10**301, "fit.recordings=1000"),
        ("candidates", {}, "fit.candidates={}: expected a list"),
        ("candidates", [3], "candidates[0]: expected an object, found 3"),
        ("candidates", [{"title": "x"}], "candidates[0].name must be given"),
        ("candidates", [{"name": "x", "state": "lost"}], "candidates[0].state='lost': expected selected | trained"),
        ("result", 0.7, "result: expected an object, found 0.7"),
        ("result", {"metric": "accuracy", "expected": None}, "result.expected=null: expected a number"),
        ("machine", [{"device": "CPU"}], "machine: expected an object"),
        ("learning", [{"share": float("inf"), "value": 1}], "learning[0].share=inf: expected a finite number"),
        ("notes", [1], "fit.notes=[1]: expected a list of text"),
    ],
)
def test_damage_is_named_in_a_line(tmp_path: Path, key: str, value: Any, said: str) -> None:
    folder = FitFolder(tmp_path)
    folder.summary.write_text(json.dumps(WHOLE.as_plain() | {key: value}))
    with pytest.raises(FileError) as raised:
        folder.read_summary()
    assert said in str(raised.value)
    assert str(raised.value).startswith(f"{folder.summary} is damaged: ")
    assert "\n" not in str(raised.value)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match=r"expected a folder with fit\.json"):
            FitFolder(path).read_summary()


def test_out_of_fold_predictions_are_read(tmp_path: Path) -> None:
    folder = FitFolder(tmp_path)
    folder.out_of_fold.write_text("path,label,predicted,probability a\na.wav,none,a,0.5\n")
    assert folder.read_out_of_fold()["label"].tolist() == ["none"]
    folder.out_of_fold.write_text("path,label\n")
    with pytest.raises(FileError, match="its header lacks predicted"):
        folder.read_out_of_fold()
