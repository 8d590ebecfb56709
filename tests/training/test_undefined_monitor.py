"""Undefined metrics (NaN) choose nothing, and all written files stay readable."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from json_text import strict
from running import run
from torch.optim.lr_scheduler import ReduceLROnPlateau

from audio_lightning.classifier.schedulers import end_epoch
from audio_lightning.training.callbacks import BestCheckpoint, EarlyStopping
from audio_lightning.training.history import epoch_lines

SETTINGS = [
    "data=table",
    "data.table=clips.csv",
    "data.label_separator=;",
    "data.split_column=split",
    *tiny.TRAIN_OVERRIDES,
]


def write_unlabelled_validation(root: Path) -> Path:
    """A table with several labels per clip; no validation clip has any, and one class is in the training alone."""
    tiny.write_table(root, clips=8)
    with (root / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for place, row in enumerate(rows):
        row["split"] = "train" if place < 12 else "validation" if place < 18 else "test"
        if row["split"] == "validation" or (row["split"] == "test" and row["label"] == "noise"):
            row["label"] = ""
    with (root / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "split"])
        writer.writeheader()
        writer.writerows(rows)
    return root


def test_the_loss_chooses_where_no_validation_clip_has_a_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_unlabelled_validation(tmp_path / "data")
    early = ["callbacks=early_stopping", "callbacks.early_stopping.patience=3", "scheduler=plateau"]
    metrics = run(root, tmp_path / "run", "trainer.max_epochs=3", *early, settings=SETTINGS)
    said = capsys.readouterr().out
    assert f"validation has no clip of {', of '.join(tiny.CLASSES)}" in said
    assert "test has no clip of noise" in said
    assert (
        "validation/mean_average_precision is undefined because no validation clip has a label; validation/loss" in said
    )
    written: Any = strict((tmp_path / "run/metrics.json").read_text())
    assert written == metrics
    assert written["validation/mean_average_precision"] is None
    with (tmp_path / "run/history.csv").open(newline="") as file:
        losses = [float(row["validation/loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 3, "an undefined metric stops nothing early"
    assert written["chosen_by"] == "validation/loss"
    assert written["best_epoch"] == losses.index(min(losses)) + 1


def test_chosen_by_is_written(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    assert run(tiny_urbansound8k, tmp_path / "run")["chosen_by"] == "validation/accuracy"


def checked(scores: list[float]) -> tuple[list[int], BestCheckpoint]:
    """The epochs that are kept one after the other, where the metric takes these values."""
    best, kept = BestCheckpoint("validation/f1_macro"), []
    for epoch, score in enumerate(map(torch.tensor, scores)):
        if best.best_model_score is None or best.check_monitor_top_k(_OneProcess(), score):  # type: ignore[arg-type]
            kept.append(epoch)
            best.best_model_score = torch.tensor(-math.inf) if score.isnan() else score  # as Lightning stores it
            best.best_k_models = {"best.ckpt": best.best_model_score}
            best.kth_best_model_path = "best.ckpt"
    return kept, best


class _OneProcess:
    current_epoch, max_epochs = 0, 10
    strategy = property(lambda self: self)

    def reduce_boolean_decision(self, decision: bool) -> bool:
        return decision


@pytest.mark.parametrize(
    ("scores", "kept", "chosen_by"),
    [
        ([math.nan, 0.0, math.nan, 0.5, math.nan, 0.4], [0, 1, 3], "validation/f1_macro"),
        ([math.nan, math.nan, math.nan], [0, 1, 2], "last epoch"),
        ([0.5, math.nan, 0.6], [0, 2], "validation/f1_macro"),
    ],
)
def test_an_epoch_without_a_number_is_never_the_best(scores: list[float], kept: list[int], chosen_by: str) -> None:
    found, best = checked(scores)
    assert found == kept
    assert best.chosen_by == chosen_by


def test_early_stopping_passes_over_an_epoch_without_a_number() -> None:
    stopping = EarlyStopping("validation/f1_macro", patience=2, min_delta=0.0)
    for score in (math.nan, math.nan, math.nan, 0.5, math.nan, 0.4, math.nan):
        assert stopping._evaluate_stopping_criteria(torch.tensor(score))[0] is False
    assert stopping.wait_count == 1
    assert stopping._evaluate_stopping_criteria(torch.tensor(0.3))[0] is True


def test_a_plateau_passes_over_an_epoch_without_a_number() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=0, threshold=0.0)
    for value in (0.5, math.nan, math.nan):
        end_epoch(plateau, "validation/f1_macro", {"validation/f1_macro": torch.tensor(value)})
    assert optimizer.param_groups[0]["lr"] == 1.0
    end_epoch(plateau, "validation/f1_macro", {"validation/f1_macro": torch.tensor(0.4)})
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_the_line_of_an_epoch_leaves_out_what_is_no_number() -> None:
    row = {"seconds": "1", "train/loss": "0.25", "validation/loss": "0.5", "validation/accuracy": "nan"}
    assert epoch_lines(row, "1/2")[0] == "epoch 1/2  train/loss 0.250  validation/loss 0.500  1.0 s"
