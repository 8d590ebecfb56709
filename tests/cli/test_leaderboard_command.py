"""``audio-lightning leaderboard``."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sweep_folders import make_sweep, trial
from typer.testing import CliRunner

from audio_lightning.cli.main import app


def call(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["leaderboard", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def _no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def test_a_board_fits_a_hundred_columns(tmp_path: Path) -> None:
    noise = [0.0, 0.01, -0.02, 0.015, 0.005, -0.01, 0.02, 0.03]
    trials = [
        trial(
            base + noise[fold - 1],
            base + noise[fold - 1] + wobble * (-1) ** fold,
            feature=feature,
            model=model,
            fold=fold,
            metrics={"leakage": "present", "macs": 123_456_789, "parameters": 999_999, "test/recording_accuracy": 0.8},
        )
        for feature, model, base, wobble in (
            ("logmel", "bcresnet", 0.8, 0.0),
            ("mfcc", "matchboxnet", 0.6, 0.0),
            ("pcen", "lstm", 0.799, 0.01),
        )
        for fold in range(1, 9)
    ]
    sweep = make_sweep(tmp_path / "sweep", [*trials, trial(model="cnn", state="failed")])
    code, output, errors = call(sweep.path)
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert max(len(line) for line in lines if not line.startswith("next: ")) <= 100  # a path is never broken
    assert lines[0] == "25 trials: 24 done, 1 failed"
    assert "leakage present" in output
    assert [line.split()[1:3] for line in lines if line[:1].isdigit() and "±" in line] == [
        ["logmel", "bcresnet"], ["pcen", "lstm"], ["mfcc", "matchboxnet"],
    ]  # fmt: skip
    values = 0.8 + np.array(noise)
    scale = values.std(ddof=1) * np.sqrt(1 / 8 + 10 / 80)
    low, high = stats.t.interval(0.95, 7, loc=values.mean(), scale=scale)
    for words in (
        f"{values.mean():.3f} ± {values.std(ddof=1):.3f}",
        f"[{low:.3f}, {high:.3f}]",
        "123M",
        "1M",
        "distinguishable",
        "test possible",
        "over 8 folds",
        "Expected test/accuracy of the choice",
        "No winner yet: logmel bcresnet",
    ):
        assert words in output, words


def test_several_sweeps(tmp_path: Path) -> None:
    first = make_sweep(tmp_path / "a", [trial(0.8, model="cnn", content="birds")])
    second = make_sweep(tmp_path / "b", [trial(0.7, model="[lstm]", content="bells")])
    code, output, _ = call(first.path, second.path)
    assert code == 0
    assert "cannot be compared" in output
    assert output.index("cnn") < output.index("[lstm]")
    assert "next: " not in output


def test_suggested_command_names_the_best_sweep(tmp_path: Path) -> None:
    first = make_sweep(tmp_path / "a", [trial(0.7, model="cnn")])
    second = make_sweep(tmp_path / "the best", [trial(0.8, model="lstm")])
    code, output, _ = call(first.path, second.path)
    assert code == 0
    assert output.splitlines()[-1] == f"next: audio-lightning refit '{second.path}'"


def test_sweeps_by_different_metrics_need_one(tmp_path: Path) -> None:
    first = make_sweep(tmp_path / "a", [trial(model="cnn")])
    second = make_sweep(tmp_path / "b", [trial(model="lstm")], monitor="validation/loss")
    code, _, errors = call(first.path, second.path)
    assert code == 2
    assert errors.count("\n") == 1
    assert "--monitor validation/accuracy" in errors
    assert call(first.path, second.path, "--monitor", "validation/accuracy")[0] == 0


@pytest.mark.parametrize("exists", [True, False])
def test_invalid_sweep_folders_are_reported_in_one_line(tmp_path: Path, exists: bool) -> None:
    path = tmp_path if exists else tmp_path / "none"
    code, output, errors = call(path)
    assert (code, output) == (2, "")
    assert errors.startswith(f"error: {path}: expected a folder with sweep.json")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("trials", [[], [trial(state="failed"), trial(seed=1, state="queued")]])
def test_unfinished_sweeps_are_reported(tmp_path: Path, trials: list[dict[str, object]]) -> None:
    code, output, errors = call(make_sweep(tmp_path / "sweep", trials).path)
    assert (code, errors) == (1, "")
    assert "no trial is finished yet" in output
    assert output.splitlines()[-1] == "next: python sweep.py made=for,tests"


def test_leaderboard_does_not_import_torch(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", [trial(model="cnn"), trial(model="lstm")])
    script = (
        "import sys; from audio_lightning.cli.main import app\n"
        f"app(['leaderboard', {str(sweep.path)!r}], standalone_mode=False)\n"
        # Hydra, a fifth of a second, comes with the rules by which configurations of trials are read.
        "print(sorted({'torch', 'lightning', 'matplotlib', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
