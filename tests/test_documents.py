"""Commands and statements of README and CONTRIBUTING."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import tiny_sources
import torch
from running import run
from torchvision.models import get_model
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.cli.sweep import main as sweep
from audio_lightning.config import check_config, compose, quote_paths

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def commands(text: str, start: str) -> list[str]:
    """Lines of the code blocks that begin with ``start``, without comments."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    lines = [line.partition("  #")[0].strip() for line in blocks.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(start)]


TRAININGS = [line for line in commands(README, "python train.py") if "resume=" not in line and "--help" not in line]
# A dashboard is made on a server: tests/cli/test_dashboard_command.py.
TOOLS = [line for line in commands(README, "audio-lightning") if "dashboard" not in line]
SWEEPS = commands(README, "python sweep.py")


def recipe_data(arguments: list[str]) -> str:
    """The data set of the recipe that is named; UrbanSound8K stands for the demo."""
    (name,) = [word for word in arguments if word.startswith("experiment=")] or [None]
    if name is None:
        return "urbansound8k"
    target = str(compose([name, "data.root=."]).data._target_).rpartition(".")[2].lower()
    (data,) = [choice for choice in tiny_sources.WRITERS if choice.replace("_", "") == target]
    return data


def test_there_are_commands_to_test() -> None:
    assert len(TRAININGS) >= 4
    assert len(TOOLS) >= 4
    assert len(SWEEPS) >= 1


def with_tiny_data(line: str, tmp_path: Path) -> tuple[Path, str, list[str]]:
    """A tiny data set in place of the one that a training of the README names: its root, its name, the overrides."""
    arguments = [word for word in shlex.split(line)[2:] if word != "-m"]
    arguments = [re.sub(r"=([^,\[{]*),.*", r"=\1", word) for word in arguments]  # the first of an axis
    (name,) = [word.removeprefix("data=") for word in arguments if word.startswith("data=")] or [recipe_data(arguments)]
    root = tiny_sources.write(name, tmp_path / "data")
    if "label_separator" not in line and name == "table":
        tiny.write_table(root)
    if "label_columns" in line:
        tiny.write_hot_table(root)
    if "label_pattern" in line:
        root = tiny.write_named(tmp_path / "named")
    if "data.table={" in line:
        header, *rows = (root / "clips.csv").read_text().splitlines()
        for place, table in enumerate(re.findall(r"\w+\.csv", line)):
            (root / table).write_text("\n".join([header, *rows[8 * place : 8 * place + 8]]))
    places = {
        "data.root": str(root),
        "rir_dir": str(tmp_path / "rooms"),
        "model.pretrained": str(tmp_path / "weights"),
    }
    replaced = [f"{key}={places.get(key, value)}" for key, _, value in (word.partition("=") for word in arguments)]
    if "rir_dir=" in line:
        tiny.write_folder(tmp_path / "rooms")
    if "model.pretrained=true" in line:
        torch.save(get_model("resnet18").state_dict(), tmp_path / "weights")
    elif "model.pretrained=" in line:  # weights of the hub, whose loading is tested elsewhere
        replaced = [word for word in replaced if not word.startswith("model.pretrained=")]
    return root, name, replaced


@pytest.mark.parametrize("line", TRAININGS)
def test_trainings_of_the_readme_compose(line: str, tmp_path: Path) -> None:
    _, _, overrides = with_tiny_data(line, tmp_path)
    check_config(compose(quote_paths(overrides)))


@pytest.mark.full
@pytest.mark.parametrize("line", TRAININGS)
def test_trainings_of_the_readme_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With settings that make them quick."""
    monkeypatch.chdir(tmp_path)  # where MLflow makes its tables
    root, name, overrides = with_tiny_data(line, tmp_path)
    if not any(word.startswith(("data=", "experiment=")) for word in overrides):
        overrides += ["data=urbansound8k", f"data.root={root}"]
    quick = ["data.sample_rate=8000", "data.clip_seconds=0.25", "trainer=cpu", "trainer.max_epochs=1"]
    # To compile takes half a minute: tests/training/test_compile.py.
    kept = [word for word in overrides if not word.startswith(("trainer", "hydra", "compile"))]
    kept = [word for word in kept if "data.root" not in word]
    if any(word.startswith("experiment=") for word in kept):  # whose clips are as long as its network needs them
        quick = ["trainer=cpu", "trainer.max_epochs=1", f"data={name}"]
    metrics = run(root, tmp_path / "run", *kept, settings=quick)
    assert metrics["epochs"] == 1


@pytest.mark.parametrize("line", SWEEPS)
def test_sweeps_of_the_readme_are_understood(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a tiny data set in place of the named one; that sweeps run is shown elsewhere."""
    words = [word for word in shlex.split(line)[2:] if not word.startswith("data.root=")]
    (name,) = [word.removeprefix("data=") for word in words if word.startswith("data=")] or ["urbansound8k"]
    words = [f"data={name}", *words, f"data.root={tiny_sources.write(name, tmp_path / 'data')}"]
    assert sweep([*words, f"sweep.dir={tmp_path / 'sweep'}", "sweep.dry_run=true"]) == 0, capsys.readouterr().err
    assert " trials" in capsys.readouterr().out


@pytest.mark.parametrize("line", TOOLS)
def test_tools_of_the_readme_run(
    line: str, trained: Path, swept: Path, tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where plans are written
    shutil.copytree(tiny_urbansound8k / "audio/fold1", tmp_path / "recordings")
    shutil.copy(next((tmp_path / "recordings").iterdir()), tmp_path / "street.wav")
    (tmp_path / "test.csv").write_text("fname\nstreet.wav\n")
    places = {
        "RUN_DIR": str(trained),
        "FIT_DIR": str(trained),
        "SWEEP_DIR": str(shutil.copytree(swept, tmp_path / "sweep")),
        "street.wav": str(tmp_path / "street.wav"),
        "recordings/": str(tmp_path / "recordings"),
        "predictions.json": str(tmp_path / "predictions.json"),
        "data.root=OTHER": f"data.root={tiny_urbansound8k}",
        "data.root=DIR": f"data.root={tiny.write_folder(tmp_path / 'folder')}",
        "embeddings.npz": str(tmp_path / "embeddings.npz"),
        "data.html": str(tmp_path / "data.html"),
        "problems.csv": str(tmp_path / "problems.csv"),
    }
    words = [places.get(word, word) for word in shlex.split(line)[1:]]
    if words[0] == "fit":
        words = ["budget=1s" if word.startswith("budget=") else word for word in words]
        words += ["model.channels=[4,8]", "model.hidden_dim=8", "exclude=[both,pcen,frozen,words]", "trainer=cpu"]
    if words[0] == "check":
        words.append("data.clip_seconds=0.25")
    # The tiny clips are a quarter of a second; windows of seconds would be longer than what it was trained on.
    words = [{"2": "0.2", "1": "0.1"}.get(word, word) for word in words]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


@pytest.mark.full
def test_a_model_is_added_as_contributing_says(tmp_path: Path) -> None:
    """The file and the YAML of the guide, in a copy of the project, pass the contract test of all models."""
    for name in ("audio_lightning", "conf", "tests"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING, flags=re.DOTALL)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", CONTRIBUTING, flags=re.DOTALL)

    def unindented(block: str) -> str:
        return "\n".join(line.removeprefix("   ") for line in block.rstrip().splitlines()) + "\n"

    (tmp_path / "audio_lightning/models/tinynet.py").write_text(unindented(code))
    (tmp_path / "conf/model/tinynet.yaml").write_text(unindented(yaml))
    folders = ("tests/models", "tests/config")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "tinynet", *folders],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) >= 8
