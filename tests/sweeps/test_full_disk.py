"""Sweeps on a disk that takes no more: one line, nothing half-written, and the same command continues."""

import errno
import os
import resource
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweep_folders import make_sweep, trial
from sweeping import start, states, sweep

from audio_lightning.compare.trials import State, SweepFolder, TrialFolder, TrialStatus
from audio_lightning.core.errors import DiskError
from audio_lightning.sweeps.executors.executors import Ended, Executor
from audio_lightning.sweeps.executors.forkserver import call
from audio_lightning.sweeps.finalize import draw
from audio_lightning.sweeps.progress import Progress
from audio_lightning.sweeps.runner import TrialRunner
from audio_lightning.sweeps.trial import DISK, Job, run_trial

FULL = "the disk is full ({}): make room"


def refuse(*arguments: Any, **options: Any) -> None:
    """Write on a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device", "results.csv")


@pytest.fixture
def queued(tmp_path: Path) -> TrialFolder:
    """A trial that has not begun."""
    folder = next(make_sweep(tmp_path / "sweep", [trial(0.5)]).folders())[0]
    folder.write_status(replace(folder.read_status(), state="queued"))
    folder.error.unlink(missing_ok=True)
    return folder


def code_of(folder: TrialFolder) -> int:
    """The exit code of the trial's process."""
    with pytest.raises(SystemExit) as end:
        run_trial(Job(folder.path, threads=1))
    assert isinstance(end.value.code, int)
    return end.value.code


def test_a_trial_with_a_full_disk_is_resumable(
    queued: TrialFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("audio_lightning.sweeps.trial._train", refuse)
    assert code_of(queued) == DISK
    status = queued.read_status()
    assert (status.state, status.reason) == ("interrupted", FULL.format("results.csv"))
    assert not queued.error.exists()
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("writes", [0, 1], ids=["at the start", "at the end"])
def test_a_trial_with_an_unwritable_status_is_resumable(
    queued: TrialFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], writes: int
) -> None:
    write, left = TrialFolder.write_status, [True] * writes

    def write_some(folder: TrialFolder, status: TrialStatus) -> None:
        write(folder, status) if left and left.pop() else refuse()

    monkeypatch.setattr("audio_lightning.sweeps.trial._train", lambda *arguments: None)
    monkeypatch.setattr(TrialFolder, "write_status", write_some)
    assert code_of(queued) == DISK
    assert queued.read_status().state == ("running" if writes else "queued")
    assert "Traceback" not in "".join(capfd.readouterr())


class Stub(Executor):
    """Two trials at once, which end when they are asked to stop or with the exit code that is given."""

    slots = 2

    def __init__(self, code: int) -> None:
        self.code, self.running, self.stopped = code, list[Path](), False

    def start(self, folder: Path, *, devices: int) -> bool:
        self.running.append(folder)
        return True

    def wait(self, seconds: float) -> list[Ended]:
        last = [self.running.pop()]
        return [Ended(folder, 143 if self.stopped else self.code) for folder in last]

    def stop(self) -> None:
        self.stopped = True

    kill = close = lambda self: None


class Waiting:
    """Trials that wait; see :class:`audio_lightning.sweeps.sources.Source`."""

    def __init__(self, folders: list[TrialFolder]) -> None:
        self.waiting, self.total, self.settled, self.taken = folders, len(folders), Counter[State](), Counter[str]()

    def take(self) -> TrialFolder | None:
        return self.waiting.pop(0) if self.waiting else None

    def on_trial_end(self, folder: TrialFolder, status: TrialStatus) -> None:
        assert status.state not in ("done", "failed")

    def beat(self) -> None:
        pass


@pytest.mark.parametrize("writable", [True, False])
def test_a_sweep_stops_at_a_trial_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], writable: bool
) -> None:
    made = make_sweep(tmp_path / "sweep", [trial(0.5, seed=seed) for seed in range(4)])
    folders = [folder for folder, _ in made.folders()]
    for folder in folders:
        folder.write_status(replace(folder.read_status(), state="running"))
        (folder.path / "config.yaml").write_text("trainer: {devices: 1}\n")
    if not writable:
        monkeypatch.setattr(TrialFolder, "write_status", refuse)
    source, executor = Waiting(folders[:]), Stub(DISK)
    progress = Progress(total=4, settled=Counter(), slots=2, monitor="validation/accuracy")
    with pytest.raises(DiskError) as error:
        TrialRunner(source, executor, progress, retries=3)()
    assert str(error.value) == FULL.format(f"while writing {folders[1].path}")
    assert executor.stopped
    assert len(source.waiting) == 2, "no other is started, and none again"
    expected = ["interrupted" if writable else "running", "running", "running", "running"]
    assert [folder.read_status().state for folder in folders] == expected
    progress.close()
    output = capsys.readouterr().out
    assert output.count("a trial could not be written: stopping") == 1
    assert "\n1 interrupted; 3 left to run (" in output


def test_what_another_process_cannot_write_is_a_line() -> None:
    with pytest.raises(DiskError) as error:
        call(refuse)
    assert str(error.value) == FULL.format("results.csv")


def test_figures_that_cannot_be_written_are_a_line_and_drawn_later(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for path in trained.iterdir():
        if path.is_file() and path.suffix != ".png":
            (run / path.name).write_bytes(path.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        draw([run])
    assert capsys.readouterr().err == f"no plots: {FULL.format(run / 'confusion_matrix.png')}\n"
    assert not [path for path in run.iterdir() if "png" in path.name]
    draw([run])
    assert {path.name for path in run.glob("*.png")} == {"curves.png", "confusion_matrix.png", "reliability.png"}


@pytest.mark.parametrize("most", [pytest.param(1_000, marks=pytest.mark.full), 20_000], ids=["settings", "checkpoints"])
def test_a_sweep_is_resumed_when_the_disk_has_space(tiny_urbansound8k: Path, tmp_path: Path, most: int) -> None:
    """A limit on the size of files stands for a full disk."""
    line = ["seed=0,1", "trainer.max_epochs=1"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    # Python itself would leave halves of its compiled modules.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    process = start(
        "sweep.py", tiny_urbansound8k, tmp_path / "sweep", *line, cwd=tmp_path, preexec_fn=limit, env=environment
    )
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 1, said
    assert "Traceback" not in said, said
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "File too large" in error
    assert error.endswith("; the same command continues")
    found = SweepFolder(tmp_path / "sweep")
    assert {status.state for _, status in found.folders()} <= {"queued", "running", "interrupted"}
    assert not [path for path in found.path.rglob(".*.*") if path.is_file() and path.stat().st_size]
    assert sweep(tiny_urbansound8k, tmp_path / "sweep", *line) == 0
    assert set(states(tmp_path / "sweep").values()) == {"done"}
    assert found.results.is_file()
    assert found.leaderboard.is_file()
    assert found.report.is_file()
