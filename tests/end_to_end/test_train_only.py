"""Training on all recordings: no test split, with or without a validation split."""

import json
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
from running import resume, run
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.figures.run_figures import draw_run
from audio_lightning.inference.evaluate import evaluate
from audio_lightning.training.console import print_run

FRACTIONS = [0.2, 0.0]
EARLY = "callbacks=early_stopping"


@pytest.fixture(scope="module", params=FRACTIONS)
def trained_only(
    request: pytest.FixtureRequest, tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[float, Path]:
    """A validation fraction and the run folder of a training with it. Read only."""
    folder = tmp_path_factory.mktemp("train_only") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        run(tiny_urbansound8k, folder, "data.split=train_only", f"data.validation_fraction={request.param}")
    draw_run(folder)
    return request.param, folder


def test_run_folder_has_everything_except_a_test(trained_only: tuple[float, Path]) -> None:
    fraction, folder = trained_only
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "metrics.json", "history.csv", "steps.csv", "environment.json", "curves.png", "checkpoints",
    }  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["num_clips/test"] == 0
    assert metrics["num_clips/train"] + metrics["num_clips/validation"] == 36
    assert (metrics["num_clips/validation"] > 0) == (fraction > 0)
    assert {name.partition("/")[0] for name in metrics if "/" in name} == {
        "num_clips",
        "validation" if fraction else "train",
    }
    assert metrics["split"] == "train_only"
    history = pd.read_csv(folder / "history.csv")
    assert ("validation/accuracy" in history) == (fraction > 0)


def test_last_epoch_is_the_best_without_validation(trained_only: tuple[float, Path]) -> None:
    fraction, folder = trained_only
    best, last = (torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    metrics = json.loads((folder / "metrics.json").read_text())
    history = pd.read_csv(folder / "history.csv")
    if fraction:
        assert metrics["best_epoch"] == 1 + int(history["validation/accuracy"].to_numpy().argmax())
        return
    assert metrics["best_epoch"] == 4
    assert all(torch.equal(weight, last["state_dict"][name]) for name, weight in best["state_dict"].items())
    assert metrics["train/accuracy"] == pytest.approx(history["train/accuracy"].iloc[-1])


def test_summary_at_the_end(trained_only: tuple[float, Path], capsys: pytest.CaptureFixture[str]) -> None:
    fraction, folder = trained_only
    print_run(json.loads((folder / "metrics.json").read_text()), folder)
    said = capsys.readouterr().out.splitlines()[0]
    start, epoch = ("validation: accuracy ", "best epoch") if fraction else ("train: accuracy ", "(36 clips, the last ")
    assert said.startswith(start)
    assert epoch in said


def test_it_can_be_evaluated_on_other_recordings_only(trained_only: tuple[float, Path], tmp_path: Path) -> None:
    _, folder = trained_only
    result = CliRunner().invoke(app, ["evaluate", str(folder)])
    assert result.exit_code == 2
    assert "data.split=train_only: no test clips; name other recordings with data=NAME" in result.output
    other = tiny.write_urbansound8k(tmp_path / "other", folds=1, seed=9)
    found = evaluate(folder, ["data=urbansound8k", f"data.root='{other}'", "data.split=all"])
    assert found.metrics["num_clips/test"] == 9


def test_training_is_resumed(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    run(tiny_urbansound8k, tmp_path, "data.split=train_only", "data.validation_fraction=0.0", "trainer.max_epochs=2")
    metrics = resume(tmp_path, "trainer.max_epochs=3")
    assert metrics["best_epoch"] == metrics["epochs"] == 3


def test_several_labels_keep_their_first_thresholds(tmp_path: Path) -> None:
    root = tiny.write_table(tmp_path / "data")
    metrics = run(
        root, tmp_path / "run", "data=table", "data.table=clips.csv", "data.label_separator=';'",
        "data.split=train_only", "data.validation_fraction=0.0",
    )  # fmt: skip
    assert 0 <= metrics["train/mean_average_precision"] <= 1
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert best["state_dict"]["thresholds"].tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("override", "key"),
    [("scheduler=plateau", "scheduler"), ("callbacks=early_stopping", "callbacks.early_stopping")],
)
def test_settings_that_need_a_validation_split_are_reported(
    override: str, key: str, tiny_urbansound8k: Path, tmp_path: Path
) -> None:
    overrides = ["data.split=train_only", "data.validation_fraction=0.0", override]
    with pytest.raises(
        ConfigError, match=rf"^{key}\.monitor=validation/accuracy: data\.validation_fraction=0\.0 leaves"
    ):
        run(tiny_urbansound8k, tmp_path / "refused", *overrides)
    metrics = run(tiny_urbansound8k, tmp_path / "run", *overrides, f"{key}.monitor=train/loss")
    assert metrics["best_epoch"] == metrics["epochs"]
    check_config(compose(quote_paths(["data=urbansound8k", f"data.root={tiny_urbansound8k}", overrides[0], override])))


def test_the_data_can_be_checked(tiny_urbansound8k: Path) -> None:
    arguments = ["data=urbansound8k", f"data.root={tiny_urbansound8k}", "data.split=train_only"]
    for fraction in FRACTIONS:
        found = CliRunner().invoke(app, ["check", *arguments, f"data.validation_fraction={fraction}"])
        assert "splits" not in found.output
        assert "has no clip" not in found.output


@pytest.mark.parametrize("split", ["folds", "grouped"])
def test_the_validation_part_can_train_too(split: str, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = [f"data.split={split}", "trainer.max_epochs=1"]
    apart = run(tiny_urbansound8k, tmp_path / "apart", *line)
    joined = run(tiny_urbansound8k, tmp_path / "joined", *line, "data.train_on_validation=true")
    assert joined["num_clips/train"] == apart["num_clips/train"] + apart["num_clips/validation"]
    assert joined["num_clips/validation"] == 0
    tested = [pd.read_csv(tmp_path / name / "predictions.csv")["path"].tolist() for name in ("apart", "joined")]
    assert tested[0] == tested[1]
    assert joined.get("test_fold") == apart.get("test_fold")


@pytest.mark.parametrize("split", ["grouped", "stratified"])
def test_a_validation_fraction_of_zero_keeps_no_clips(split: str, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = [f"data.split={split}", "data.validation_fraction=0.0", "data.test_fraction=0.3", "trainer.max_epochs=2"]
    metrics = run(tiny_urbansound8k, tmp_path / "run", *line)
    assert metrics["num_clips/validation"] == 0
    assert metrics["num_clips/train"] + metrics["num_clips/test"] == 36
    assert metrics["best_epoch"] == 2
    best, last = (torch.load(tmp_path / f"run/checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert all(torch.equal(weight, last["state_dict"][name]) for name, weight in best["state_dict"].items())
    with pytest.raises(ConfigError, match=r"callbacks\.early_stopping\.monitor=.*validation_fraction=0\.0 leaves"):
        check_config(compose(quote_paths(["data=urbansound8k", f"data.root={tiny_urbansound8k}", *line, EARLY])))


def test_settings_that_need_a_validation_split_are_reported_for_auto_splits(tmp_path: Path) -> None:
    """With ``data.split=auto`` only a look at the data says whether there are folds."""
    overrides = ["data=folder", "data.validation_fraction=0.0", "data.test_fraction=0.3", EARLY]
    with pytest.raises(
        ConfigError, match=r"early_stopping\.monitor=validation/accuracy: data\.validation_fraction=0\.0"
    ):
        run(tiny.write_folder(tmp_path / "data"), tmp_path / "run", *overrides)


def test_no_setting_may_need_a_validation_split_that_is_trained_on(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.train_on_validation=true leaves no clips"):
        run(tiny_urbansound8k, tmp_path / "run", "data.train_on_validation=true", "callbacks=early_stopping")
