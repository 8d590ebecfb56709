"""Exported models predict the same as their checkpoint, or are not written."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from typer.testing import CliRunner
from untrained import CNN, LSTM, write_member

import audio_lightning as al
from audio_lightning.classifier.ensemble_file import write_ensemble
from audio_lightning.cli.main import app
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.export import export as exporting
from audio_lightning.inference.export.parity import Parity, compare, require_parity
from audio_lightning.inference.onnx_model import load_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

SHARES = [f"probability {name}" for name in tiny.CLASSES]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("clips"), clips=3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_member(tmp_path_factory.mktemp("checkpoint") / "cnn.ckpt", *CNN)


@pytest.fixture(scope="module")
def exported(checkpoint: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return al.export(checkpoint, tmp_path_factory.mktemp("onnx") / "model.onnx", clips=recordings)


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def rows(classifier: Path, *arguments: object) -> pd.DataFrame:
    output = classifier.parent / "rows.csv"
    assert invoke("predict", classifier, *arguments, "--output", output)[0] == 0
    return pd.read_csv(output)


def test_predictions_equal_those_of_the_checkpoint(exported: Any, checkpoint: Path, recordings: Path) -> None:
    found, expected = (rows(path, recordings, "--hop", 0.1) for path in (exported.path, checkpoint))
    assert found.drop(columns=SHARES).equals(expected.drop(columns=SHARES))
    assert abs(found[SHARES] - expected[SHARES]).to_numpy().max() < 1e-4
    assert exported.parity.max_difference < 1e-4
    pd.testing.assert_frame_equal(
        al.predict(exported.path, recordings), al.predict(checkpoint, recordings), atol=1e-4, check_dtype=False
    )


@pytest.mark.parametrize("options", [["--format", "json"], ["--format", "json", "--top-k", "2"], ["--per-recording"]])
def test_other_formats_equal_the_checkpoint(
    options: list[str], exported: Any, checkpoint: Path, recordings: Path
) -> None:
    found, expected = (invoke("predict", path, recordings, *options)[1] for path in (exported.path, checkpoint))
    if "json" in options:
        for one, other in zip(json.loads(found), json.loads(expected), strict=True):
            assert one.pop("probabilities") == pytest.approx(other.pop("probabilities"), abs=1e-4)
            assert one == other
    else:
        assert len(found.splitlines()) == len(expected.splitlines()) == 10


def test_metadata_suffice_for_prediction(exported: Any) -> None:
    model = onnx.load(exported.path)
    known = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert known["classes"] == list(tiny.CLASSES)
    assert (known["sample_rate"], known["num_samples"], known["padding"]) == (8000, 2000, "zero")
    assert (known["multilabel"], known["thresholds"], known["channel"]) == (False, None, "mean")
    assert known["audio_lightning_version"] == al.__version__
    assert known["measured"]["parity"]["clips"] == 9
    assert [value.name for value in model.graph.input] == ["waveform"]
    assert [value.name for value in model.graph.output] == ["probabilities"]
    onnx.checker.check_model(model)


def test_exported_files_contain_no_local_paths(exported: Any) -> None:
    content = exported.path.read_bytes()
    for text in (os.fspath(Path(__file__).parents[2]), "site-packages", ".py", os.fspath(Path.home())):
        assert text.encode() not in content


@pytest.mark.parametrize("batch", [1, 3, 17])
def test_batches_may_have_any_size(batch: int, exported: Any, checkpoint: Path) -> None:
    clips = 0.1 * np.random.RandomState(0).randn(batch, 2000).astype(np.float32)
    expected = al.load(checkpoint).probabilities(torch.from_numpy(clips)).numpy()
    np.testing.assert_allclose(load_onnx(exported.path).probabilities(clips), expected, atol=1e-4)


def test_any_clip_length_if_the_network_supports_it(recordings: Path, tmp_path: Path) -> None:
    """Of a network with a pooled embedding; a transformer has as many positions as its clips have frames."""
    pooled = ["model=cnn_deep", "model.channels=[4,4]", "model.strides=[2,2]", "model.pooled=[1,1]", "feature=logmel"]
    path = write_member(tmp_path / "deep.ckpt", *pooled)
    found = al.export(path, tmp_path / "deep.onnx", clips=recordings)
    assert found.any_length
    clips = 0.1 * np.random.RandomState(0).randn(2, 3100).astype(np.float32)
    expected = al.load(path).probabilities(torch.from_numpy(clips)).numpy()
    np.testing.assert_allclose(load_onnx(found.path).probabilities(clips), expected, atol=1e-4)


def test_calibration_is_in_the_graph(checkpoint: Path, recordings: Path, tmp_path: Path) -> None:
    from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint

    contents = read_checkpoint(checkpoint)
    contents["state_dict"]["calibration.scale"] = torch.tensor([0.2, 3.0, 1.0])
    contents["state_dict"]["calibration.bias"] = torch.tensor([1.0, 0.0, -1.0])
    write_checkpoint(tmp_path / "calibrated.ckpt", contents)
    found = al.export(tmp_path / "calibrated.ckpt", tmp_path / "m.onnx", clips=recordings)
    calibrated, plain = rows(found.path, recordings), rows(checkpoint, recordings)
    assert abs(calibrated[SHARES] - plain[SHARES]).to_numpy().max() > 0.1


def test_an_ensemble_of_several_labels_is_one_graph(recordings: Path, tmp_path: Path) -> None:
    several: dict[str, Any] = {"multilabel": True, "thresholds": (0.3, 0.5, 0.7)}
    members = [
        write_member(tmp_path / "cnn.ckpt", *CNN, **several),
        write_member(tmp_path / "other.ckpt", *CNN, "feature.n_mels=12", **several),
    ]
    write_ensemble(tmp_path / "both.ckpt", members, [3, 1])
    found = al.export(tmp_path / "both.ckpt", tmp_path / "both.onnx", clips=recordings)
    assert found.metadata.thresholds == pytest.approx((0.3, 0.5, 0.7))
    one, other = (rows(path, recordings) for path in (found.path, tmp_path / "both.ckpt"))
    assert one["predicted"].equals(other["predicted"])
    assert abs(one[SHARES] - other[SHARES]).to_numpy().max() < 1e-4


def test_a_model_that_differs_is_not_written(
    checkpoint: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(classifier: Callable[..., Any], exported: Callable[..., Any], clips: Any) -> Parity:
        return compare(classifier, lambda some: exported(some)[:, ::-1], clips)

    monkeypatch.setattr(exporting, "compare", wrong)
    (tmp_path / "model.onnx").write_text("the old one")
    code, out, err = invoke("export", checkpoint, tmp_path / "model.onnx", "--clips", recordings)
    assert code == 2, out
    assert "probabilities differ from the classifier by up to" in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "the old one"


@pytest.mark.parametrize("difference", [float("nan"), float("inf"), 2e-4])
def test_nan_is_a_failed_comparison(difference: float) -> None:
    with pytest.raises(ConfigError, match="nothing was written"):
        require_parity(Parity(1, difference, 1, 1), "model.onnx")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model.onnx"], r"with --clips DIR"),
        (["model.onnx", "--clips", "missing"], r"--clips missing: no such folder"),
        (["model.onnx", "--clips", "silent"], r"no recording|cannot be read|found"),
        (["model.onnx", "--format", "tflite"], r"--format tflite: expected one of onnx, torch-export"),
        (["model.bin"], r"model.bin: --format onnx needs the suffix .onnx"),
        (["model.onnx", "--format", "torch-export"], r"needs the suffix .pt2"),
        (["model.pt2", "--format", "torch-export", "--int8"], r"--int8: only for --format onnx"),
        (["model.pt2", "--format", "torch-export", "--opset", "18"], r"--opset: only for --format onnx"),
        (["model.onnx", "--opset", "7"], r"--opset 7: expected 18 or more"),
        (["model.onnx", "--opset", "900", "--clips", "clips"], r"cannot be exported|--opset 900"),
    ],
)
def test_invalid_exports_are_reported_in_one_line(
    arguments: list[str], said: str, checkpoint: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "silent").mkdir()
    (tmp_path / "clips").symlink_to(recordings)
    code, out, err = invoke("export", checkpoint, *arguments)
    assert code == 2, out
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(said, err), err
    assert not (tmp_path / "model.onnx").exists()


def test_missing_packages_name_the_installation(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ConfigError, match=r"export: onnxscript is not installed; pip install 'audio-lightning\[export\]'"
    ):
        al.export(checkpoint, tmp_path / "model.onnx")


@pytest.mark.parametrize(("name", "package"), [("executorch", "executorch"), ("litert", "litert_torch")])
def test_formats_for_phones_name_their_environment(
    name: str, package: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = exporting.find_spec
    monkeypatch.setattr(exporting, "find_spec", lambda module: None if module == package else found(module))
    code, out, err = invoke("export", checkpoint, tmp_path / "model", "--format", name)
    assert code == 2, out
    assert err == (
        f"error: --format {name}: {package} is not installed; export in an environment of its own, see "
        "docs/how-to/export.md\n"
    )


@pytest.mark.parametrize("name", ["executorch", "litert"])
def test_formats_for_phones_have_their_suffix(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda module: module)
    with pytest.raises(ConfigError, match=rf"--format {name} needs the suffix \{exporting.SUFFIXES[name]}; rename it"):
        al.export(tmp_path / "none.ckpt", tmp_path / "model.onnx", format=name)


def test_torch_export_loads_without_this_package(checkpoint: Path, recordings: Path, tmp_path: Path) -> None:
    found = al.export(checkpoint, tmp_path / "model.pt2", format="torch-export", clips=recordings)
    assert found.parity.max_difference < 1e-4
    clips = 0.1 * torch.randn(3, 2000, generator=torch.Generator().manual_seed(0))
    torch.save(clips, tmp_path / "clips.pt")
    code = (
        "import sys, json, torch; extra = {'audio_lightning.json': ''}; "
        "program = torch.export.load('model.pt2', extra_files=extra); "
        "print(program.module()(torch.load('clips.pt')).tolist()); print(extra['audio_lightning.json']); "
        "assert not [name for name in sys.modules if name.startswith('audio_lightning')]"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    probabilities, metadata = map(json.loads, result.stdout.splitlines())
    expected = al.load(checkpoint).probabilities(clips)
    torch.testing.assert_close(torch.tensor(probabilities), expected, atol=1e-4, rtol=0)
    assert json.loads(metadata["classes"]) == list(tiny.CLASSES)


def test_command_prints_the_comparison(trained: Path, tmp_path: Path) -> None:
    code, out, err = invoke("export", trained, tmp_path / "model.onnx")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("largest difference of a probability: ")
    assert lines[0].endswith(" on 9 clips")  # the test part of the run
    assert lines[1].startswith("one clip: torch ")
    assert "onnxruntime" in lines[1]
    assert lines[3].startswith("written: ")


def test_int8_models_contain_their_comparison(trained: Path, tmp_path: Path) -> None:
    code, out, err = invoke("export", trained, tmp_path / "int8.onnx", "--int8")
    assert code == 0, err
    assert "test/accuracy: float " in out
    model = onnx.load(tmp_path / "int8.onnx")
    (measured,) = (json.loads(entry.value) for entry in model.metadata_props if entry.key == "measured")
    metrics = json.loads((trained / "metrics.json").read_text())
    assert measured["int8"]["float"] == pytest.approx(metrics["test/accuracy"])
    assert 0 <= measured["int8"]["int8"] <= 1
    assert measured["int8"]["metric"] == "test/accuracy"
    # Convolutions of the network take what was an integer; that of the front end does not.
    kinds = {name: node.op_type for node in model.graph.node for name in node.output}
    inputs = [kinds.get(node.input[0]) for node in model.graph.node if node.op_type == "Conv"]
    assert inputs.count("DequantizeLinear") == 3
    assert len(inputs) == 4


def test_int8_accuracy_needs_labels(checkpoint: Path, recordings: Path, tmp_path: Path) -> None:
    found = al.export(checkpoint, tmp_path / "int8.onnx", int8=True, clips=recordings)
    assert found.int8 is not None
    assert found.int8.keys() == {"parity", "agreement"}
    assert found.int8["parity"]["max_difference"] > 0


def test_a_recurrent_network(recordings: Path, tmp_path: Path) -> None:
    path = write_member(tmp_path / "lstm.ckpt", *LSTM)
    found = al.export(path, tmp_path / "lstm.onnx", clips=recordings)
    assert found.parity.max_difference < 1e-4


def test_prediction_starts_without_torch(exported: Any, recordings: Path) -> None:
    code = (
        "import sys; from audio_lightning.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'lightning', 'pandas', 'onnx'} & sys.modules.keys()"
    )
    for output in (["--format", "json"], ["--format", "table"], []):
        result = subprocess.run(
            [sys.executable, "-c", code, "predict", exported.path, recordings, *output],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
