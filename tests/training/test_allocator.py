"""Freed memory is used again, where the C library can be told so, and new memory is not filled."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from running import run
from torch.utils import deterministic

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
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is what is told")
def test_a_second_tensor_takes_the_pages_of_the_first() -> None:
    def faults(how: str) -> int:
        result = subprocess.run([sys.executable, "-c", TOUCH, how], capture_output=True, text=True, check=True)
        return int(result.stdout)

    assert faults("kept") < 0.1 * faults("given back")


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
