"""The programs of docs/how-to/export.md run beside an exported model, without this package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from untrained import CNN, write_member

import audio_lightning as al

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

PAGE = (Path(__file__).parents[2] / "docs/how-to/export.md").read_text(encoding="utf-8")

NODE_MODULES = "AUDIO_LIGHTNING_NODE_MODULES"
"""Variable with a folder in which the command of the page, ``npm install ... onnxruntime-node``, was run."""

ONNXRUNTIME = "AUDIO_LIGHTNING_ONNXRUNTIME"
"""Variable with a folder of ONNX Runtime for C: ``include/`` with the header, ``lib/`` with the library."""

WARNINGS = ["-Wall", "-Wextra", "-Werror"]

BARE = """
import sys
sys.argv = sys.argv[1:]
exec(open(sys.argv[0]).read())
heavy = {"torch", "lightning", "audio_lightning", "soxr", "scipy", "pandas", "onnx"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""


def program(language: str) -> str:
    """The first program in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a clip as a recording and as raw samples, and the probabilities of the checkpoint."""
    made = tmp_path_factory.mktemp("exported")
    checkpoint = write_member(made / "cnn.ckpt", *CNN)
    al.export(checkpoint, made / "model.onnx", clips=tiny.write_folder(made / "clips", clips=1))
    clip = tiny.sound("high_tone", np.random.default_rng(0))
    soundfile.write(made / "clip.wav", clip, tiny.RATE, subtype="FLOAT")
    (made / "clip.f32").write_bytes(clip.astype("<f4").tobytes())
    shares = al.predict(checkpoint, made / "clip.wav").filter(like="probability").iloc[0]
    (made / "expected.json").write_text(json.dumps(shares.tolist()))
    return made


def expected(folder: Path) -> Any:
    return pytest.approx(json.loads((folder / "expected.json").read_text()), abs=1e-4)


def test_fifteen_lines_of_python(folder: Path) -> None:
    (folder / "predict.py").write_text(program("python"))
    result = subprocess.run(
        [sys.executable, "-I", "-c", BARE, "predict.py", "model.onnx", "clip.wav"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert list(found) == list(tiny.CLASSES)
    assert list(found.values()) == expected(folder)


@pytest.mark.parametrize("padding", ["zero", "repeat", "reflect"])
def test_a_short_recording_is_padded_as_in_the_training(tmp_path: Path, padding: str) -> None:
    checkpoint = write_member(tmp_path / "cnn.ckpt", *CNN, f"data.padding={padding}")
    al.export(checkpoint, tmp_path / "model.onnx", clips=tiny.write_folder(tmp_path / "clips", clips=1))
    sound = tiny.sound("high_tone", np.random.default_rng(0))[: tiny.RATE // 7]
    soundfile.write(tmp_path / "short.wav", sound, tiny.RATE, subtype="FLOAT")
    (tmp_path / "predict.py").write_text(program("python"))
    line = [sys.executable, "predict.py", "model.onnx", "short.wav"]
    found = json.loads(subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    expected = al.predict(checkpoint, tmp_path / "short.wav").filter(like="probability").iloc[0]
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.full
def test_node(folder: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    place = Path(os.environ.get(NODE_MODULES) or folder / "node")
    if not (place / "node_modules/onnxruntime-node").is_dir():
        place.mkdir(exist_ok=True)
        (line,) = re.findall(r"^npm install .*", PAGE, flags=re.MULTILINE)
        install = [*line.split(), "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot install onnxruntime-node: {done.stderr[-200:]}")
    (place / "predict.js").write_text(program("javascript"))
    result = subprocess.run(
        ["node", "predict.js", str(folder / "model.onnx"), str(folder / "clip.f32")],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == expected(folder)


@pytest.fixture(scope="module")
def compiled(folder: Path) -> Path:
    """The program in C."""
    compiler, place = shutil.which("cc"), os.environ.get(ONNXRUNTIME)
    places = [Path(place)] if place else [Path("/usr/include/onnxruntime"), *Path("/usr/lib").glob("*-linux-gnu")]
    headers = [file for found in places for file in found.rglob("onnxruntime_c_api.h")]
    libraries = [file for found in places for file in found.rglob("libonnxruntime.so*")]
    if compiler is None or not headers or not libraries:
        pytest.skip(f"no C compiler, or no ONNX Runtime for C; {ONNXRUNTIME}=DIR names one")
    (folder / "predict.c").write_text(program("c"))
    words = ["predict.c", "-I", str(headers[0].parent), str(libraries[0]), f"-Wl,-rpath,{libraries[0].parent}"]
    subprocess.run([compiler, *WARNINGS, *words, "-o", "predict"], cwd=folder, check=True)
    return folder / "predict"


@pytest.mark.full
def test_c(compiled: Path, folder: Path) -> None:
    command = [compiled, "model.onnx", "clip.f32"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert [float(line) for line in result.stdout.splitlines()] == expected(folder)


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "usage: predict"),
        (["none.onnx", "clip.f32"], "none.onnx"),
        (["clip.f32", "clip.f32"], "clip.f32"),
        (["model.onnx", "none.f32"], "the clip cannot be opened"),
    ],
)
def test_c_reports_failures(words: list[str], said: str, compiled: Path, folder: Path) -> None:
    result = subprocess.run([compiled, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert said in result.stderr
    assert not result.stdout
