"""Export to ExecuTorch and LiteRT, in environments that have their converters: see docs/how-to/export.md."""

import json
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from untrained import CNN, LSTM, write_member

import audio_lightning as al
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.export.litert_export import METADATA
from audio_lightning.inference.export.parity import Parity, compare

PAGE = (Path(__file__).parents[2] / "docs/how-to/export.md").read_text(encoding="utf-8")

PACKAGES = {"executorch": "executorch", "litert": "litert_torch"}
SUFFIXES = {"executorch": ".pte", "litert": ".tflite"}

BEFORE = {
    "executorch": "import numpy, torch\nclip = torch.from_numpy(numpy.load('clip.npy'))\n",
    "litert": "import numpy\nclip = numpy.load('clip.npy')\n",
}
"""Reads the clip of the programs of the page."""

AFTER = """
import sys
print("probabilities", probabilities.tolist()[0])
assert not [name for name in sys.modules if name.startswith("audio_lightning")]
"""

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]  # the converters have many warnings


@pytest.fixture(params=PACKAGES)
def output_format(request: pytest.FixtureRequest) -> str:
    if find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"{PACKAGES[request.param]} is not installed")
    return request.param


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("clips"), clips=3)


def metadata_of(path: Path) -> dict[str, str]:
    if path.suffix == ".tflite":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(METADATA))
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path.read_bytes())
    names = program.method_names - {"forward"}
    return {name: program.load_method(name).execute([])[0] for name in names}


@pytest.mark.parametrize("options", [CNN, LSTM], ids=["cnn", "lstm"])
def test_files_run_without_this_package(
    options: list[str], output_format: str, recordings: Path, tmp_path: Path
) -> None:
    checkpoint = write_member(tmp_path / "model.ckpt", *options)
    found = al.export(checkpoint, tmp_path / f"model{SUFFIXES[output_format]}", format=output_format, clips=recordings)
    assert found.parity.max_difference < 1e-4
    assert not found.any_length
    entries = {name: json.loads(value) for name, value in metadata_of(found.path).items()}
    assert entries["classes"] == list(tiny.CLASSES)
    assert (entries["sample_rate"], entries["num_samples"], entries["padding"]) == (8000, 2000, "zero")

    clip = 0.1 * np.random.RandomState(0).randn(1, 2000).astype(np.float32)
    np.save(tmp_path / "clip.npy", clip)
    package = PACKAGES[output_format].replace("litert_torch", "ai_edge_litert")
    (program,) = re.findall(rf"```python\n(from {package}.*?)```", PAGE, flags=re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-I", "-c", BEFORE[output_format] + program + AFTER],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("probabilities "))
    expected = al.load(checkpoint).probabilities(torch.from_numpy(clip))[0].tolist()
    assert json.loads(line.removeprefix("probabilities ")) == pytest.approx(expected, abs=1e-4)


def test_several_labels_have_thresholds(output_format: str, recordings: Path, tmp_path: Path) -> None:
    several: dict[str, Any] = {"multilabel": True, "thresholds": (0.3, 0.5, 0.7)}
    checkpoint = write_member(tmp_path / "model.ckpt", *CNN, **several)
    found = al.export(checkpoint, tmp_path / f"model{SUFFIXES[output_format]}", format=output_format, clips=recordings)
    assert json.loads(metadata_of(found.path)["thresholds"]) == pytest.approx((0.3, 0.5, 0.7))


def test_a_model_that_differs_is_not_written(
    output_format: str, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(classifier: Any, exported: Any, clips: Any) -> Parity:
        return compare(classifier, lambda some: exported(some)[:, ::-1], clips)

    monkeypatch.setattr("audio_lightning.inference.export.export.compare", wrong)
    checkpoint = write_member(tmp_path / "model.ckpt", *CNN)
    with pytest.raises(ConfigError, match="nothing was written"):
        al.export(checkpoint, tmp_path / f"model{SUFFIXES[output_format]}", format=output_format, clips=recordings)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]
