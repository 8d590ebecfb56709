"""W&B runs with servers that work, are slow, refuse, do not respond or die."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from running import Killed, kill_at, resume, run
from tiny import TRAIN_OVERRIDES
from wandb_files import Written, read_run, written_runs
from wandb_server import KEY, serving

from audio_lightning.loggers import wandb as training
from audio_lightning.loggers.wandb import WandbLogger
from audio_lightning.loggers.wandb_connectivity import asking

SECONDS = 10.0
"""That the start of a run may take at most, whatever the server does."""


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A made-up key, and no server unless a test names one."""
    wandb.teardown()  # it reads the environment once
    for name, value in environment(tmp_path, "http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    with contextlib.suppress(ConnectionError):  # a test kills it
        wandb.teardown()


def environment(place: Path, url: str) -> dict[str, str]:
    places = {name: str(place / "wandb files") for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")}
    return {**places, "NETRC": str(place / "netrc"), "WANDB_API_KEY": KEY, "WANDB_BASE_URL": url}


def log_two_epochs(folder: Path, between: Callable[[], None] = lambda: None) -> float:
    """Log as a training does, and return how many seconds the start took."""
    logger = WandbLogger(str(folder))
    began = time.perf_counter()
    logger.log_metrics({"train/loss": 2.0, "epoch": 0}, step=1)
    seconds = time.perf_counter() - began
    between()
    logger.log_metrics({"train/loss": 1.0, "epoch": 1}, step=2)
    logger.finish()
    return seconds


def directory_to_send(out: str) -> Path:
    """Return the directory in the printed command."""
    (line,) = re.findall(r"^W&B: kept on this machine; send it with: wandb sync (\S+)$", out, re.MULTILINE)
    return Path(line)


def rows(written: Written) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in written.history]


HISTORY = [{"epoch": 1, "step": 1, "train/loss": 2}, {"epoch": 2, "step": 2, "train/loss": 1}]


def test_a_working_server_receives_everything(
    tmp_path: Path, account: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        assert log_two_epochs(tmp_path / "a") < SECONDS
        log_two_epochs(tmp_path / "b")
        names = {variables["name"] for variables in server.asked("UpsertBucket")}
        assert len(names) == 2  # two runs in one process are two
        assert server.history() == HISTORY * 2
        assert server.exit_codes() == [0, 0]
    out = capsys.readouterr().out
    assert "wandb sync" not in out
    assert out.count(f"{server.url}/owner/audio-lightning/runs/") == 2


@pytest.mark.parametrize(
    ("behaviour", "url", "reason"),
    [
        ({}, "http://127.0.0.1:9", "Connection refused"),
        ({}, "http://no-such-host.invalid", "not known|resolution|resolve"),
        ({"status": 500}, None, "responds with 500"),
        ({"status": 401}, None, "user is not logged in"),
        pytest.param({"silent": True}, None, "did not respond within 3.5 s", marks=pytest.mark.full),
        pytest.param({"silent_for": "UpsertBucket"}, None, "Timed out|deadline", marks=pytest.mark.full),
    ],
    ids=["dead port", "no such name", "500", "wrong key", "silent", "silent later"],
)
def test_an_unusable_server_delays_ten_seconds_at_most_without_loss(
    behaviour: dict[str, Any],
    url: str | None,
    reason: str,
    tmp_path: Path,
    account: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(**behaviour) as server:
        account.setenv("WANDB_BASE_URL", url or server.url)
        assert log_two_epochs(tmp_path) < SECONDS
    out = capsys.readouterr().out
    assert re.search(rf"the server cannot be used \(.*({reason}).*continuing offline", out)
    (written,) = written_runs(tmp_path)
    assert rows(written) == HISTORY
    assert written.exit_code == 0
    assert (directory_to_send(out) / f"run-{written.run.run_id}.wandb").is_file()


@pytest.mark.full
def test_a_slow_server_is_used(tmp_path: Path, account: pytest.MonkeyPatch) -> None:
    with serving(delay=2.0) as server:
        account.setenv("WANDB_BASE_URL", server.url)
        assert log_two_epochs(tmp_path) < SECONDS
        assert server.history() == HISTORY
        assert server.exit_codes() == [0]


@pytest.mark.full
@pytest.mark.parametrize("change", [{"silent": True}, {"status": 500}], ids=str)
def test_unsent_data_are_kept_when_the_server_dies(
    change: dict[str, Any], tmp_path: Path, account: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    account.setattr(training, "SECONDS_TO_END", 4)
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        began = time.perf_counter()
        log_two_epochs(tmp_path, between=lambda: server.__dict__.update(change))
        assert time.perf_counter() - began < SECONDS + 4 + 5
    check_kept(capsys.readouterr().out)


def check_kept(out: str) -> None:
    (path,) = directory_to_send(out).glob("*.wandb")
    written, deadline = read_run(path), time.monotonic() + 10
    while written.exit_code is None and time.monotonic() < deadline:  # wandb's own process is still writing
        time.sleep(0.05)
        written = read_run(path)
    assert rows(written) == HISTORY
    assert written.exit_code == 0


def test_the_end_of_wandb_s_own_process_ends_no_training(
    tmp_path: Path, account: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill() -> None:
        found = subprocess.run(
            ["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True, check=True
        )
        os.kill(int(found.stdout), signal.SIGKILL)
        time.sleep(0.2)

    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        log_two_epochs(tmp_path, between=kill)
    out = capsys.readouterr().out
    assert "W&B: not everything is logged (" in out
    assert "W&B: the run could not be closed" in out
    (path,) = directory_to_send(out).glob("*.wandb")
    assert rows(read_run(path)) in ([], HISTORY[:1])  # what it had not yet written is gone


def test_a_resumed_run_keeps_its_id_and_group(tmp_path: Path, account: pytest.MonkeyPatch) -> None:
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        log_two_epochs(tmp_path)
        log_two_epochs(tmp_path)
        assert {variables["name"] for variables in server.asked("UpsertBucket")} == {identity(tmp_path)}
        (asked,) = server.asked("RunResumeStatus")
        assert asked["name"] == identity(tmp_path)


def identity(folder: Path) -> str:
    return str(json.loads((folder / "wandb/run.json").read_text())["id"])


def test_a_run_that_began_offline_goes_on_online_as_the_second_of_its_group(
    tmp_path: Path, account: pytest.MonkeyPatch
) -> None:
    log_two_epochs(tmp_path)
    first = identity(tmp_path)
    wandb.teardown()
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        log_two_epochs(tmp_path)
        begun, *_ = server.asked("UpsertBucket")
        assert begun["groupName"] == first
        assert begun["name"] != first
        configs = [json.loads(variables["config"]) for variables in server.asked("UpsertBucket")]
        assert any(config.get("continues", {}).get("value") == first for config in configs)


def test_a_silent_server_is_not_waited_for() -> None:
    with serving(silent=True) as server:
        began = time.perf_counter()
        assert "did not respond within 0.2 s" in str(asking(server.url, 0.2)())
        assert time.perf_counter() - began < 1
    with serving(status=404) as server:
        assert asking(server.url, 2.0)() is None


@pytest.mark.full
@pytest.mark.parametrize("change", [{}, {"silent": True}], ids=["works", "dies in the middle"])
def test_a_training_ends_as_it_would_without_wandb(
    change: dict[str, Any],
    trained: Path,
    tiny_urbansound8k: Path,
    tmp_path: Path,
    account: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    account.setattr(training, "SECONDS_TO_END", 4)
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        original = WandbLogger.log_metrics

        def log_metrics(self: WandbLogger, metrics: dict[str, float], step: int | None = None) -> None:
            original(self, metrics, step)
            if metrics.get("epoch") == 1:
                server.__dict__.update(change)

        account.setattr(WandbLogger, "log_metrics", log_metrics)
        found = run(tiny_urbansound8k, tmp_path / "run", "logger=wandb")
        expected = json.loads((trained / "metrics.json").read_text())
        assert {name: found[name] for name in found if name.startswith("test/")} == {
            name: expected[name] for name in expected if name.startswith("test/")
        }
        epochs = [row["epoch"] for row in server.history() if "train/loss" in row]
        assert epochs == [1, 2, 3, 4] if not change else True
    if change:
        (path,) = directory_to_send(capsys.readouterr().out).glob("*.wandb")
        assert [row["epoch"] for row in read_run(path).history if "train/loss" in row] == [1, 2, 3, 4]


@pytest.mark.full
def test_a_crashed_training_is_marked_and_resumed(
    tiny_urbansound8k: Path, tmp_path: Path, account: pytest.MonkeyPatch
) -> None:
    with serving() as server:
        account.setenv("WANDB_BASE_URL", server.url)
        with account.context() as patch:
            kill_at(patch, epoch=1, batch=1)
            with pytest.raises(Killed):
                run(tiny_urbansound8k, tmp_path / "run", "logger=wandb", "trainer.max_epochs=2")
        assert server.exit_codes() == [1]
        resume(tmp_path / "run")
        assert server.exit_codes() == [1, 0]
        assert {variables["name"] for variables in server.asked("UpsertBucket")} == {identity(tmp_path / "run")}
        assert [row["epoch"] for row in server.history() if "train/loss" in row] == [1, 2]


@pytest.mark.full
def test_there_is_no_prompt_at_a_terminal(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    settings = [*TRAIN_OVERRIDES, "trainer.max_epochs=1", "logger=wandb", f"hydra.run.dir={tmp_path / 'run'}"]
    line = [sys.executable, "train.py", "data=urbansound8k", f"data.root={tiny_urbansound8k}", *settings]
    known = {**os.environ, **environment(tmp_path, "http://127.0.0.1:9")}
    known.pop("WANDB_API_KEY")
    out, code = at_a_terminal(line, known, seconds=120)
    assert code == 0, out
    assert "wandb sync" in out
    assert not re.search(r"Enter your choice|paste an API key", out)


def at_a_terminal(line: list[str], environment: dict[str, str], seconds: float) -> tuple[str, int]:
    """Run a command whose input and output are a terminal without a user; its output and exit code."""
    ours, theirs = pty.openpty()
    root = Path(__file__).parents[2]
    process = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=root)
    os.close(theirs)
    found, deadline = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.5)[0]:
                try:
                    found += os.read(ours, 65536)
                except OSError:  # its end of the terminal is closed
                    break
        return found.decode(errors="replace"), process.wait(max(1.0, deadline - time.monotonic()))
    finally:
        process.kill()
        os.close(ours)
