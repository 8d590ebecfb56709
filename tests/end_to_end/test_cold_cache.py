"""Concurrent training processes with an empty cache."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from audio_lightning.data.store.cache import Cache

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.full


def start(root: Path, folder: Path, cache: Path) -> subprocess.Popen:
    settings = [*tiny.TRAIN_OVERRIDES, "trainer.max_epochs=1", "plots=false"]
    line = [sys.executable, "train.py", "data=urbansound8k", f"data.root={root}", *settings, f"hydra.run.dir={folder}"]
    environment = {**os.environ, "AUDIO_LIGHTNING_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        line, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_concurrent_trainings_decode_once(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path / "data")
    started = [start(root, tmp_path / f"run{number}", tmp_path / "cache") for number in range(3)]
    for process in started:
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0, output
    metrics = [json.loads((tmp_path / f"run{number}/metrics.json").read_text()) for number in range(3)]
    assert len({entry["test/loss"] for entry in metrics}) == 1
    (decoded,) = Cache(tmp_path / "cache").sets()
    assert decoded.about["recordings"] == 36


def test_a_kill_while_decoding_does_not_affect_later_trainings(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path / "data", clips=150)
    cache = Cache(tmp_path / "cache")
    process = start(root, tmp_path / "killed", cache.root)
    while process.poll() is None and not list(cache.folder.glob(".partial-*")):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert cache.sets() == []
    output, _ = (again := start(root, tmp_path / "again", cache.root)).communicate(timeout=180)
    assert again.returncode == 0, output
    assert len(cache.sets()) == 1
    assert not list(cache.folder.glob(".partial-*"))
