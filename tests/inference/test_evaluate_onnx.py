"""Evaluation of exported ONNX files: the metrics of their checkpoint on the same recordings."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from typer.testing import CliRunner
from untrained import CNN, write_member

import audio_lightning as al
from audio_lightning.cli.main import app

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

OF_CHECKPOINTS = {"num_train_overlap"}
"""Metrics that an ONNX file cannot have."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("clips"), clips=6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_member(tmp_path_factory.mktemp("checkpoint") / "cnn.ckpt", *CNN)


@pytest.fixture(scope="module")
def exported(checkpoint: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return al.export(checkpoint, tmp_path_factory.mktemp("onnx") / "model.onnx", clips=recordings).path


def require_equal(found: Any, expected: Any) -> None:
    assert found.metrics.keys() == expected.metrics.keys() - OF_CHECKPOINTS
    for name, value in found.metrics.items():
        other = expected.metrics[name]
        assert value == (pytest.approx(other, abs=1e-4) if isinstance(other, float) else other), name
    assert found.unknown_classes == expected.unknown_classes


@pytest.mark.parametrize("windows", [[], ["data.hop_seconds=0.1"]])
def test_metrics_equal_those_of_the_checkpoint(
    windows: list[str], exported: Path, checkpoint: Path, recordings: Path
) -> None:
    words = ["data=folder", f"data.root={recordings}", "data.batch_size=7", *windows]
    found = al.evaluate(exported, *words)
    require_equal(found, al.evaluate(checkpoint, *words))
    assert ("test/recording_accuracy" in found.metrics) == bool(windows)
    assert found.metrics["leakage"] == "cannot be excluded"


def test_several_labels(recordings: Path, tmp_path: Path) -> None:
    checkpoint = write_member(tmp_path / "several.ckpt", *CNN, multilabel=True, thresholds=(0.45, 0.5, 0.52))
    exported = al.export(checkpoint, tmp_path / "several.onnx", clips=recordings).path
    data = tiny.write_hot_table(tmp_path / "data")
    words = ["data=table", f"data.root={data}", f"data.table={data}/clips.csv", "data.split=all"]
    words += [f"data.label_columns=[{','.join(tiny.CLASSES)}]", "data.hop_seconds=0.1"]
    require_equal(al.evaluate(exported, *words), al.evaluate(checkpoint, *words))


def test_the_command_prints_the_metrics(exported: Path, recordings: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(exported), "data=folder", f"data.root={recordings}"])
    assert result.exit_code == 0, result.output
    assert "accuracy" in result.stdout
    assert "as an ONNX file does not record its training data" in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["evaluate", "MODEL"], "MODEL: an ONNX file does not record its training data; name labelled recordings with"),
        (["evaluate", "MODEL", "data=folder", "--output", "out"], "--output out: not supported for an ONNX file"),
        (["evaluate", "none.onnx", "data=folder"], "none.onnx: No such file"),
        (
            ["embed", "MODEL", "clip.wav"],
            "MODEL: an exported model, which holds probabilities only; name the checkpoint",
        ),
        (["explain", "MODEL", "clip.wav"], "MODEL: an exported model, which holds probabilities only"),
    ],
)
def test_what_an_exported_model_cannot_do_is_one_line(
    command: list[str], message: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [word.replace("MODEL", str(exported)) for word in command])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: " + message.replace("MODEL", str(exported)))
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
