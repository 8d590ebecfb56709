"""Memory allocator: freed memory is reused, and new memory is not filled."""

import ctypes
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from running import run
from torch.utils import deterministic

from audio_lightning.sweeps.executors.forkserver import begin
from audio_lightning.training import run as run_module

TOUCH = """
import resource, sys
import torch
from audio_lightning.training.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(16_000_000)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_a_second_tensor_takes_the_pages_of_the_first() -> None:
    def faults(how: str) -> int:
        result = subprocess.run([sys.executable, "-c", TOUCH, how], capture_output=True, text=True, check=True)
        return int(result.stdout)

    assert faults("kept") < 0.1 * faults("given back")


def count_arenas(file: Path) -> None:
    """Write the number of glibc's arenas before and after threads that exist at the same time take memory."""
    counts = [arenas(file)]
    barrier = threading.Barrier(12)

    def take() -> None:
        torch.ones(1_000)
        barrier.wait()

    threads = [threading.Thread(target=take) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.append(arenas(file))
    file.write_text(json.dumps(counts))


def arenas(file: Path) -> int:
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(str(file).encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    return file.read_text().count("<heap nr=")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="needs glibc")
def test_threads_take_memory_that_others_freed(tmp_path: Path) -> None:
    counts = {}
    for shared in (True, False):
        file = tmp_path / str(shared)
        begin(count_arenas, file, memory_of_threads=shared).join()
        counts[shared] = json.loads(file.read_text())
    before, after = counts[True]
    assert after == before
    before, after = counts[False]
    assert after > before


@pytest.mark.parametrize(
    "choices",
    [
        ["feature=logmelpcen", "model=panns", "augment=urban"],
        ["feature=fbank", "model=crnn", "augment=strong"],
        ["feature=logmel", "model=cnn", "augment=speech_strong"],
    ],
)
def test_no_memory_is_read_before_something_was_written_there(
    choices: list[str], tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    for filled in (True, False):
        monkeypatch.setattr(deterministic, "fill_uninitialized_memory", True)  # with NaN and the largest of integers
        if filled:
            monkeypatch.setattr(run_module, "leave_new_memory_unfilled", lambda: None)
        run(tiny_urbansound8k, tmp_path / str(filled), *choices, "trainer.max_epochs=2", "scheduler=none")
        assert deterministic.fill_uninitialized_memory == filled
        monkeypatch.undo()
        weights.append(torch.load(tmp_path / str(filled) / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
