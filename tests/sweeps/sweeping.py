"""Run small sweeps within a test."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import tiny

from audio_lightning.cli.sweep import main
from audio_lightning.compare.trials import SweepFolder, TrialFolder, TrialStatus

PROJECT = Path(__file__).parents[2]

SETTINGS = [*tiny.TRAIN_OVERRIDES, "trainer.max_epochs=2", "plots=false", "sweep.workers=2"]


def arguments(root: Path, folder: Path, *overrides: str) -> list[str]:
    """Return a command line on the tiny data."""
    return ["data=urbansound8k", f"data.root={root}", *SETTINGS, f"sweep.dir={folder}", *overrides]


def sweep(root: Path, folder: Path, *overrides: str) -> int:
    """Run a sweep in this process, as ``python sweep.py`` does, and return its exit code."""
    return main(arguments(root, folder, *overrides))


def start(program: str, root: Path, folder: Path, *overrides: str, **options: Any) -> subprocess.Popen[str]:
    """Start a sweep in another process."""
    command = [sys.executable, str(PROJECT / program), *arguments(root, folder, *overrides)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def trials(folder: Path) -> dict[str, tuple[TrialFolder, TrialStatus]]:
    """The trials of a sweep by what varies: ``"cnn 0"``."""
    found = SweepFolder(folder).folders()
    return {" ".join(map(str, status.choices.values())): (trial, status) for trial, status in found}


def states(folder: Path) -> dict[str, str]:
    """The state of every trial."""
    return {name: status.state for name, (_, status) in trials(folder).items()}


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the metrics of every finished trial without times, which differ from run to run."""
    timed = {"seconds", "test_seconds", "total_seconds", "clips_per_second"}
    return {
        name: {key: value for key, value in trial.read_metrics().items() if key not in timed}
        for name, (trial, status) in trials(folder).items()
        if status.state == "done"
    }
