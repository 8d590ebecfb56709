"""ONNX files that take a waveform."""

import contextlib
import json
import logging
import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_files import (
    DOUBLE,
    FLOAT,
    INT16,
    INT64,
    KERNELS,
    PART,
    WEIGHTS,
    WIDTH,
    WINDOW,
    Dims,
    convolved,
    graph,
    ints,
    message,
    model,
    node,
    number,
    reaching,
    tensor,
    value,
    windowed,
)
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.onnx_contents import require_own_contents
from audio_lightning.models.pretrained import onnx_runtime
from audio_lightning.models.pretrained.onnx_file import OnnxFile

pytestmark = pytest.mark.published
needs_runtime = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="pip install onnxruntime")

RATE = 16_000


def clips(samples: int = 1000, number: int = 2) -> Tensor:
    return torch.from_numpy((0.3 * np.random.RandomState(5).randn(number, samples)).astype(np.float32))


def written(folder: Path, content: bytes) -> str:
    place = folder / "net.onnx"
    place.write_bytes(content)
    return str(place)


def loaded(folder: Path, content: bytes, rate: int = RATE) -> OnnxFile:
    backbone = OnnxFile(rate, written(folder, content))
    backbone.load()
    return backbone


@needs_runtime
@pytest.mark.parametrize(
    ("dims", "at_once"),
    [(["n", WINDOW], 8), ([1, WINDOW], 1), ([4, WINDOW], 4), (["n", 1, WINDOW], 8), ([2, 1, WINDOW], 2), ([WINDOW], 1)],
)
@pytest.mark.parametrize("samples", [399, 1000, 3600])
def test_a_clip_is_cut_into_windows(dims: Dims, at_once: int, samples: int, tmp_path: Path) -> None:
    backbone = loaded(tmp_path, windowed(dims))
    assert backbone.layers == {"frames": WIDTH, "embeddings": WIDTH}
    assert list(backbone.layers) == ["frames", "embeddings"]  # the embeddings come first in the file
    assert backbone.signature.batch == at_once
    given = clips(samples)
    found = backbone(given)
    padded = torch.nn.functional.pad(given, (0, -samples % WINDOW))
    frames = padded.reshape(2, -1, PART) @ torch.from_numpy(WEIGHTS)
    torch.testing.assert_close(found["frames"], frames.mT, atol=1e-5, rtol=1e-5)
    embeddings = frames.reshape(2, -1, 4, WIDTH).mean(2)
    torch.testing.assert_close(found["embeddings"], embeddings.mT, atol=1e-5, rtol=1e-5)
    assert torch.equal(backbone(given[1:])["frames"][0], found["frames"][1])  # whatever is in its batch


@needs_runtime
@pytest.mark.parametrize("dims", [["samples"], [1, "samples"], ["n", "samples"], ["n", 1, "samples"], ["a", "b", "c"]])
def test_a_clip_of_any_length_is_not_cut(dims: Dims, tmp_path: Path) -> None:
    backbone = loaded(tmp_path, convolved(dims))
    assert backbone.layers == {"frames": 6, "map": 6, "levels": 1, "mean": 6, "square": 6}
    assert backbone.signature.shortest == RATE // 10
    given = clips(4000)
    found = backbone(given)
    expected = torch.nn.functional.conv1d(given[:, None], torch.from_numpy(KERNELS), stride=80)
    for name, known in {"map": expected, "frames": expected, "levels": expected.mean(1, keepdim=True)}.items():
        torch.testing.assert_close(found[name], known, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["mean"], expected.mean(2, keepdim=True), atol=1e-5, rtol=1e-4)
    assert found["square"].shape == (2, 6, 6)
    assert backbone(given[:, :200])["frames"].shape == (2, 6, (RATE // 10 - 160) // 80 + 1)


@needs_runtime
def test_windows_that_are_not_independent_are_not_batched(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMean", "wave", "mean", ints("axes", 0)),
        node("Sub", "wave mean", "rest"),
        node("Add", "rest mean", "same"),
        node("ReduceMax", "wave", "loudest", ints("axes", 0)),
        node("Add", "loudest same", "embedding"),
    ]
    network = model(graph(nodes, [value("wave", ["n", WINDOW])], ["embedding"]))
    backbone = loaded(tmp_path, network)
    assert backbone.signature.batch == 1
    found = backbone(clips())["embedding"]
    torch.testing.assert_close(found[:, :, 0], 2 * clips()[:, :WINDOW])


@needs_runtime
def test_a_fixed_inner_axis_prevents_batching(tmp_path: Path) -> None:
    nodes = [node("Reshape", "wave one", "row"), node("Mul", "row row", "squares")]
    network = model(graph(nodes, [value("wave", ["n", WINDOW])], ["squares"], tensor("one", [1, WINDOW])))
    backbone = loaded(tmp_path, network)
    assert backbone.signature.batch == 1
    assert backbone(clips())["squares"].shape == (2, WINDOW, 3)


@needs_runtime
def test_the_sample_rate_is_read_from_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        backbone = loaded(tmp_path, windowed([1, WINDOW], sample_rate="32000.0"), rate=32_000)
        assert (backbone.trained_rate, backbone.any_rate) == (32_000, False)
        assert not caplog.records
        for text in ("", "fast", "-1", "inf"):
            unknown = loaded(tmp_path, windowed([1, WINDOW], sample_rate=text), rate=12_345)
            assert (unknown.trained_rate, unknown.any_rate) == (12_345, True)
    (said,) = caplog.messages  # once, although four were built
    assert "net.onnx: the file does not define the sample rate" in said


@needs_runtime
@pytest.mark.parametrize("content", [windowed(["n", WINDOW]), convolved()], ids=["windows", "any length"])
def test_a_checkpoint_needs_no_file(content: bytes, tmp_path: Path) -> None:
    backbone = loaded(tmp_path, content)
    (tmp_path / "net.onnx").unlink()
    architecture = json.loads(json.dumps(backbone.architecture))
    assert architecture == backbone.architecture
    again = OnnxFile(RATE, None, architecture)
    assert again.layers == backbone.layers
    assert (again.title, again.least_seconds) == (backbone.title, backbone.least_seconds)
    assert again.num_parameters == len(content) // 4
    with pytest.raises(ConfigError, match=r"backbone=onnx has no random weights; give the path"):
        again(clips())
    torch.save(backbone.state_dict(), tmp_path / "w.ckpt")
    state = torch.load(tmp_path / "w.ckpt", weights_only=True)
    again.load_state_dict(state)
    given = clips(4000)
    assert all(torch.equal(value, backbone(given)[name]) for name, value in again(given).items())
    state["model"][100] += 1
    again.load_state_dict(state)
    with pytest.raises(
        ConfigError, match=r"net\.onnx in this checkpoint is not the file that the checkpoint describes"
    ):
        again(given)


@needs_runtime
@pytest.mark.parametrize("content", [windowed(["n", WINDOW]), convolved()], ids=["windows", "any length"])
def test_shapes_are_computed_on_the_meta_device(content: bytes, tmp_path: Path) -> None:
    with torch.device("meta"):
        backbone = OnnxFile(RATE, written(tmp_path, content))
        backbone.load()
    assert backbone.model.is_meta
    assert not len(backbone.model)  # checks on this device refuse tensors as large as some files are
    given = clips(4000)
    found = {name: value.shape for name, value in backbone(given.to("meta")).items()}
    assert found == {name: value.shape for name, value in loaded(tmp_path, content)(given).items()}


def test_a_damaged_description_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"description of an ONNX file is damaged: KeyError\('name'\)"):
        OnnxFile(RATE, None, {})
    known = {"name": "n", "sha256": "", "bytes": 1, "rate": None, "signature": {"layers": {"a": {"width": 1}}}}
    with pytest.raises(ConfigError, match=r"description of the ONNX network in this checkpoint is damaged"):
        OnnxFile(RATE, None, known)


@needs_runtime
def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"backbone=onnx has no weights of its own; give the path"):
        OnnxFile(RATE)
    with pytest.raises(ConfigError, match=r"none\.onnx: no such file"):
        OnnxFile(RATE, str(tmp_path / "none.onnx"))
    backbone = OnnxFile(RATE, written(tmp_path, windowed([1, WINDOW])))
    written(tmp_path, windowed([2, WINDOW]))
    with pytest.raises(ConfigError, match=r"net\.onnx has changed: its sha256 is"):
        backbone.load()


def identity(*inputs: bytes, kind: str = "Identity", domain: str = "", gives: int = FLOAT) -> bytes:
    nodes = [node(kind, "wave", "out", domain=domain)]
    return model(graph(nodes, inputs, [value("out", None, gives)]), domains=[domain] * bool(domain))


REFUSED = {
    "no ONNX": (b"\x89PNG\r\n\x1a\n and so on", r"net\.onnx is not an ONNX file \(.*\); export the network as ONNX"),
    "empty": (b"", r"net\.onnx is empty; give an ONNX file"),
    "no graph": (message((1, 8)), r"ONNX runtime .* cannot run net\.onnx: "),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", r"net\.onnx is not an ONNX file"),
    "a picture": (
        identity(value("wave", ["n", 1, 96, 64])),
        r"takes wave tensor\(float\) \[any, 1, 96, 64\], a spectrogram or other features, expected a waveform; export",
    ),
    "mel bands": (
        identity(value("wave", ["n", 64, "frames"])),
        r"takes wave tensor\(float\) \[any, 64, any\], a spectrogram or other features, expected a waveform; export",
    ),
    "a frame": (identity(value("wave", [96, 64])), r"\[96, 64\], too few for a waveform, expected 256 samples or more"),
    "whole numbers": (
        identity(value("wave", [1, 16_000], INT16), gives=INT16),
        r"takes wave tensor\(int16\) \[1, 16000\], expected float32 samples from -1 to 1; export",
    ),
    "double": (
        identity(value("wave", [1, 16_000], DOUBLE), gives=DOUBLE),
        r"takes wave tensor\(double\) .* expected float32 samples",
    ),
    "several clips": (
        identity(value("wave", [4, "samples"])),
        r"\[4, any\], 4 clips of any length at once, expected one",
    ),
    "two inputs": (
        identity(value("wave", [1, 16_000]), value("state", [2])),
        r"takes 2 inputs \(wave, state\), expected a waveform alone; export",
    ),
    "a shape": (
        identity(value("wave", [1, 16_000]), kind="Shape", gives=INT64),
        r"gives out tensor\(int64\) \[2\]; export it with a floating-point output of one to three axes",
    ),
    "an operator that is not there": (
        identity(value("wave", [1, 16_000]), kind="Understand"),
        r"ONNX runtime .* cannot run net\.onnx: .*Understand",
    ),
    "an operator of its own": (
        identity(value("wave", [1, 16_000]), kind="Mine", domain="my.ops"),
        r"net\.onnx has operators of the domain my\.ops, expected standard ONNX operators only; export the",
    ),
    "what cannot be computed": (
        model(graph([node("Reshape", "wave s", "out")], [value("wave", ["n"])], ["out"], tensor("s", [7, 7, 7]))),
        r"net\.onnx fails on 16 seconds of noise: ",
    ),
    "windows that cannot be computed": (
        model(graph([node("Reshape", "wave s", "out")], [value("wave", [500])], ["out"], tensor("s", [7, -1]))),
        r"cannot run net\.onnx|fails on 500 samples of noise",
    ),
}


@needs_runtime
@pytest.mark.parametrize("case", REFUSED)
def test_other_onnx_files_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    content, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as found:
        OnnxFile(RATE, written(tmp_path, content))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname", "*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize("where", ["initializer", "node", "branch", "function", "sparse"])
def test_weights_in_other_files_are_refused(
    where: str, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.bin").write_bytes(struct.pack("<f", 1.0))
    monkeypatch.chdir(tmp_path)  # where the runtime would find it
    content = reaching(where, location)
    with pytest.raises(ConfigError, match=r"net\.onnx refers to weights in other files, expected all in one; save it"):
        require_own_contents(content, "net.onnx")


def test_an_oversized_tag_is_not_overlooked() -> None:
    hidden = message((1, 1), (2, FLOAT), (8, "w")) + number(1 << 32 | 13 << 3 | 2) + number(0)
    content = model(graph([node("Add", "wave w", "out")], [value("wave", [1, WINDOW])], ["out"], hidden))
    with pytest.raises(ConfigError, match=r"net\.onnx is not an ONNX file \(an unknown field"):
        require_own_contents(content, "net.onnx")


def test_damaged_files_are_read_or_refused() -> None:
    content, random = windowed(["n", WINDOW], sample_rate="32000"), np.random.RandomState(0)
    for _ in range(300):
        changed = bytearray(content[: random.randint(1, len(content))])
        changed[random.randint(len(changed))] = random.randint(256)
        with contextlib.suppress(ConfigError):  # nothing else is raised
            require_own_contents(bytes(changed), "net.onnx")


@needs_runtime
def test_functions_defined_in_a_file_are_accepted(tmp_path: Path) -> None:
    double = message(
        (1, "Double"), (4, "x"), (5, "y"), (7, node("Add", "x x", "y")), (9, message((2, 17))), (10, "mine")
    )  # fmt: skip
    nodes = [node("Double", "wave", "out", domain="mine")]
    content = model(graph(nodes, [value("wave", [1, WINDOW])], ["out"]), (25, double), domains=["mine"])
    found = loaded(tmp_path, content)(clips(WINDOW))["out"]
    assert torch.equal(found[:, :, 0], 2 * clips(WINDOW))


@needs_runtime
def test_sessions_are_cached_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_runtime, "_sessions", {})
    made = [loaded(tmp_path, windowed([1, WINDOW], sample_rate=str(RATE), number=str(n))) for n in range(10)]
    assert len(onnx_runtime._sessions) == onnx_runtime.MOST_SESSIONS
    made[0](clips())
    known = list(onnx_runtime._sessions.values())
    made[0](clips())
    assert all(old is new for old, new in zip(known, onnx_runtime._sessions.values()))


def test_missing_onnx_runtime_is_one_line_with_the_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"backbone=onnx needs ONNX runtime; pip install"):
        OnnxFile(RATE, written(tmp_path, windowed([1, WINDOW])))
