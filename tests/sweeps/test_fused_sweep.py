"""Sweeps whose trials are trained together, several in one process."""

import logging
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import pytest
from sweep_folders import make_sweep, trial
from sweeping import arguments, results, states, sweep, trials

from audio_lightning.compare.trials import State, TrialFolder, TrialStatus
from audio_lightning.config import as_plain, compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.executors import executors
from audio_lightning.sweeps.executors.executors import Ended, Executor
from audio_lightning.sweeps.fusion.groups import Groups, group_key
from audio_lightning.sweeps.fusion.trials import attempt_together
from audio_lightning.sweeps.progress import Progress
from audio_lightning.sweeps.runner import TrialRunner
from audio_lightning.sweeps.settings import read_settings
from audio_lightning.sweeps.sources import Listed, Source
from audio_lightning.sweeps.sweep import parse_sweep_args, plan_sweep
from audio_lightning.sweeps.trial import Job, run_trial

FUSED = ["sweep.fuse=8", "sweep.reuse=false"]

VARIED = ["seed=0,1", "optimizer.lr=0.01,1e30", "augment=light"]
"""With the second rate, the loss becomes infinite."""


def key(*lines: str) -> str:
    return group_key(as_plain(compose(["data=demo", "augment=light", *lines])))


@pytest.mark.parametrize(
    "line",
    [
        "seed=3", "optimizer.lr=0.1", "optimizer.weight_decay=0.3", "loss.label_smoothing=0.1",
        "augment.waveform.gain.p=0.9", "augment.waveform.gain.gain_db=[-3.0,3.0]", "data.test_fold=2", "plots=false",
        "data.root=/elsewhere", "data.cache_dir=/elsewhere", "data.num_workers=3", "card.license=mit",
    ],
)  # fmt: skip
def test_trials_that_differ_in_such_values_are_trained_together(line: str) -> None:
    assert key(line) == key()


@pytest.mark.parametrize(
    "line",
    [
        "model.hidden_dim=64", "model.dropout=0.3", "model=dnn", "feature.n_mels=40", "optimizer=sgd",
        "data.batch_size=8", "augment=none", "augment.waveform.shift.fill=roll", "trainer.max_epochs=3",
        "augment.waveform.gain=null", "trainer.precision=bf16-mixed", "logger=none",
    ],
)  # fmt: skip
def test_other_trials_are_not(line: str) -> None:
    assert key(line) != key()


def test_engines_with_a_process_for_each_trial_refuse() -> None:
    with pytest.raises(ConfigError, match=r"sweep\.fuse=2: sweep\.executor=slurm runs one process per trial"):
        read_settings(["sweep.fuse=2", "sweep.executor=slurm"])


@pytest.fixture(scope="module")
def alone(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with a process for each trial. Read only."""
    folder = tmp_path_factory.mktemp("alone") / "sweep"
    assert sweep(tiny_urbansound8k, folder, *VARIED, "sweep.reuse=false") == 1
    return folder


def assert_same(folder: Path, other: Path) -> None:
    """Metrics of the finished trials are the same, up to the rounding of float32."""
    assert states(folder) == states(other)
    found, expected = results(folder), results(other)
    assert found
    for name, values in expected.items():
        # The search for a temperature stops at a tolerance of its own.
        numbers = {key: value for key, value in values.items() if isinstance(value, float) and key != "temperature"}
        assert {key: found[name][key] for key in numbers} == pytest.approx(numbers, rel=1e-4, abs=1e-4), name


def test_a_fused_sweep_has_the_results_of_separate_processes(
    alone: Path, tiny_urbansound8k: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    assert sweep(tiny_urbansound8k, folder, *VARIED, *FUSED) == 1

    assert_same(folder, alone)
    assert set(states(folder).values()) == {"done", "failed"}, "one that fails leaves the others"
    assert len({status.pid for _, status in trials(folder).values()}) == 1
    for name, (found, status) in trials(folder).items():
        log, output = found.log.read_text(), (found.path / "output.txt").read_text()
        epochs = 2 if status.state == "done" else 0
        assert log.count("train/loss") == output.count("train/loss") == epochs, name
        assert "cannot be fused" not in log
        if status.state == "failed":
            assert "the training loss became" in str(status.reason)
            assert status.exit_code not in (0, None)


def run_and_die(job: Job) -> None:
    """Run trials, and end as by ``kill -9`` after the first epoch of all of them."""
    folders = [TrialFolder(path) for path in (job.folder, *job.others)]
    assert len(folders) == 2

    def kill() -> None:
        while not all(folder.last.exists() for folder in folders):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    run_trial(job)


def test_trials_of_a_process_that_was_killed_go_on_together(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    varied = ["seed=0,1", "trainer.max_epochs=15", "sweep.reuse=false"]
    assert sweep(tiny_urbansound8k, tmp_path / "alone", *varied) == 0
    with monkeypatch.context() as patch:
        begin = executors.begin
        patch.setattr(executors, "begin", lambda run, job, **options: begin(run_and_die, job, **options))
        assert sweep(tiny_urbansound8k, tmp_path / "fused", *varied, *FUSED) == 1
    killed = trials(tmp_path / "fused")
    assert all("SIGKILL" in str(status.reason) for _, status in killed.values())
    before = {name: pd.read_csv(found.history)["seconds"][0] for name, (found, _) in killed.items()}

    assert sweep(tiny_urbansound8k, tmp_path / "fused", *varied, *FUSED) == 0
    assert_same(tmp_path / "fused", tmp_path / "alone")
    for name, (found, status) in trials(tmp_path / "fused").items():
        assert status.attempts == 2
        assert pd.read_csv(found.history)["seconds"][0] == before[name], "it was resumed, not begun again"


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing closes the log of a trial but the end of its process."""
    monkeypatch.setattr("audio_lightning.sweeps.trial.RunLog", lambda path: logging.NullHandler())


class TrialPruned(Exception):  # noqa: N818 - it is called as Optuna's
    """Of the same name as what Optuna raises."""


class PruneAfterOneEpoch(pl.Callback):
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        raise TrialPruned


@pytest.mark.usefixtures("in_this_process")
def test_a_trial_that_is_pruned_leaves_the_others(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = parse_sweep_args(arguments(tiny_urbansound8k, tmp_path / "sweep", "seed=0,1,2", *FUSED))
    folders = Listed(request.folder, plan_sweep(request).trials, reuse=False).folders

    def pruning(folder: TrialFolder, status: TrialStatus) -> list[Any]:
        return [PruneAfterOneEpoch()] if folder.path == folders[1].path else []

    monkeypatch.setattr("audio_lightning.sweeps.trial._pruning", pruning)
    first, *others = (folder.path for folder in folders)
    assert attempt_together(Job(first, threads=1, others=tuple(others))) == 0
    assert [folder.read_status().state for folder in folders] == ["done", "pruned", "done"]
    assert [len(folder.read_history()) for folder in (folders[0], folders[2])] == [2, 2]


@pytest.mark.usefixtures("in_this_process")
def test_a_trial_that_takes_too_long_leaves_the_others(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    request = parse_sweep_args(arguments(tiny_urbansound8k, tmp_path / "sweep", "seed=0,1", *FUSED))
    folders = Listed(request.folder, plan_sweep(request).trials, reuse=False).folders
    first, *others = (folder.path for folder in folders)
    assert attempt_together(Job(first, threads=1, others=tuple(others), timeout=1e-4)) == 2
    assert {folder.read_status().reason for folder in folders} == {"ended after sweep.timeout=0.0001 seconds"}


def test_a_dry_run_says_how_many_groups_there_are(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["seed=0,1,2", "model=cnn,alexnet", "data.clip_seconds=1.0", "sweep.fuse=2", "sweep.dry_run=true"]
    words = [
        word for word in arguments(tiny_urbansound8k, tmp_path / "sweep") if not word.startswith(("model.", "feat"))
    ]
    from audio_lightning.cli.sweep import main

    assert main([*words, *lines]) == 0
    assert "sweep.fuse=2: 4 groups of 2, 1, 2, 1 trials" in capsys.readouterr().out


class Stub(Executor):
    """Groups that end with the exit codes that are given, after every trial got the state that is given."""

    slots = 1

    def __init__(self, ends: list[tuple[int, list[State]]]) -> None:
        self.ends, self.started = ends, list[list[Path]]()

    def start(self, folder: Path, *, devices: int) -> bool:
        return self.start_together([folder])

    def start_together(self, folders: Any) -> bool:
        self.started.append(list(folders))
        return True

    def wait(self, seconds: float) -> list[Ended]:
        code, found = self.ends.pop(0)
        for path, state in zip(self.started[-1], found, strict=True):
            folder = TrialFolder(path)
            folder.write_status(replace(folder.read_status(), state=state))
        return [Ended(self.started[-1][0], code)]

    stop = kill = close = lambda self: None


class Three(Source):
    def __init__(self, folders: list[TrialFolder]) -> None:
        self.waiting, self.total, self.settled, self.taken = folders, 3, Counter[State](), Counter[str]()

    def take(self) -> TrialFolder | None:
        return self.waiting.pop(0) if self.waiting else None


@pytest.mark.parametrize(
    ("ends", "groups"),
    [
        ([(0, ["done", "failed", "done"]), (0, ["done"])], [[0, 1, 2], [1]]),
        ([(-9, ["running", "running", "done"]), (0, ["done", "done"])], [[0, 1, 2], [0, 1]]),
        ([(-9, ["running", "failed", "queued"]), (0, ["done"] * 3)], [[0, 1, 2], [0, 1, 2]]),
    ],
)
def test_trials_are_started_again_alone_or_after_the_death_of_a_process_together(
    ends: list[tuple[int, list[State]]], groups: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_sweep(tmp_path / "sweep", [trial(0.5, seed=seed) for seed in range(3)])
    folders = [folder for folder, _ in made.folders()]
    for folder in folders:
        folder.write_status(replace(folder.read_status(), state="queued"))
        (folder.path / "config.yaml").write_text("trainer: {devices: 1}\n")
    monkeypatch.setattr("audio_lightning.sweeps.fusion.groups.group_key", lambda config: "")
    monkeypatch.setattr("audio_lightning.sweeps.fusion.groups.call", lambda function, configs: [None])
    source, executor = Three(folders[:]), Stub(ends)
    progress = Progress(total=3, settled=Counter(), slots=1, monitor="validation/accuracy")
    outcome = TrialRunner(source, executor, progress, retries=1, groups=Groups(source, 3))()
    assert outcome.states == {"done": 3}
    paths = [folder.path for folder in folders]
    assert [[paths.index(path) for path in group] for group in executor.started] == groups
