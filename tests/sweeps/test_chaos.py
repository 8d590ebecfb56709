"""Sweeps with misbehaving trials that are killed or started twice: nothing is lost or repeated."""

import os
import random
import signal
import time
from pathlib import Path

import chaos
import pytest
from sweeping import results, start, states, sweep, trials

from audio_lightning.compare.trials import SweepFolder

GOOD = (0, 1, 2, 3)
BAD = (chaos.RAISES, chaos.EXITS, chaos.FILLS_THE_MEMORY, chaos.HANGS)


def alive(folder: Path) -> list[str]:
    """Processes that still run one of the trials of a sweep."""
    marks = [path.name.partition("-")[2] for path in folder.glob("trials/*/alive-*")]
    return [pid for pid in marks if Path(f"/proc/{pid}").exists()]


@pytest.mark.full
def test_a_sweep_survives_its_trials_and_its_own_death(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    good = [f"seed={','.join(map(str, GOOD))}", "trainer.max_epochs=40", "feature=logmel,mfcc", "sweep.reuse=false"]
    assert sweep(tiny_urbansound8k, tmp_path / "undisturbed", *good) == 0
    expected = results(tmp_path / "undisturbed")
    assert len(expected) == len(GOOD)  # mfcc cannot be built with so few bands

    line = [f"seed={','.join(map(str, (*BAD, *GOOD)))}", *good[1:], "sweep.timeout=45"]
    folder = tmp_path / "chaos"
    moments = random.Random(5)
    for _ in range(3):
        with start("tests/sweeps/chaos.py", tiny_urbansound8k, folder, *line, cwd=tmp_path) as process:
            try:
                deadline = time.monotonic() + 180
                while not alive(folder):
                    assert process.poll() is None, process.communicate()[0]
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                time.sleep(moments.uniform(0.0, 8.0))
            finally:
                process.kill()
    output, _ = start("tests/sweeps/chaos.py", tiny_urbansound8k, folder, *line, cwd=tmp_path).communicate(timeout=400)
    assert not list(folder.glob("trials/*/run by two")), output
    assert not alive(folder)
    found = states(folder)
    assert found == {
        f"{seed} {feature}": "skipped" if feature == "mfcc" else "done" if seed in GOOD else "failed"
        for seed in (*BAD, *GOOD)
        for feature in ("logmel", "mfcc")
    }
    assert results(folder) == expected
    reasons = {seed: str(trials(folder)[f"{seed} logmel"][1].reason) for seed in BAD}
    assert reasons[chaos.RAISES] == "RuntimeError: raised on purpose"
    assert reasons[chaos.EXITS] == "its process ended with exit code 9"
    assert "SIGKILL" in reasons[chaos.FILLS_THE_MEMORY]
    assert reasons[chaos.HANGS] == "ended after sweep.timeout=45 seconds"


@pytest.mark.full
def test_two_sweeps_of_one_folder_share_the_work(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = ["seed=0,1,2,3", "trainer.max_epochs=3", "sweep.workers=1"]
    both = [start("tests/sweeps/chaos.py", tiny_urbansound8k, tmp_path / "one", *line, cwd=tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    found = trials(tmp_path / "one")
    assert {name: status.state for name, (_, status) in found.items()} == dict.fromkeys("0123", "done")
    assert [status.number for _, status in found.values()] == [0, 1, 2, 3]
    assert {status.attempts for _, status in found.values()} == {1}
    assert [len(list(folder.path.glob("alive-*"))) for folder, _ in found.values()] == [1, 1, 1, 1]


@pytest.mark.full
def test_two_searches_with_one_study_share_the_work(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = ["sweep=search", "sweep.trials=6", "optimizer.lr=tag(log,interval(1e-3,1e-1))", "trainer.max_epochs=2"]
    line += ["sweep.name=shared", "sweep.workers=1", f"sweep.search.storage=sqlite:///{tmp_path}/study.db"]
    folders = [tmp_path / "first", tmp_path / "second"]
    both = [start("sweep.py", tiny_urbansound8k, folder, *line, cwd=tmp_path) for folder in folders]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    done = [status for folder in folders for _, status in SweepFolder(folder).folders()]
    assert [status.state for status in done] == ["done"] * 6
    numbers = sorted(status.search["number"] for status in done if status.search)
    assert numbers == list(range(6))


@pytest.mark.full
def test_the_second_signal_ends_a_sweep_at_once(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hanging"
    line = [f"seed={chaos.HANGS},0", "sweep.workers=1"]
    process = start("tests/sweeps/chaos.py", tiny_urbansound8k, folder, *line, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not alive(folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert not alive(folder)
    assert (folder / "results.csv").is_file()
    assert states(folder) == {str(chaos.HANGS): "interrupted", "0": "queued"}
