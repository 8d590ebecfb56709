"""How threads wait for each other, which has to be set before torch is imported."""

import os
import subprocess
import sys

import pytest

from audio_lightning.core.cores import SPINS, busy_cores
from audio_lightning.training import setup

IMPORT = """
import os, sys
import audio_lightning
assert "torch" not in sys.modules
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("set_by_user", "found"),
    [({}, str(SPINS)), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_importing_the_package_sets_it_unless_the_user_did(set_by_user: dict[str, str], found: str) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    output = subprocess.check_output([sys.executable, "-c", IMPORT], env={**plain, **set_by_user}, text=True)
    assert output.strip() == found


def test_another_busy_process_is_measured() -> None:
    busy, total = busy_cores(0.01)
    assert 0 <= busy <= total == os.cpu_count()


@pytest.mark.parametrize(
    ("threads", "busy", "advice"),
    [
        (2, 1.1, "OMP_NUM_THREADS=1"),
        (2, 2.0, "OMP_NUM_THREADS=1"),
        (4, 0.7, None),
        (4, 1.0, None),
        (8, 4.6, "OMP_NUM_THREADS=3"),
        (1, 8.0, None),
    ],
)
def test_suggests_fewer_threads_beside_other_processes(
    threads: int, busy: float, advice: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    total = {2: 2, 4: 8, 8: 8, 1: 8}[threads]
    monkeypatch.setattr(setup, "busy_cores", lambda: (busy, total))
    setup._note_busy_cores(threads)
    said = capsys.readouterr().out
    assert advice in said if advice else not said, said
