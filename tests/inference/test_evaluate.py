"""The test again, from a checkpoint, on the same or on other recordings."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.errors import ConfigError, DataError
from audio_lightning.inference.evaluate import evaluate

TEST = ("test/accuracy", "test/balanced_accuracy", "test/f1_macro", "test/loss")


def test_equal_to_the_runs_own(trained: Path, tmp_path: Path) -> None:
    expected = json.loads((trained / "metrics.json").read_text())
    found = evaluate(trained, output=tmp_path / "again")
    for name in TEST:
        assert found.metrics[name] == pytest.approx(expected[name], abs=1e-6)
    assert json.loads((tmp_path / "again/metrics.json").read_text()) == found.metrics
    assert len(pd.read_csv(tmp_path / "again/predictions.csv")) == expected["clips/test"]


def test_the_data_may_have_moved(trained: Path, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_urbansound8k, tmp_path / "moved")
    expected = json.loads((trained / "metrics.json").read_text())
    found = evaluate(trained / "checkpoints/best.ckpt", [f"data.root='{tmp_path}/moved'"])
    assert found.metrics["test/accuracy"] == expected["test/accuracy"]


def test_on_other_recordings_all_of_them(trained: Path, tmp_path: Path) -> None:
    other = tiny.write_urbansound8k(tmp_path / "other", folds=1, clips=5, seed=9)
    result = CliRunner().invoke(
        app, ["evaluate", str(trained), "data=urbansound8k", f"data.root={other}", "data.split=all", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["clips/test"] == 15


def test_classes_are_matched_by_name(trained: Path, tmp_path: Path) -> None:
    """Other numbers, other order, other spelling, a class too many and one too few; the answers stay the same."""
    other = tiny.write_urbansound8k(tmp_path / "other", folds=1, clips=5, seed=9)
    overrides = ["data=urbansound8k", f"data.root='{other}'", "data.split=all"]
    expected = evaluate(trained, overrides, output=tmp_path / "before")
    table = other / "metadata/UrbanSound8K.csv"
    text = table.read_text().replace("0,high_tone", "5,High-Tone").replace("1,low_tone", "0,low tone")
    table.write_text(text)
    renamed = evaluate(trained, overrides, output=tmp_path / "after")
    assert renamed.metrics == expected.metrics
    assert renamed.unknown_classes == []

    table.write_text(text.replace("2,noise", "2,thunder"))
    found = evaluate(trained, overrides)
    assert found.unknown_classes == ["thunder"]
    assert found.metrics["clips/test"] == 10


def test_no_class_in_common(trained: Path, tmp_path: Path) -> None:
    other = tiny.write_urbansound8k(tmp_path / "other", folds=1)
    table = other / "metadata/UrbanSound8K.csv"
    text = table.read_text()
    for name in tiny.CLASSES:
        text = text.replace(name, f"x{name}")
    table.write_text(text)
    with pytest.raises(DataError, match="expected at least one class in common"):
        evaluate(trained, ["data=urbansound8k", f"data.root='{other}'", "data.split=all"])


def test_a_typo_is_said(trained: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean data\.root\?"):
        evaluate(trained, ["data.rot=x"])
