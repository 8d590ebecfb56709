"""Run folders with damaged, missing or replaced files: one error line each, before any training."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import resume
from sweep_folders import make_sweep, trial

from audio_lightning.cli.train import main
from audio_lightning.compare.trials import SweepFolder, TrialFolder
from audio_lightning.core.errors import FileError
from audio_lightning.run_folder import SHOWN, RunFolder

PROJECT = Path(__file__).parents[2]

READERS: dict[str, Callable[[Path], Any]] = {
    "config.yaml": lambda path: RunFolder(path).read_config(),
    "metrics.json": lambda path: RunFolder(path).read_metrics(SHOWN),
    "history.csv": lambda path: RunFolder(path).read_history(),
    "predictions.csv": lambda path: RunFolder(path).read_predictions(path / "predictions.csv"),
    "per_class.csv": lambda path: RunFolder(path).read_per_class(),
    "steps.csv": lambda path: RunFolder(path).check_resumable(),
    "status.json": lambda path: TrialFolder(path).read_status(),
    "latency.json": lambda path: TrialFolder(path).read_latency(),
    "sweep.json": lambda path: SweepFolder(path).read_facts(),
}

WRONG = {
    "config.yaml": b"data: 3\n",
    "metrics.json": b'{"num_clips/test": "many"}',
    "history.csv": b"epoch,seconds,training_seconds\n1,fast,1\n",
    "predictions.csv": b"path,label,predicted,probability a\na.wav,a,a,high\n",
    "per_class.csv": b"class,precision\na,high\n",
    "steps.csv": b"step,epoch,name,value\n0,first,train/loss,1\n",
    "status.json": b'{"number": 0, "hash": 1, "state": "done", "overrides": {}, "choices": [], "groups": 1}',
    "latency.json": b'{"latency_ms": [1]}',
    "sweep.json": b'{"name": ["a"], "axes": "model"}',
}


def damage(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def test_text_entries_of_metrics_are_read(tmp_path: Path) -> None:
    words = {"float32_layers": "LSTM", "warnings": "9 validation clips", "leakage": "none found"}
    (tmp_path / "metrics.json").write_text(json.dumps(words))
    assert RunFolder(tmp_path).read_metrics() == words


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": damage(b""),
    "half": damage(b"{"),
    "a list": damage(b"[]"),
    "nothing": damage(b"null"),
    "zeros": damage(b"\x00" * 50),
    "UTF-16": damage("a: 1\nb,c\n".encode("utf-16")),
    "Latin-1": damage(b"epoch,\xe9\n1,2\n"),
    "nested": damage(b"[" * 200_000),
    "aliases": damage(b"a: &a [x]\n" + b"b: [*a, *a]\n"),
    "a number without end": damage(b'{"latency_ms": ' + b"9" * 10_000 + b"}"),
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", [*DAMAGES, "wrong types"])
def test_every_reader_reports_damage_in_one_line(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    {**DAMAGES, "wrong types": damage(WRONG[name])}[kind](path)
    started = time.monotonic()
    with pytest.raises(FileError) as caught:
        READERS[name](tmp_path)
    assert time.monotonic() - started < 5
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("name", READERS)
def test_every_reader_reads_a_finished_run(swept: Path, name: str) -> None:
    trial = next(path.parent for path in sorted(swept.glob("trials/*/status.json")))
    READERS[name](swept if name == "sweep.json" else trial)


@pytest.mark.parametrize("name", ["config.yaml", "history.csv", "steps.csv"])
@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_runs_are_not_resumed(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    run = _copy(trained, tmp_path)
    (run / name).unlink()
    DAMAGES[kind](run / name)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert main([f"resume={run}", "trainer.max_epochs=5"]) == 2
    error = capsys.readouterr().err
    assert str(run / name) in error
    assert error.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize(
    "name", ["train.log", "metrics.json", "environment.json", "predictions.csv", "checkpoints/best.ckpt"]
)
def test_pipes_and_links_in_place_of_files_are_rejected(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run, other = _copy(trained, tmp_path), tmp_path / "other"
    other.write_text("another file")
    for place in (lambda path: os.mkfifo(path), lambda path: path.symlink_to(other)):
        (run / name).unlink(missing_ok=True)
        place(run / name)
        assert main([f"resume={run}", "trainer.max_epochs=5"]) == 2
        assert f"{run / name}" in capsys.readouterr().err
    assert other.read_text() == "another file"


def test_missing_history_is_reported_before_the_training(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _copy(trained, tmp_path)
    (run / "history.csv").unlink()
    assert main([f"resume={run}", "trainer.max_epochs=5"]) == 2
    assert "history.csv: No such file" in capsys.readouterr().err


def test_short_history_is_reported_before_the_training(trained: Path, tmp_path: Path) -> None:
    run = _copy(trained, tmp_path)
    lines = (run / "history.csv").read_text().splitlines(keepends=True)
    (run / "history.csv").write_text("".join(lines[:3]))
    with pytest.raises(FileError, match=r"history\.csv has 2 epochs, but checkpoints/last\.ckpt has 4"):
        resume(run, "trainer.max_epochs=5")


@pytest.mark.parametrize("kind", ["empty", "half", "a list", "UTF-16", "a pipe"])
def test_damaged_metrics_are_reported_in_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    run = _copy(trained, tmp_path)
    (run / "metrics.json").unlink()
    DAMAGES[kind](run / "metrics.json")
    assert main([f"resume={run}"]) == 2
    assert "metrics.json" in capsys.readouterr().err.splitlines()[-1]


def test_wrong_folders_are_rejected_before_importing_torch(tmp_path: Path) -> None:
    """Importing torch takes seconds; so does pandas."""
    (tmp_path / "config.yaml").write_text("a: 1\n")
    commands = [
        ["predict", str(tmp_path), "a.wav"],
        ["predict", str(tmp_path / "config.yaml"), "a.wav"],
        ["predict", str(tmp_path / "missing"), "a.wav"],
        ["embed", str(tmp_path), "a.wav"],
        ["evaluate", str(tmp_path)],
        ["train", f"resume={tmp_path}"],
        ["train", f"resume={tmp_path / 'missing'}"],
        ["leaderboard", str(tmp_path)],
        ["refit", str(tmp_path)],
        ["dashboard", str(tmp_path)],
    ]
    code = (
        "import sys\n"
        "from audio_lightning.cli.main import app\n"
        f"for line in {commands!r}:\n"
        "    try: app(line)\n"
        "    except SystemExit as stop: print(stop.code, sorted({'torch', 'pandas'} & sys.modules.keys()))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert found.stdout.splitlines() == ["2 []"] * len(commands)
    errors = found.stderr.splitlines()
    assert len(errors) == len(commands)
    assert all(line.startswith("error: ") for line in errors)
    assert "config.yaml: not a checkpoint; name a file" in errors[1]


@pytest.mark.parametrize("name", [name for name in READERS if name != "sweep.json"])
@pytest.mark.parametrize("kind", ["empty", "zeros", "a pipe"])
def test_damaged_trials_name_the_file(swept: Path, tmp_path: Path, name: str, kind: str) -> None:
    """A finished trial is compared by all of its tables, so that it is run again if one of them is damaged."""
    source = next(path.parent for path in sorted(swept.glob("trials/*/status.json")))
    folder = TrialFolder(_copy(source, tmp_path))
    status = folder.read_status()
    assert folder.damage(status) is None
    (folder.path / name).unlink()
    DAMAGES[kind](folder.path / name)
    if name not in ("status.json", "steps.csv"):
        assert str(folder.path / name) in (folder.damage(status) or "")


def test_steps_of_resumed_trials_are_checked(swept: Path, tmp_path: Path) -> None:
    source = next(path.parent for path in sorted(swept.glob("trials/*/status.json")))
    folder = TrialFolder(_copy(source, tmp_path))
    status = folder.read_status()
    status.state = "interrupted"
    assert folder.damage(status) is None
    (folder.path / "steps.csv").write_bytes(b"\x00")
    assert "steps.csv" in (folder.damage(status) or "")


@pytest.mark.parametrize("line", ["3,1,train/gradient_norm,nan\n", "3,1,train/step_loss,inf\n", "3,1,tra", "3"])
def test_nan_steps_and_incomplete_lines_are_accepted(trained: Path, tmp_path: Path, line: str) -> None:
    """The line that a killed process was writing is dropped by the logger of the resumed run."""
    run = _copy(trained, tmp_path)
    with (run / "steps.csv").open("a") as file:
        file.write(line)
    RunFolder(run).check_resumable()


def test_generated_sweeps_have_complete_metrics(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "s", [trial(model="cnn"), trial(model="lstm", state="failed")])
    assert [folder.damage(status) for folder, status in sweep.folders()] == [None, None]


def _copy(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "copy"))
