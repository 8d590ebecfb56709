"""Freed memory is used again, where the C library can be told so."""

import subprocess
import sys

import pytest

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
