"""Untrusted ONNX files: invalid ones are reported in one line, and no code is executed."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from onnx_files import graph, message, model, node, reaching, tensor, value, whole
from typer.testing import CliRunner

import audio_lightning as al
from audio_lightning.cli.main import app
from audio_lightning.core.errors import CheckpointError, ConfigError, FileError, UserError
from audio_lightning.core.task import AudioTask
from audio_lightning.inference.onnx_metadata import FORMAT_KEY, OnnxMetadata
from audio_lightning.inference.onnx_model import OnnxModel, load_onnx

pytest.importorskip("onnxruntime")

CLASSES, SAMPLES, RATE = ("low", "high"), 400, 8000

TASK = AudioTask(CLASSES, RATE, SAMPLES)
WEIGHTS = np.random.RandomState(0).randn(SAMPLES, 2)


def entries(metadata: OnnxMetadata | None = None, **changes: str) -> dict[str, str]:
    return {**(metadata or OnnxMetadata(TASK, version="0")).to_properties(), **changes}


def classifier(samples: int = SAMPLES, classes: int = 2, output: str = "probabilities") -> bytes:
    """The softmax of two projections of a clip."""
    return graph(
        [node("MatMul", "waveform weights", "logits"), node("Softmax", "logits", output, whole("axis", 1))],
        [value("waveform", ["batch", samples])],
        [value(output, ["batch", classes])],
        tensor("weights", np.resize(WEIGHTS, (samples, classes))),
    )


def opened(properties: dict[str, str], content: bytes | None = None) -> OnnxModel:
    return OnnxModel(model(content or classifier(), **properties), "net.onnx", threads=1)


def test_metadata_round_trip() -> None:
    task = AudioTask(("ö", "b, c"), 16_000, 99, "reflect", multilabel=True)
    metadata = OnnxMetadata(task, "0.2", 0.5, 2, (0.25, 1.0), ("note",), {"parity": {"clips": 3}})
    assert OnnxMetadata.from_properties(metadata.to_properties(), "x") == metadata
    assert json.loads(metadata.to_properties()["classes"]) == ["ö", "b, c"]


def test_probabilities_and_labels() -> None:
    found = opened(entries())
    clips = np.random.RandomState(1).randn(5, SAMPLES).astype(np.float32)
    logits = clips @ WEIGHTS
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.probabilities(clips), expected, atol=1e-5)
    assert found.decide(expected.astype(np.float32)) == [[CLASSES[index]] for index in expected.argmax(1)]
    assert found.any_length is False
    assert found.config["data"] == {"hop_seconds": None, "channel": "mean"}


def test_several_labels_have_thresholds() -> None:
    several = OnnxMetadata(AudioTask(CLASSES, RATE, SAMPLES, multilabel=True), "0", thresholds=(0.2, 0.8))
    found = opened(several.to_properties())
    shares = np.array([[0.2, 0.7], [0.1, 0.9], [0.3, 0.8], [0.1, 0.1]], np.float32)
    assert found.decide(shares) == [["low"], ["high"], ["low", "high"], []]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": '["a"]'}, r"1 classes in the metadata, but 2 in the graph"),
        ({"classes": '["a", "b", "c"]'}, r"3 classes in the metadata"),
        ({"classes": '["a", "a"]'}, r"classes is .*expected 1 to 20,000 different names"),
        ({"classes": "[1, 2]"}, r"classes is \[1, 2\], expected a list of texts"),
        ({"classes": '"ab"'}, r"expected a list of texts"),
        ({"classes": "[]"}, r"1 to 20,000"),
        ({"classes": "[" * 100_000}, r"classes is .*expected JSON"),
        ({"classes": "low, high"}, r"classes is low, high, expected JSON"),
        ({"sample_rate": "1e9"}, r"sample_rate is 1e9, expected a whole number from 1 to 1,000,000"),
        ({"sample_rate": "true"}, r"sample_rate is true"),
        ({"sample_rate": "0"}, r"sample_rate is 0"),
        ({"num_samples": "1000000000000"}, r"num_samples is 1000000000000, expected a whole number from 1 to 16,777"),
        ({"num_samples": "9" * 5000}, r"num_samples is 9+\.\.\., expected"),
        ({"num_samples": "800"}, r"800 samples in the metadata, but 400 in the graph"),
        ({"num_samples": "NaN"}, r"num_samples is NaN"),
        ({"padding": '"wrap"'}, r"padding is .*expected one of zero, repeat, reflect"),
        ({"padding": "[]"}, r"padding is \[\]"),
        ({"multilabel": "1"}, r"multilabel is 1, expected true or false"),
        ({"multilabel": "true"}, r"thresholds is null, expected one for each class"),
        ({"thresholds": "[0.5, 0.5]"}, r"expected one for each class"),
        ({"thresholds": '{"a": 1}'}, r"thresholds is .*expected numbers from 0 to 1, or null"),
        ({"hop_seconds": "-1"}, r"hop_seconds is -1, expected a positive number or null"),
        ({"hop_seconds": "Infinity"}, r"hop_seconds is Infinity"),
        ({"channel": '"all"'}, r"data.channel=all: no such channel"),
        ({"channel": "[1]"}, r"data.channel="),
        ({"licence": "3"}, r"licence is 3, expected a list of texts"),
        ({"measured": "[]"}, r"measured"),
        ({FORMAT_KEY: "2"}, r"metadata of format 2, expected 1"),
        ({FORMAT_KEY: "{}"}, r"metadata of format \{\}"),
    ],
)  # fmt: skip
def test_invalid_metadata_are_reported_in_one_line(changes: dict[str, str], said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as raised:
        opened(entries(**changes))
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("net.onnx: ")
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", list(entries()))
def test_missing_metadata_are_reported_in_one_line(name: str) -> None:
    known = entries()
    del known[name]
    with pytest.raises(CheckpointError, match=r"^net\.onnx: [^\n]+$"):
        opened(known)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (classifier(output="scores"), "expected input waveform"),
        (classifier(classes=3), "but 3 in the graph"),
        (classifier(samples=401), "but 401 in the graph"),
        (graph([node("Abs", "wave", "probabilities")], [value("wave", ["n", 2])], ["probabilities"]), "expected input"),
        (
            graph([node("Abs", "waveform", "probabilities")], [value("waveform", [1, 2])], ["probabilities"]),
            "expected input",
        ),
    ],
)  # fmt: skip
def test_mismatched_graphs_are_reported_in_one_line(content: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        opened(entries(), content)
    assert "\n" not in str(raised.value)


def rows_of_samples(*nodes: bytes) -> bytes:
    """A graph with a row for each sample that is not zero, and not for each clip."""
    first = [node("NonZero", "waveform", "places"), node("MatMul", "waveform weights", "all")]
    return graph(
        [*first, *nodes], [value("waveform", ["batch", SAMPLES])], [value("probabilities", ["batch", 2])],
        tensor("weights", WEIGHTS), tensor("second", [1]), tensor("axis", [0]),
    )  # fmt: skip


def test_failing_graphs_are_reported_in_one_line() -> None:
    nodes = [
        node("Gather", "places second", "row", whole("axis", 0)),
        node("Squeeze", "row axis", "samples"),
        node("Gather", "all samples", "probabilities", whole("axis", 0)),
    ]
    found = opened(entries(), rows_of_samples(*nodes))
    with pytest.raises(CheckpointError, match=r"^net\.onnx fails on clips: [^\n]+; export it again$"):
        found.probabilities(np.ones((2, SAMPLES), np.float32))


def test_wrong_output_shapes_are_reported_in_one_line() -> None:
    nodes = [node("Transpose", "places", "turned"), node("Cast", "turned", "probabilities", whole("to", 1))]
    found = opened(entries(), rows_of_samples(*nodes))
    with pytest.raises(CheckpointError, match=r"output of shape \[800, 2\], expected \[2, 2\]"):
        found.probabilities(np.ones((2, SAMPLES), np.float32))


@pytest.mark.parametrize("where", ["initializer", "node", "branch", "function"])
def test_external_weights_are_rejected(where: str, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(reaching(where, "/etc/passwd"))
    with pytest.raises(ConfigError, match=r"refers to weights in other files"):
        load_onnx(tmp_path / "net.onnx")


def test_custom_operators_are_rejected() -> None:
    inner = graph([node("Run", "waveform", "probabilities", domain="evil")], [value("waveform", ["n", 2])], ["x"])
    with pytest.raises(ConfigError, match=r"operators of the domain evil"):
        opened(entries(), inner)


def odd_files(folder: Path) -> dict[str, Path]:
    (folder / "folder.onnx").mkdir()
    os.mkfifo(folder / "pipe.onnx")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("not a model")
    (folder / "cut.onnx").write_bytes(model(classifier(), **entries())[:-100])
    (folder / "plain.onnx").write_bytes(model(classifier()))
    (folder / "large.onnx").touch()
    os.truncate(folder / "large.onnx", 2**31)
    return {path.stem: path for path in folder.iterdir()} | {"missing": folder / "missing.onnx"}


@pytest.mark.parametrize("name", ["folder", "pipe", "empty", "text", "cut", "plain", "large", "missing"])
def test_invalid_files_are_reported_in_one_line(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(odd_files(tmp_path)[name]), str(tmp_path)])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_other_devices_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--device cuda: not supported by ONNX models"):
        load_onnx(tmp_path / "any.onnx", device="cuda")
    with pytest.raises(FileError):
        load_onnx(tmp_path / "any.onnx")


def test_trusted_modules_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model(classifier(), **entries()))
    words = ["predict", str(tmp_path / "net.onnx"), "clip.wav", "--trust", "mine", "--trust", "yours"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "--trust mine, yours: not supported by ONNX models" in result.stderr
    with pytest.raises(ConfigError, match="--trust mine: not supported"):
        al.predict(tmp_path / "net.onnx", "clip.wav", trust="mine")


def test_precisions_need_validation_clips(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model(classifier(), **entries()))
    with pytest.raises(
        ConfigError, match=r"net\.onnx is an ONNX file, which contains no validation clips .* give --thr"
    ):
        al.predict(tmp_path / "net.onnx", "clip.wav", min_precision=0.9)
    with pytest.raises(ConfigError, match=r"net\.onnx: an ONNX model supports neither --raw nor"):
        al.predict(tmp_path / "net.onnx", "clip.wav", raw=True, min_precision=0.9)


def test_rejected_clips_are_unknown_beside_the_most_probable(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.random.RandomState(0).randn(1000).astype(np.float32) / 10, RATE)
    (tmp_path / "net.onnx").write_bytes(model(classifier(), **entries()))
    words = ["predict", str(tmp_path / "net.onnx"), str(tmp_path / "clip.wav"), "--top-k", "1", "--threshold", "1"]
    header, *rows = CliRunner().invoke(app, words).stdout.splitlines()
    assert header == "path,start_seconds,end_seconds,predicted,class_1,probability_1,error"
    assert [row.split(",")[3] for row in rows] == ["unknown"] * 3
    assert all(row.split(",")[4] in CLASSES for row in rows)


def test_damaged_files_raise_user_errors_only() -> None:
    content = bytearray(model(classifier(), **entries()))
    random = np.random.RandomState(0)
    for _ in range(300):
        changed = bytearray(content)
        for place in random.randint(len(content), size=3):
            changed[place] = random.randint(256)
        with contextlib.suppress(UserError):  # nothing else is raised
            OnnxModel(bytes(changed), "net.onnx", threads=1).probabilities(np.zeros((1, SAMPLES), np.float32))


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["lightning"] = sys.modules["pandas"] = None
from audio_lightning.cli.main import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
sys.modules = {name: module for name, module in sys.modules.items() if module is not None}
assert not {"torch", "lightning", "pandas", "omegaconf", "scipy"} & sys.modules.keys()
"""


def test_predicts_without_torch(tmp_path: Path) -> None:
    import soundfile

    noise = np.random.RandomState(0).randn(1000).astype(np.float32) / 10
    soundfile.write(tmp_path / "clip.wav", noise, RATE, subtype="FLOAT")
    (tmp_path / "net.onnx").write_bytes(model(classifier(), **entries()))
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "predict", "net.onnx", "clip.wav"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    header, *rows = result.stdout.splitlines()
    assert header == "path,start_seconds,end_seconds,predicted,probability low,probability high,error"
    assert [row.split(",")[1] for row in rows] == ["0.000", "0.050", "0.100"]
    shares: Any = opened(entries()).probabilities(noise[None, :SAMPLES])[0]
    np.testing.assert_allclose([float(cell) for cell in rows[0].split(",")[4:6]], shares, atol=1e-5)


def test_unused_protobuf_fields_are_not_a_graph() -> None:
    with pytest.raises(UserError, match=r"net\.onnx"):
        OnnxModel(message((1, 8)), "net.onnx", threads=1)
