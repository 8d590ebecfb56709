"""Training processes started by torchrun or Slurm, on one machine and on two simulated hosts."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import tiny
from running import run

from audio_lightning.core.errors import ConfigError
from audio_lightning.distributed.hosts import _choose_interface
from audio_lightning.distributed.ranks import RankError
from audio_lightning.inference.evaluate import evaluate

PROJECT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
OPTIONS = [*tiny.TRAIN_OVERRIDES, "trainer=ddp_sim", "data.batch_size=5", "trainer.max_epochs=3", "plots=false"]
TRAIN_CLIPS = 24
FIRST, SECOND = "10.77.0.1", "10.77.0.2"


def training(data: Path, folder: Path, *more: str) -> list[str]:
    arguments = ["data=urbansound8k", f"data.root={data}", *OPTIONS, f"hydra.run.dir={folder}", *more]
    return [str(PROJECT / "train.py"), *arguments]


def metrics(folder: Path) -> dict[str, float]:
    """Metrics that do not depend on the clock."""
    found = json.loads((folder / "metrics.json").read_text())
    return {name: value for name, value in found.items() if "second" not in name}


def check_evaluation(folder: Path, output: Path) -> None:
    """Test and validation are what one process alone makes of the same checkpoint."""
    evaluate(folder, [], output=output)
    alone, together = (json.loads((path / "metrics.json").read_text()) for path in (output, folder))
    assert alone.pop("num_train_overlap") == 0
    assert alone.pop("warnings") in together["warnings"].replace("validation 4, ", "")  # it knows the test part alone
    for name in alone:
        assert together[name] == pytest.approx(alone[name], abs=1e-6), name
    found, expected = (pd.read_csv(path / "predictions.csv") for path in (folder, output))
    pd.testing.assert_frame_equal(found, expected, atol=1e-6)
    config = ["data.split=folds", f"data.test_fold={together['validation_fold']}"]
    validated = evaluate(folder, config).metrics
    best = pd.read_csv(folder / "history.csv").set_index("epoch").loc[together["best_epoch"]]
    for name in ("accuracy", "f1_macro", "loss"):
        assert best[f"validation/{name}"] == pytest.approx(validated[f"test/{name}"], abs=1e-6)


def check_files(folder: Path) -> None:
    """One process wrote them, and counted every clip once an epoch."""
    history = pd.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    assert list(history["step"]) == [3, 6, 9]  # 24 clips in steps of 2 x 5: two of 10, and one of 4
    hits = history["train/accuracy"] * TRAIN_CLIPS
    assert hits.to_numpy() == pytest.approx(hits.round().to_numpy()), "not all clips were counted, or not once"
    steps = pd.read_csv(folder / "steps.csv")
    assert not steps.duplicated(["step", "name"]).any(), "more than one process logged"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [".hydra", ".lock", "checkpoints", "config.yaml", "environment.json", "history.csv", "metrics.json",
         "per_class.csv", "predictions.csv", "steps.csv", "train.log"]
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_urbansound8k(tmp_path_factory.mktemp("data"), clips=4)


@pytest.fixture(scope="module")
def own(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of the same training, with processes that the first one started."""
    folder = tmp_path_factory.mktemp("own") / "run"
    run(data, folder, *OPTIONS[len(tiny.TRAIN_OVERRIDES) :])
    return folder


@pytest.mark.parametrize("started", [{"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "1"}, {"SLURM_STEP_NUM_TASKS": "2"}])
def test_processes_without_devices_are_refused(
    started: dict[str, str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"2 processes were started, and each would train alone in .*trainer=ddp"):
        run(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="interfaces are asked for their addresses as on Linux")
def test_gloo_uses_the_interface_that_leads_to_the_first_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "mine")
    _choose_interface("127.0.0.1", 1)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "mine"
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    _choose_interface("127.0.0.1", 1)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"


def test_a_missing_first_process_is_one_line(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audio_lightning.distributed.hosts.SECONDS_TO_MEET", 2.0)
    port = free_port()
    started = {"WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1, "TORCHELASTIC_RUN_ID": 1, "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**started, "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    # The trainer writes down that this process is not the first one, and later tests would log nothing.
    monkeypatch.setattr("lightning.fabric.utilities.rank_zero.rank_zero_only.rank", 0)
    with pytest.raises(RankError, match=f"process 1 of 2 on .* cannot reach the first at 127.0.0.1:{port}; see"):
        run(data, tmp_path / "run", "trainer=ddp_sim")


@pytest.mark.full
def test_torchrun_equals_processes_of_our_own(data: Path, own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [*TORCHRUN, "--standalone", "--nproc-per-node=2", *training(data, folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder: ") == 1
    check_files(folder)
    assert metrics(folder) == pytest.approx(metrics(own), abs=1e-6)
    check_evaluation(folder, tmp_path / "alone")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def slurm(rank: int, port: int) -> dict[str, str]:
    """Variables that srun --nodes=1 --ntasks-per-node=2 sets for each process."""
    return {
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NAME": "train",
        "SLURM_NNODES": "1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODELIST": "localhost",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "MASTER_PORT": str(port),  # by itself the job's number would say it
    }


@pytest.mark.full
def test_slurm_equals_processes_of_our_own(data: Path, own: Path, tmp_path: Path) -> None:
    folder, port = tmp_path / "run", free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, *training(data, folder)],
            env={**os.environ, **slurm(rank, port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said[1][0] == "", "the second one must be quiet"
    check_files(folder)
    assert metrics(folder) == pytest.approx(metrics(own), abs=1e-6)


@dataclass
class Hosts:
    """Two network namespaces, which see nothing of this machine's network and each other by a cable between them."""

    names: tuple[str, str]
    logs: Path

    def start(
        self, host: int, command: list[str], environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        torchrun = ["--nnodes=2", f"--node-rank={host}", f"--master-addr={FIRST}", "--master-port=29500"]
        with self.log(host).open("wb") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.names[host], *TORCHRUN, *torchrun, "--nproc-per-node=1", *command],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log(self, host: int) -> Path:
        return self.logs / f"host{host}.log"

    def processes(self, host: int) -> list[int]:
        return [int(pid) for pid in ip("netns", "pids", self.names[host]).split()]

    def kill(self, host: int) -> None:
        """Kill all processes of a host, as a power loss does."""
        for pid in self.processes(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if not shutil.which("ip"):
        pytest.skip("needs the command ip (iproute2)")
    names = (f"al{os.getpid()}a", f"al{os.getpid()}b")
    made = Hosts(names, tmp_path)
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", "cable0", "netns", names[0], "type", "veth", "peer", "name", "cable1", "netns", names[1])
            for number, (name, address) in enumerate(zip(names, (FIRST, SECOND))):
                ip("-n", name, "addr", "add", f"{address}/24", "dev", f"cable{number}")
                for link in ("lo", f"cable{number}"):
                    ip("-n", name, "link", "set", link, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        yield made
    finally:
        for host, name in enumerate(names):
            with contextlib.suppress(subprocess.CalledProcessError):
                made.kill(host)
                ip("netns", "del", name)


TWO_HOSTS = ["trainer.devices=1", "trainer.num_nodes=2"]


@pytest.mark.full
def test_two_hosts_train_as_one(hosts: Hosts, data: Path, own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    caches = [{"AUDIO_LIGHTNING_CACHE": str(tmp_path / f"cache{host}")} for host in range(2)]
    processes = [hosts.start(host, training(data, folder, *TWO_HOSTS), caches[host]) for host in range(2)]
    for host, process in enumerate(processes):
        assert process.wait(timeout=240) == 0, hosts.log(host).read_text()
    assert hosts.log(0).read_text().count("run folder: ") == 1
    assert "epoch" not in hosts.log(1).read_text()
    for cache in caches:  # each has decoded for itself, once
        assert len(list(Path(cache["AUDIO_LIGHTNING_CACHE"]).glob("decoded/[!.]*"))) == 1
    check_files(folder)
    assert metrics(folder) == pytest.approx(metrics(own), abs=1e-6)
    check_evaluation(folder, tmp_path / "alone")


def wait_for(path: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while not path.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.full
@pytest.mark.parametrize("killed", [0, 1])
def test_a_host_that_dies_ends_the_other(hosts: Hosts, data: Path, tmp_path: Path, killed: int) -> None:
    folder = tmp_path / "run"
    command = training(data, folder, *TWO_HOSTS, "trainer.max_epochs=100000", "scheduler=none")
    processes = [hosts.start(host, command) for host in range(2)]
    wait_for(folder / "checkpoints/last.ckpt", processes[0], hosts.log(0))
    hosts.kill(killed)
    began = time.monotonic()
    assert processes[1 - killed].wait(timeout=60) == 1
    print(f"ended {time.monotonic() - began:.1f} s after the other")
    processes[killed].wait(timeout=10)
    assert hosts.processes(1 - killed) == []
    said = hosts.log(1 - killed).read_text()
    assert f"resume={folder}" in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "has ended; resume with the same command" in line
    assert not (folder / "metrics.json").exists()


@pytest.mark.full
def test_a_host_without_the_data_ends_both(hosts: Hosts, data: Path, tmp_path: Path) -> None:
    missing = tiny.write_urbansound8k(tmp_path / "data", clips=4)
    (missing / "audio/fold1").rename(tmp_path / "elsewhere")
    folder = tmp_path / "run"
    processes = [hosts.start(host, training(root, folder, *TWO_HOSTS)) for host, root in enumerate((data, missing))]
    for process in processes:
        assert process.wait(timeout=120) == 1  # torchrun's own
    said = hosts.log(0).read_text()
    assert "error: process 1 of 2 on " in said
    assert "ended: " in said
    assert "answering.py" not in said, "a traceback of our own"
    assert not (folder / "history.csv").exists()
