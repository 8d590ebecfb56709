"""The GPU check gives its verdict by what its checks find, and none without a GPU."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from running import run

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_check
    import gpu_rates

    monkeypatch.setattr(gpu_rates, "generate", lambda root, clips: None)
    return gpu_check


def fails(message: str) -> Callable[[object], str]:
    def check(bench: object) -> str:
        import gpu_check

        return gpu_check.require(False, message)

    return check


@pytest.mark.parametrize(
    ("gpu", "broken", "code", "verdict"),
    [
        (True, [], 0, "passed"),
        (True, ["resume"], 1, "failed: resume"),
        (True, ["float16", "sweep"], 1, "failed: float16, sweep"),
        (False, [], 3, "none: there is no GPU here, and this was a rehearsal (passed)"),
        (False, ["sweep"], 3, "none: there is no GPU here, and this was a rehearsal (failed: sweep)"),
    ],
)
def test_the_verdict_follows_from_the_checks(
    gpu: bool, broken: list[str], code: int, verdict: str, gpu_check, monkeypatch, capsys, tmp_path: Path
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    checks = {name: fails("0.1, expected 0.8") if name in broken else (lambda bench: "ok") for name in gpu_check.CHECKS}
    monkeypatch.setattr(gpu_check, "CHECKS", checks)

    assert gpu_check.check(file=tmp_path / "found.json") == code

    found = json.loads((tmp_path / "found.json").read_text())
    assert found["verdict"] == verdict
    assert f"verdict: {verdict}; " in capsys.readouterr().out
    assert {entry["name"] for entry in found["checks"] if entry["state"] == "failed"} == set(broken)


def test_a_missing_package_is_named_before_anything_runs(gpu_check, monkeypatch, capsys) -> None:
    find = gpu_check.find_spec
    monkeypatch.setattr(gpu_check, "find_spec", lambda name: None if name in ("hydra", "soxr") else find(name))
    gpu_check.missing_packages.cache_clear()

    assert gpu_check.check() == 3

    assert "lacks hydra-core, soxr" in capsys.readouterr().out
    gpu_check.missing_packages.cache_clear()


def test_a_program_that_fails_fails_its_check(gpu_check, tmp_path: Path) -> None:
    bench = gpu_check.Bench(tmp_path, False, 1, 1)

    outcome = gpu_check.attempt("float32", lambda bench: bench.program("train.py", "model=resnt"), bench)

    assert outcome.state == "failed"
    assert "resnet" in outcome.detail


@pytest.mark.full
def test_checks_run_on_a_cpu(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    arguments = ["--check", "--clips", "350", "--epochs", "4", "--json", str(file)]
    done = subprocess.run([sys.executable, BENCHMARKS / "gpu.py", *arguments], capture_output=True, text=True)

    assert done.returncode == 3, done.stdout + done.stderr
    states = {entry["name"]: (entry["state"], entry["detail"]) for entry in json.loads(file.read_text())["checks"]}
    # 350 clips teach nothing in four epochs, and two processes on two cores have no rate to speak of.
    states = {name: found for name, found in states.items() if name not in ("float32", "throughput")}
    assert all(state == "passed" for state, _ in states.values()), states


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import xares_encoder

    return xares_encoder.PublishedEncoder


@pytest.mark.parametrize(("name", "rate", "hop"), [("aisfx", 44_100, 186), ("mn04_as", 32_000, 320)])
def test_published_networks_are_xares_encoders(name: str, rate: int, hop: float, encoder) -> None:
    made = encoder(name, pretrained=False)
    assert made.sampling_rate == rate
    assert made.hop_size_in_ms == pytest.approx(hop, rel=0.04)
    sample = torch.randn(2, 50_000)  # what X-ARES itself tries
    assert made(sample).shape == (2, pytest.approx(50_000 / rate * 1000 / hop, abs=1), made.output_dim)


def test_runs_are_xares_encoders(encoder, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    run(tiny_urbansound8k, tmp_path / "run", "trainer.max_epochs=1")
    made = encoder(str(tmp_path / "run"))
    assert (made.sampling_rate, made.hop_size_in_ms) == (8000, 250)
    assert made(torch.randn(2, 5000)).shape == (2, 3, 16)
