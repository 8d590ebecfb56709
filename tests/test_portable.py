"""A sample of `make test-portable`: the tests pass on CPUs with fewer instructions."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]

SETTINGS = re.findall(r"^\t(ONEDNN.*) \$\(FAST_SUITE\)", (PROJECT / "Makefile").read_text(), re.MULTILINE)

MODELS = ("cnn", "crnn", "efficientnet", "lstm")

SAMPLE = [
    "tests/classifier/test_autocast.py",
    "tests/features/test_spectral.py",
    *(f"tests/models/test_models.py::test_overfits_a_tiny_batch[{name}]" for name in MODELS),
    "tests/models/test_models.py::test_it_trains_under_bfloat16_autocast[lstm]",
    "tests/training/test_precision.py::test_the_actual_precision_is_written_and_features_stay_float32",
    "tests/training/test_precision.py::test_batches_that_are_accumulated_equal_a_large_one",
]


def environment(settings: str) -> dict[str, str]:
    return {**os.environ, **dict(setting.split("=") for setting in settings.split())}


def test_each_kind_of_cpu_and_number_of_threads_is_there() -> None:
    together = " ".join(SETTINGS)
    for setting in (
        "ONEDNN_MAX_CPU_ISA=AVX2", "ONEDNN_MAX_CPU_ISA=SSE41", "ATEN_CPU_CAPABILITY=default", "OMP_NUM_THREADS=1",
        "OMP_NUM_THREADS=2",
    ):  # fmt: skip
        assert setting in together


@pytest.mark.full
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the settings are those of x86-64")
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_sample_of_the_suite_holds(settings: str) -> None:
    code = "import torch; print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())"
    ran_with = subprocess.check_output([sys.executable, "-c", code], env=environment(settings), text=True).split()
    wanted = environment(settings)
    assert ran_with == [wanted["ATEN_CPU_CAPABILITY"].upper(), wanted["OMP_NUM_THREADS"]]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not full", *SAMPLE],
        cwd=PROJECT, capture_output=True, text=True, check=False, env=environment(settings),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
