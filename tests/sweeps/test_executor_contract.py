"""Contract of all executors, for trials that succeed, fail or hang."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import Mock

import pytest

from audio_lightning.compare.trials import TrialFolder, TrialStatus
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.executors.executors import Ended, Executor, LocalExecutor, watch
from audio_lightning.sweeps.executors.ray import RayExecutor
from audio_lightning.sweeps.executors.slurm import SlurmExecutor
from audio_lightning.sweeps.runner import TrialRunner
from audio_lightning.sweeps.trial import Job

SECONDS = 180.0
"""Longer than anything here takes on a busy machine."""

SWEEP = Path(__file__).parents[2] / "sweep.py"


def act(job: Job) -> None:
    """Stands for a training: behave as the name of the trial's folder says."""
    folder = TrialFolder(job.folder)
    if folder.path.name == "done":
        folder.write_status(replace(folder.read_status(), state="done"))
    elif folder.path.name == "raises":
        raise RuntimeError("as it was to")
    elif folder.path.name.startswith("gpu"):
        (folder.path / "gpu").write_text(f"{job.gpu} of {job.threads} threads")
    elif folder.path.name == "dies":
        os._exit(9)
    elif folder.path.name == "hangs":
        child = subprocess.Popen(["sleep", "600"])
        (folder.path / "pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    elif folder.path.name == "saves":

        def save(number: int, frame: object) -> None:
            folder.write_status(replace(folder.read_status(), state="interrupted"))
            sys.exit(128 + number)

        signal.signal(signal.SIGTERM, save)
        (folder.path / "pids").write_text(f"{os.getpid()}")
        time.sleep(600)


def needs(package: str) -> None:
    """Skip a test where a package is missing; not by importing it, for Ray reads its settings when that is done."""
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")


def local(path: Path, timeout: float | None) -> Executor:
    return LocalExecutor(workers=2, timeout=timeout, run=act)


def ray(path: Path, timeout: float | None) -> Executor:
    needs("ray")
    return RayExecutor(workers=2, cpus=1, timeout=timeout, run=act)


def slurm(path: Path, timeout: float | None) -> Executor:
    needs("submitit")
    return SlurmExecutor(logs=path / "logs", cluster="local", cpus=1, jobs=2, timeout=timeout, run=act)


Make = Callable[[float | None], Executor]


@pytest.fixture(params=[local, pytest.param(ray, marks=pytest.mark.full), pytest.param(slurm, marks=pytest.mark.full)])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes an executor, which is closed when the test is over."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SWEEP.parent), str(Path(__file__).parent)]))
    made: list[Executor] = []

    def make(timeout: float | None = None) -> Executor:
        made.append(request.param(tmp_path, timeout))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


def trial(path: Path, name: str) -> TrialFolder:
    folder = TrialFolder(path / name)
    folder.path.mkdir()
    folder.write_status(TrialStatus(number=0, hash=name, state="queued", overrides=[], choices={}, groups={}))
    return folder


def reachable(executor: Executor) -> set[str]:
    """Addresses at which the machines of a cluster can be spoken to."""
    return (
        {node["NodeManagerAddress"] for node in sys.modules["ray"].nodes()}
        if "Ray" in type(executor).__name__
        else set()
    )


def ended(executor: Executor, count: int) -> list[Ended]:
    """Wait until a number of trials have ended."""
    until = time.monotonic() + SECONDS
    found: list[Ended] = []
    while len(found) < count:
        found += executor.wait(0.1)
        assert time.monotonic() < until, f"{found} have ended, and no others"
    return found


def pids(executor: Executor, folder: TrialFolder) -> list[int]:
    """Processes of a trial that says which they are."""
    until = time.monotonic() + SECONDS
    while not (folder.path / "pids").is_file() or not (text := (folder.path / "pids").read_text()):
        assert not executor.wait(0.1)
        assert time.monotonic() < until
    return [int(pid) for pid in text.split()]


def all_gone(processes: list[int]) -> bool:
    """Whether the processes end within seconds; one that was not waited for counts as ended."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not any(_runs(pid) for pid in processes):
            return True
        time.sleep(0.05)
    return False


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_trial_ends_by_itself(make: Make, tmp_path: Path) -> None:
    executor = make()
    assert executor.slots == 2
    assert reachable(executor) <= {"127.0.0.1"}
    folders = [trial(tmp_path, name) for name in ("done", "raises", "dies")]
    assert executor.start(folders[0].path, devices=1)
    assert executor.start(folders[1].path, devices=1)
    assert not executor.start(folders[2].path, devices=1), "there are two slots"
    found = ended(executor, 1)
    assert executor.start(folders[2].path, devices=1)
    found += ended(executor, 3 - len(found))  # the first two may end together
    assert {entry.folder.name: entry.exit_code for entry in found} == {"done": 0, "raises": 1, "dies": 9}
    assert {entry.reason for entry in found} == {None}
    assert folders[0].read_status().state == "done"
    assert executor.wait(0) == []


def test_a_hanging_trial_is_killed(make: Make, tmp_path: Path) -> None:
    executor = make(2.0)
    folder = trial(tmp_path, "hangs")
    executor.start(folder.path, devices=1)
    (found,) = ended(executor, 1)
    assert (found.exit_code, found.reason) == (-signal.SIGKILL, "ended after sweep.timeout=2 seconds")
    assert all_gone(pids(executor, folder))


def test_stopped_trials_save(make: Make, tmp_path: Path) -> None:
    executor = make()
    folder = trial(tmp_path, "saves")
    executor.start(folder.path, devices=1)
    processes = pids(executor, folder)
    executor.stop()
    (found,) = ended(executor, 1)
    assert (found.folder, found.reason) == (folder.path, None)
    assert folder.read_status().state == "interrupted"
    assert all_gone(processes)


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background of a script"])
def test_killed_trials_leave_no_processes(make: Make, tmp_path: Path, background: bool) -> None:
    executor = make()
    folder = trial(tmp_path, "hangs")
    interrupts = signal.getsignal(signal.SIGINT)
    if background:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        executor.start(folder.path, devices=1)
    finally:
        signal.signal(signal.SIGINT, interrupts)
    processes = pids(executor, folder)
    executor.kill()
    (found,) = ended(executor, 1)
    assert (found.exit_code, found.reason) == (-signal.SIGKILL, None)
    assert all_gone(processes)


def test_closing_ends_running_trials(make: Make, tmp_path: Path) -> None:
    executor = make()
    folder = trial(tmp_path, "hangs")
    executor.start(folder.path, devices=1)
    processes = pids(executor, folder)
    executor.close()
    assert all_gone(processes)


def test_trials_share_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is needed: the process of a trial sets the GPU that it sees."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SWEEP.parent), str(Path(__file__).parent)]))
    executor = LocalExecutor(workers=1, gpus=2, trials_per_gpu=2, run=act)
    assert executor.slots == 4
    folders = [trial(tmp_path, f"gpu{number}") for number in range(7)]
    first = [executor.start(folder.path, devices=1) for folder in folders[:5]]
    assert first == [True, True, True, True, False], "two GPUs with two trials each"
    found = ended(executor, 4)
    assert executor.start(folders[5].path, devices=3)
    assert not executor.start(folders[6].path, devices=2), "one slot is left"
    assert executor.start(folders[6].path, devices=1)
    found += ended(executor, 2)
    assert {entry.exit_code for entry in found} == {0}
    given = [(folder.path / "gpu").read_text().split()[0] for folder in folders if folder is not folders[4]]
    assert given == ["0", "1", "0", "1", "None", "1"], "one of several devices sees them all"


@pytest.mark.parametrize(("given", "expected"), [("3", 3), (None, 4)])
def test_a_trial_has_no_more_threads_than_the_user_set(
    given: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here, and on a machine of a cluster."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SWEEP.parent), str(Path(__file__).parent)]))
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")
    monkeypatch.setattr("audio_lightning.sweeps.executors.executors.cores", lambda: 8)
    here, there = (trial(tmp_path, name) for name in ("gpu_here", "gpu_there"))
    executor = LocalExecutor(workers=2, run=act)
    executor.start(here.path, devices=1)
    assert [entry.exit_code for entry in ended(executor, 1)] == [0]
    assert watch(act, Job(there.path, threads=4), timeout=SECONDS, stop_on=()) == (0, None)
    assert os.environ["OMP_NUM_THREADS"] == str(expected)
    assert [(folder.path / "gpu").read_text() for folder in (here, there)] == [f"None of {expected} threads"] * 2


@pytest.mark.full
@pytest.mark.parametrize("make", [ray, slurm], indirect=True)
def test_a_machine_without_the_folder_says_so(make: Make, tmp_path: Path) -> None:
    executor = make()
    executor.start(tmp_path / "elsewhere", devices=1)
    (found,) = ended(executor, 1)
    assert found.reason is not None
    assert f"{tmp_path / 'elsewhere'} does not exist on " in found.reason
    assert "; put sweep.dir on a file system" in found.reason


@pytest.mark.full
@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_a_sweep(engine: str, tmp_path: Path) -> None:
    needs({"ray": "ray", "slurm": "submitit"}[engine])
    given = ["data=demo", "model=cnn,lstm", "feature=mfcc", "trainer.max_epochs=1", "data.sample_rate=8000"]
    own = ["sweep.slurm.cluster=local", "sweep.slurm.cpus=1", "sweep.slurm.jobs=2", f"sweep.dir={tmp_path / 'x'}"]
    command = [sys.executable, str(SWEEP), *given, f"sweep.executor={engine}", *own]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr
    states = [TrialFolder(path.parent).read_status() for path in tmp_path.glob("x/trials/*/status.json")]
    assert [(status.state, status.attempts) for status in states] == [("done", 1)] * 2


def test_invalid_settings_are_errors_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"sweep.slurm.cluster=slrm: expected one of slurm, local"):
        SlurmExecutor(logs=tmp_path, cluster="slrm")
    for name in ("ray", "submitit"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"sweep.executor=ray: .*'audio-lightning\[ray\]'"):
        RayExecutor(workers=1)
    with pytest.raises(ConfigError, match=r"sweep.executor=slurm: .*'audio-lightning\[slurm\]'"):
        SlurmExecutor(logs=tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_forkserver_survives_a_signal_to_all_processes_of_the_command(number: signal.Signals) -> None:
    program = f"""
import os, signal
from audio_lightning.sweeps.executors.forkserver import call, forkserver
signal.signal({int(number)}, lambda *_: None)
forkserver()
os.killpg(0, {int(number)})  # while the server starts
print(call(len, "trials"))
os.killpg(0, {int(number)})
print(call(len, "sweep"))
print(call(signal.pthread_sigmask, signal.SIG_BLOCK, []), signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, start_new_session=True, cwd=SWEEP.parent, check=False
    )
    assert (done.stdout, done.stderr) == ("6\n5\nset() set()\n", "")


@pytest.mark.parametrize(("seconds", "killed"), [(0.0, 0), (2.0, 1)], ids=["of timeout", "of an impatient user"])
def test_trials_save_before_a_second_request_kills_them(
    seconds: float, killed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, source = Mock(slots=1), Mock(take=Mock(return_value=None))
    now = time.monotonic()

    def wait(_: float) -> list[Ended]:
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr("audio_lightning.sweeps.runner.time.monotonic", lambda: now + seconds)
        os.kill(os.getpid(), signal.SIGTERM)
        runner._running.clear()
        return []

    executor.wait = wait
    runner = TrialRunner(source, executor, Mock())
    runner._running["trial"] = []
    assert runner().exit_code == 143
    assert (executor.stop.call_count, executor.kill.call_count) == (1, killed)
