"""Refit of the best setup of a sweep."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from sweep_folders import make_sweep, trial
from sweeping import sweep
from typer.testing import CliRunner

import audio_lightning as al
from audio_lightning.cli.main import app
from audio_lightning.compare.leaderboard import make_boards
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.core.errors import DataError
from audio_lightning.core.files import read_json
from audio_lightning.run_folder import RunFolder
from audio_lightning.sweeps.refit import Refit, write_card


def refit(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["refit", *arguments])
    return result.exit_code, result.output


def test_a_single_split_keeps_its_test_clips(swept: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(swept, tmp_path / "sweep")
    code, output = refit(str(folder))
    assert code == 0, output
    metrics = read_json(folder / "refit-tested/metrics.json")
    trial = next(SweepFolder(folder).folders())[0].read_metrics()
    assert metrics["num_clips/train"] == trial["num_clips/train"] + trial["num_clips/validation"]
    assert metrics["num_clips/validation"] == 0
    assert metrics["num_clips/test"] == trial["num_clips/test"]
    assert metrics["epochs"] == 2
    card = (folder / "refit-tested/card.md").read_text()
    assert f"the {metrics['num_clips/test']} test clips: accuracy {metrics['test/accuracy']:.3f}" in card
    assert "Accuracy" in card
    assert refit(str(folder))[0] == 0  # nothing is trained twice
    assert read_json(folder / "refit-tested/metrics.json") == metrics
    assert al.Sweep(folder).refit().metrics == metrics, "a notebook gets the same"
    assert (folder / "refit-tested/train.log").read_text().count("finished in") == 1


def test_everything_can_be_trained_on(swept: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(swept, tmp_path / "sweep")
    code, output = refit(str(folder), "--everything")
    assert code == 0, output
    metrics = read_json(folder / "refit/metrics.json")
    assert metrics["num_clips/train"] == 36
    assert metrics["num_clips/test"] == 0
    assert (folder / "refit/checkpoints/best.ckpt").is_file()
    assert "(all clips)" in (folder / "refit/card.md").read_text()


def test_a_cross_validated_setup_is_trained_on_all_folds(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = ["sweep=folds", "trainer.max_epochs=1", "scheduler=plateau", "callbacks=early_stopping"]
    assert sweep(tiny_urbansound8k, tmp_path / "folds", *line) == 0
    code, output = refit(str(tmp_path / "folds"))
    assert code == 0, output
    assert read_json(tmp_path / "folds/refit/metrics.json")["num_clips/train"] == 36
    assert "the mean of 4 folds, each tested in turn" in (tmp_path / "folds/refit/card.md").read_text()


def test_a_teacher_changes_the_targets_of_a_refit(swept: Path, trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(swept, tmp_path / "sweep")
    code, output = refit(str(folder), "--everything", "--teacher", str(trained))
    assert code == 0, output
    assert f"teacher: CNN of {trained}, 0.9 of every target" in output
    config = RunFolder(folder / "refit-distilled").read_config()
    assert config.distill == {"teacher": str(trained), "weight": 0.9}
    card = (folder / "refit-distilled/card.md").read_text()
    assert f"The probabilities of {trained.name} are 0.9 of every target (distillation)." in card
    assert "trained without this teacher, so it is no estimate for this classifier" in card
    assert "the classifier run are 0.9 of every target" in (folder / "refit-distilled/MODEL_CARD.md").read_text()
    code, output = refit(str(folder), "--everything", "--teacher", str(folder / "000"))
    assert code == 2
    assert "holds a refit of another setup, but the best is now" in output
    leaks = al.Sweep(folder)
    with pytest.raises(DataError, match=r"was trained on .* test clips of this run"):
        leaks.refit(everything=False, teacher=folder / "refit-distilled")


def card_of(path: Path, trials: list[dict[str, Any]], *, axes: Sequence[str] = (), **metrics: float) -> str:
    """Card of a refit without a training."""
    source = make_sweep(path, trials, axes=axes)
    (board,) = make_boards(read_results([source]), "validation/accuracy", axes, [source])
    config = OmegaConf.create({"data": {"clip_seconds": 1.0, "sample_rate": 8000}})
    found = {"num_clips/train": 96, "num_clips/test": 10, "epochs": 4, "seed": 0, "parameters": 1000, **metrics}
    return write_card(Refit(board.rows[0], config, RunFolder(path / "refit-tested"), False), board, found).read_text()


def test_the_card_has_the_limits_of_its_metrics(tmp_path: Path) -> None:
    seeds = [trial(0.8, 0.1 + seed / 10, seed=seed, metrics={"leakage": "present"}) for seed in range(3)]
    card = card_of(tmp_path / "seeds", seeds)
    assert "Accuracy 0.200 (95 % interval 0.000 to 0.448), the mean of 3 seeds on the same clips." in card
    assert "Interval: 95 % t interval over 3 seeds, for the variance of training alone" in card
    assert "only measure the variance of training" in card
    assert "(leakage present): all rows.\n" in card
    folds = [trial(0.8, 0.1 + fold / 10, fold=fold) for fold in range(3)]
    assert "over 3 folds, with the variance of Nadeau and Bengio" in card_of(tmp_path / "folds", folds)
    equal = card_of(tmp_path / "equal", [trial(0.8, 0.25, seed=seed) for seed in range(3)])
    assert "Accuracy 0.250, the mean of 3 seeds" in equal
    assert "Interval: none, because all seeds of a row are equal." in equal


def test_the_card_names_whole_recordings_beside_windows(tmp_path: Path) -> None:
    trials = [trial(0.8, 0.5, seed=seed, metrics={"test/recording_accuracy": 0.6 + seed / 10}) for seed in range(2)]
    measured = {"test/accuracy": 0.55, "test/recording_accuracy": 0.75}
    card = card_of(tmp_path / "alike", trials, **measured)
    assert "Accuracy 0.500, recording accuracy 0.650, the mean of 2 seeds" in card
    assert "on the 10 test clips: accuracy 0.550, recording accuracy 0.750." in card
    for one in trials:
        one["metrics"]["validation/recording_accuracy"] = 0.8
    worse = {"test/recording_accuracy": 0.4, "validation/recording_accuracy": 0.5}
    trials += [
        trial(0.9, 0.9, seed=seed, config={"data": {"clip_seconds": 2.0, "hop_seconds": 0.5}}, metrics=worse)
        for seed in range(2)
    ]
    windows = {"data": {"clip_seconds": 1.0, "hop_seconds": 0.5}}
    other = card_of(tmp_path / "other", [{"config": windows, **one} for one in trials], **measured)
    assert "Recording accuracy 0.650, the mean of 2 seeds" in other
    assert "ordered by validation/recording_accuracy and tested by test/recording_accuracy" in other


@pytest.mark.parametrize("missing", ["nowhere", "."])
def test_a_folder_that_is_no_sweep_is_refused(missing: str, tmp_path: Path) -> None:
    code, output = refit(str(tmp_path / missing))
    assert code == 2
    assert "sweep.json" in output
