"""A sweep on a Ray cluster of two machines that loses one."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_executor_contract import SWEEP, all_gone

from audio_lightning.compare.trials import SweepFolder, TrialStatus

pytestmark = pytest.mark.full

SECONDS = 900.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator["object"]:
    """Two nodes with a CPU each, both on this machine; nothing of it is left when the test is over."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 1024**2, "include_dashboard": False}
    before = set(descendants(os.getpid()))  # of other tests, such as the process that trials are forked from
    cluster = Cluster(initialize_head=True, head_node_args=node)
    processes: list[int] = []
    try:
        cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        processes = [pid for pid in descendants(os.getpid()) if pid not in before]
        cluster.shutdown()
    assert all_gone(processes)


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and their descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = children.get(pid, [])
    for child in found:  # which grows meanwhile
        found.extend(children.get(child, []))
    return found


def statuses(sweep: SweepFolder) -> list[TrialStatus]:
    return [status for _, status in sweep.folders()] if sweep.trials.is_dir() else []


def test_trials_of_a_lost_machine_are_done_elsewhere(cluster, tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "x")
    given = ["data=demo", "model=cnn,lstm", "seed=0,1,2", "feature=mfcc", "trainer.max_epochs=1"]
    given += ["data.sample_rate=8000", "sweep.executor=ray", f"sweep.ray.address={cluster.address}", "sweep.ray.cpus=1"]
    given += ["sweep.retries=2", f"sweep.dir={sweep.path}"]
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen([sys.executable, str(SWEEP), *given], cwd=tmp_path, stdout=output, stderr=output)
    try:
        until = time.monotonic() + SECONDS
        while sum(status.state == "running" for status in statuses(sweep)) < 2:
            assert process.poll() is None, (tmp_path / "output.txt").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        (lost,) = cluster.worker_nodes
        cluster.remove_node(lost, allow_graceful=False)
        assert process.wait(SECONDS) == 0, (tmp_path / "output.txt").read_text()
    finally:
        process.kill()
        process.wait()
    found = statuses(sweep)
    assert [status.state for status in found] == ["done"] * 6
    assert sorted(status.attempts for status in found) == [1, 1, 1, 1, 1, 2], "one trial was lost, and begun again"
    assert len({status.hash for status in found}) == 6
