"""The winner of a sweep, trained again."""

import shutil
from pathlib import Path

import pytest
from sweeping import sweep
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.files import read_json


def refit(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["refit", *arguments])
    return result.exit_code, result.output


def test_one_division_keeps_its_test_part(swept: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(swept, tmp_path / "sweep")
    code, output = refit(str(folder))
    assert code == 0, output
    metrics = read_json(folder / "refit-tested/metrics.json")
    trial = next(SweepFolder(folder).folders())[0].read_metrics()
    assert metrics["clips/train"] == trial["clips/train"] + trial["clips/validation"]
    assert metrics["clips/validation"] == 0
    assert metrics["clips/test"] == trial["clips/test"]
    assert metrics["epochs"] == 2
    card = (folder / "refit-tested/card.md").read_text()
    assert f"the {metrics['clips/test']} clips of the test part: accuracy {metrics['test/accuracy']:.3f}" in card
    assert "Accuracy" in card
    assert refit(str(folder))[0] == 0  # nothing is trained twice
    assert read_json(folder / "refit-tested/metrics.json") == metrics


def test_everything_can_be_trained_on(swept: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(swept, tmp_path / "sweep")
    code, output = refit(str(folder), "--everything")
    assert code == 0, output
    metrics = read_json(folder / "refit/metrics.json")
    assert metrics["clips/train"] == 36
    assert metrics["clips/test"] == 0
    assert (folder / "refit/checkpoints/best.ckpt").is_file()
    assert "all there are" in (folder / "refit/card.md").read_text()


def test_a_cross_validated_setup_is_trained_on_all_folds(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = ["sweep=folds", "trainer.max_epochs=1", "scheduler=plateau", "callbacks=early_stopping"]
    assert sweep(tiny_urbansound8k, tmp_path / "folds", *line) == 0
    code, output = refit(str(tmp_path / "folds"))
    assert code == 0, output
    assert read_json(tmp_path / "folds/refit/metrics.json")["clips/train"] == 36
    assert "the mean of 4 folds, each tested in turn" in (tmp_path / "folds/refit/card.md").read_text()


@pytest.mark.parametrize("missing", ["nowhere", "."])
def test_a_folder_that_is_no_sweep_is_refused(missing: str, tmp_path: Path) -> None:
    code, output = refit(str(tmp_path / missing))
    assert code == 2
    assert "sweep.json" in output
