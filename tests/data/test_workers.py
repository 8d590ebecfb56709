"""Numbers of threads follow the available cores, and are shared by simultaneous processes."""

import builtins
import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_lightning.core.cores import at_most_set, cores, share_threads

PACKAGE = Path(__file__).parents[2] / "audio_lightning"


@pytest.fixture
def threads() -> Any:
    """Restore the number of threads of the process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def in_container(patch: pytest.MonkeyPatch, quota: str) -> None:
    """Pretend to be in a container of cgroup v2 on a machine of 64 cores."""
    file, opened, exists = "/sys/fs/cgroup/cpu.max", builtins.open, os.path.exists
    patch.setattr(os, "cpu_count", lambda: 64)
    patch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    patch.setattr(os.path, "exists", lambda path: path == file or exists(path))
    patch.setattr(builtins, "open", lambda path, *a, **k: io.StringIO(quota) if path == file else opened(path, *a, **k))


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 64), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)]
)
def test_a_quota_of_a_container_counts(quota: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    in_container(monkeypatch, quota)
    assert cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to cores here")
def test_cores_that_a_process_is_bound_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert cores() == 1


@pytest.mark.parametrize(("processes", "expected"), [(1, 6), (2, 3), (4, 1), (99, 1)])
def test_processes_side_by_side_have_the_cores_together(
    processes: int, expected: int, monkeypatch: pytest.MonkeyPatch, threads: None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    in_container(monkeypatch, "600000 100000")
    torch.set_num_threads(16)
    assert share_threads(processes) == torch.get_num_threads() == expected


def test_threads_that_the_user_set_are_divided(monkeypatch: pytest.MonkeyPatch, threads: None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    in_container(monkeypatch, "200000 100000")
    torch.set_num_threads(8)
    assert share_threads(2) == 4


@pytest.mark.parametrize(
    ("given", "expected"), [("1", 1), ("3", 3), ("16", 8), ("2,4", 2), (" 2 ", 2), ("", 8), ("0", 8), ("many", 8)]
)
def test_user_threads_are_the_maximum(given: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert at_most_set(8) == expected


def test_cores_are_counted_in_one_place() -> None:
    others = [path for path in PACKAGE.rglob("*.py") if path.name != "cores.py"]
    found = [str(path) for path in others if re.search(r"cpu_count\(|sched_getaffinity", path.read_text("utf-8"))]
    assert found == []
