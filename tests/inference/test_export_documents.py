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
"""Variable with a folder in which ``npm install onnxruntime-node`` was run."""

BARE = """
import sys
sys.argv = sys.argv[1:]
exec(open(sys.argv[0]).read())
heavy = {"torch", "lightning", "audio_lightning", "soxr", "scipy", "pandas", "onnx"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""


def program(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return found


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


@pytest.mark.full
def test_node(folder: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    place = Path(os.environ.get(NODE_MODULES) or folder / "node")
    if not (place / "node_modules/onnxruntime-node").is_dir():
        place.mkdir(exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--onnxruntime-node-install=skip", "onnxruntime-node"]
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
