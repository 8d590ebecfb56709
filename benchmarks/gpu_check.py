"""Checks of everything that can only be tested on a GPU: `python benchmarks/gpu.py --check`.

Trainings in float32, bfloat16 and float16, compiled, with DDP on all visible devices, with resident data, killed and
resumed; the throughput compared with the network alone, the memory from epoch to epoch, and a sweep with two trials a
GPU. Each check runs the user's commands, in processes of their own, on generated recordings. The last line is the
verdict. Without a GPU the same checks run on the CPU as a rehearsal, without a verdict.
"""

import csv
import functools
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LEARNED = 0.8
"""Minimum validation accuracy on the generated words; chance is 1 in 35."""
PRECISION_COSTS = 0.05
"""Maximum loss of accuracy by another precision or compilation: about three standard errors of 700 clips at 0.9."""
EQUAL = 1e-5
"""Maximum difference of losses that count as equal: without deterministic kernels, the order of summation varies."""
RATE_OF_THE_NETWORK = 0.7
"""Minimum rate of a training in clips per second, as a fraction of that of the network alone."""
GROWTH_MB = 8.0
"""Maximum growth of memory after the second epoch, in megabytes."""
TIMEOUT = 240
"""Timeout of a program in seconds, so that a hang counts as a failure and leaves time for the other checks."""
NO_VERDICT = 3
"""Exit code without a GPU: neither passed nor failed."""


class CheckError(Exception):
    """The result of a check is not the expected one; the message contains both."""


@dataclass
class Outcome:
    """Result of one check."""

    name: str
    state: str
    detail: str
    seconds: float


@dataclass
class Bench:
    """Environment of the checks.

    Attributes:
        root: folder for the recordings and all runs.
        gpu: whether there is a GPU to check.
        clips: number of generated recordings.
        epochs: epochs of a training.
        outcomes: results so far.
    """

    root: Path
    gpu: bool
    clips: int
    epochs: int
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def common(self) -> list[str]:
        return [
            "data=folder", f"data.root={self.root / 'sounds'}", "data.clip_seconds=1.0", "data.sample_rate=16000",
            f"data.batch_size={128 if self.gpu else 32}", "feature=logmel", "model=cnn", "seed=0", "plots=false",
            f"data.cache_dir={self.root / 'cache'}", f"trainer={'gpu' if self.gpu else 'cpu'}",
            f"trainer.max_epochs={self.epochs}",
        ]  # fmt: skip

    def program(self, *arguments: str, **environment: str) -> str:
        """Run a program of the repository, and return its output.

        Raises:
            CheckError: it failed, or timed out.
        """
        try:
            done = subprocess.run(
                [sys.executable, *arguments], cwd=REPOSITORY, env=self.environment | environment, timeout=TIMEOUT,
                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise CheckError(f"{' '.join(arguments[:2])} did not end within {TIMEOUT} s") from error
        if done.returncode:
            raise CheckError(f"exit code {done.returncode}: " + " | ".join(done.stdout.strip().splitlines()[-3:]))
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "PYTHONPATH": path, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

    def run(self, name: str, *overrides: str) -> Path:
        """Return the folder of a training, which runs once."""
        folder = self.root / "runs" / name
        if not (folder / "metrics.json").exists():
            self.program("train.py", *self.common, *overrides, f"hydra.run.dir={folder}")
        return folder


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def losses(folder: Path) -> list[float]:
    """Training and validation loss of every epoch."""
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file) for name in ("train/loss", "validation/loss")]


def accuracy(folder: Path) -> float:
    return float(metrics(folder)["validation/accuracy"])


def require(holds: bool, found: str) -> str:
    """Return ``found`` if a condition holds.

    Raises:
        CheckError: it does not.
    """
    if not holds:
        raise CheckError(found)
    return found


def check_float32(bench: Bench) -> str:
    found = accuracy(bench.run("float32"))
    return require(found >= LEARNED, f"validation accuracy {found:.3f}, expected {LEARNED} or more")


def check_precision(bench: Bench, name: str, *overrides: str) -> str:
    reference, found = accuracy(bench.run("float32")), accuracy(bench.run(name, *overrides))
    detail = f"validation accuracy {found:.3f}, {reference:.3f} in float32; at most {PRECISION_COSTS} lower is expected"
    return require(found >= reference - PRECISION_COSTS, detail)


def check_compile(bench: Bench) -> str:
    detail = check_precision(bench, "compiled", "trainer.precision=bf16-mixed", "compile=true")
    listing = "import sys, torch; print(*torch.load(sys.argv[1], weights_only=True, map_location='cpu')['state_dict'])"
    names = bench.program("-c", listing, str(bench.run("compiled") / "checkpoints" / "best.ckpt"))
    return require("_orig_mod" not in names, f"{detail}; parameters keep their names in the checkpoint")


def check_ddp(bench: Bench) -> str:
    """Check that evaluation on all devices equals that on one, clip by clip."""
    trainer = ["trainer=ddp"] if bench.gpu else ["trainer=ddp_sim"]
    folder = bench.run("ddp", *trainer, f"trainer.max_epochs={bench.epochs}")
    count = device_count(bench) if bench.gpu else 2
    together = metrics(folder)
    alone = json.loads(bench.program("-m", "audio_lightning", "evaluate", str(folder), "--json"))
    names = ("test/accuracy", "test/loss")
    difference = max(abs(float(together[name]) - float(alone[name])) for name in names)
    return require(
        difference <= 1e-4,
        f"world size {count}: test accuracy {together['test/accuracy']:.4f}, evaluated alone on the CPU "
        f"{alone['test/accuracy']:.4f}; accuracy and loss differ by at most {difference:.1e}, 1e-4 is allowed",
    )


def device_count(bench: Bench) -> int:
    return int(bench.program("-c", "import torch; print(torch.cuda.device_count())"))


def check_resident(bench: Bench) -> str:
    """Check that the location of training clips changes the speed only."""
    one, other = (losses(bench.run(f"resident-{value}", f"data.resident={value}")) for value in ("true", "false"))
    difference = max(abs(a - b) for a, b in zip(one, other, strict=True))
    return require(
        difference <= EQUAL,
        f"losses of {len(one) // 2} epochs differ by at most {difference:.1e} between resident and loaded clips, "
        f"at most {EQUAL:.0e} expected",
    )


def check_resume(bench: Bench) -> str:
    """Check that a training that is killed and resumed equals an uninterrupted one."""
    whole = losses(bench.run("float32"))
    folder = bench.root / "runs" / "killed"
    with (bench.root / "killed.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "train.py", *bench.common, f"hydra.run.dir={folder}"],
            cwd=REPOSITORY, env=bench.environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        history, deadline = folder / "history.csv", time.monotonic() + TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            if history.exists() and len(history.read_text(encoding="utf-8").splitlines()) > 2:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    require((folder / "checkpoints" / "last.ckpt").exists(), "the training left no checkpoint before it was killed")
    require(not (folder / "metrics.json").exists(), "the training ended before it was killed; use more clips")
    bench.program("train.py", f"resume={folder}")
    resumed = losses(folder)
    difference = max(abs(a - b) for a, b in zip(whole, resumed, strict=True))
    return require(
        difference <= EQUAL,
        f"killed with -9 after two epochs and resumed: losses of {len(whole) // 2} epochs differ by at most "
        f"{difference:.1e}, at most {EQUAL:.0e} expected",
    )


MEMORY = """
import contextlib, io, json, sys
from pathlib import Path
import lightning.pytorch as pl, torch
from audio_lightning.config import check_config, compose
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.run import train

class Memory(pl.Callback):
    allocated = []
    def on_train_epoch_end(self, trainer, module):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.allocated.append(torch.cuda.memory_allocated() / 2**20)

config = compose(sys.argv[2:])
check_config(config)
with contextlib.redirect_stdout(io.StringIO()):
    train(config, RunFolder(Path(sys.argv[1])), callbacks=[Memory()])
peak = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
print(json.dumps({"allocated": Memory.allocated, "peak": peak}))
"""


def check_memory(bench: Bench) -> str:
    output = bench.program("-c", MEMORY, str(bench.root / "runs" / "memory"), *bench.common)
    found = json.loads(output.strip().splitlines()[-1])
    if not bench.gpu:
        return "memory is not measured on a CPU"
    growth = max(found["allocated"][2:]) - found["allocated"][1]
    return require(
        growth <= GROWTH_MB,
        f"peak {found['peak']:.0f} MB; {growth:+.1f} MB after the second epoch, at most {GROWTH_MB:g} expected",
    )


def check_throughput(bench: Bench) -> str:
    file = bench.root / "rates.json"
    sizes = ["--clips", str(bench.clips), "--batches", "100" if bench.gpu else "4"]
    models = ["--models", "resnet" if bench.gpu else "cnn", "--ways", "bf16" if bench.gpu else "fp32"]
    bench.program("benchmarks/gpu.py", *sizes, *models, "--no-accuracy", "--json", str(file))
    results = json.loads(file.read_text(encoding="utf-8"))
    (name, rates), *_ = [(name, value) for name, value in results.items() if isinstance(value, dict)]
    share = rates["ours"] / rates["network"]
    return require(
        share >= RATE_OF_THE_NETWORK,
        f"{name}: {rates['ours']:,.0f} clips/s, the network alone {rates['network']:,.0f}, a DataLoader "
        f"{rates['loader']:,.0f}; {share:.2f} of the network, at least {RATE_OF_THE_NETWORK} expected",
    )


def check_sweep(bench: Bench) -> str:
    folder = bench.root / "runs" / "sweep"
    slots = ["sweep.trials_per_gpu=2"] if bench.gpu else ["sweep.workers=2"]
    started = time.perf_counter()
    axes = ["seed=1,2", "optimizer.lr=1e-3,3e-4"]
    bench.program(
        "sweep.py", *[entry for entry in bench.common if entry != "seed=0"], *axes, *slots, f"sweep.dir={folder}"
    )
    seconds = time.perf_counter() - started
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        states = [row["state"] for row in csv.DictReader(file)]
    return require(states == ["done"] * 4, f"4 trials, two at once: {', '.join(states)}; {seconds:.0f} s")


CHECKS: dict[str, Callable[[Bench], str]] = {
    "float32": check_float32,
    "bfloat16": lambda bench: check_precision(bench, "bfloat16", "trainer.precision=bf16-mixed"),
    "float16": lambda bench: check_precision(bench, "float16", "trainer.precision=16-mixed"),
    "compile": check_compile,
    "ddp": check_ddp,
    "resident data": check_resident,
    "throughput": check_throughput,
    "memory": check_memory,
    "resume": check_resume,
    "sweep": check_sweep,
}


def check(clips: int | None = None, epochs: int = 6, only: str | None = None, file: Path | None = None) -> int:
    """Run the checks; print a line for each, and the verdict.

    Args:
        clips: number of generated recordings of 1 s; None for 7,000 on a GPU and 350 on a CPU.
        epochs: epochs of a training.
        only: names of checks, separated by commas; None for all.
        file: path of a JSON file for the results.

    Returns:
        Exit code: 0 if all passed, 1 if one failed, :data:`NO_VERDICT` without a GPU.
    """
    if lacking := missing_packages():
        print(f"this interpreter lacks {', '.join(lacking)}; see the documentation on GPUs")
        return NO_VERDICT
    import torch
    from gpu_rates import generate

    gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if gpu else f"no GPU; {platform.machine()}, {os.cpu_count()} cores"
    print(f"{name}; Python {platform.python_version()}, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), gpu, clips or (7_000 if gpu else 350), epochs)
        generate(bench.root / "sounds", bench.clips)
        for title, function in CHECKS.items():
            if only is None or title in only.split(","):
                bench.outcomes.append(attempt(title, function, bench))
    failed = [outcome.name for outcome in bench.outcomes if outcome.state == "failed"]
    verdict = f"failed: {', '.join(failed)}" if failed else "passed"
    if not gpu:
        verdict = f"none: there is no GPU here, and this was a rehearsal ({verdict})"
    print(f"verdict: {verdict}; {sum(outcome.seconds for outcome in bench.outcomes):.0f} s")
    if file:
        found = {"device": name, "verdict": verdict, "checks": [asdict(outcome) for outcome in bench.outcomes]}
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return NO_VERDICT if not gpu else int(bool(failed))


def attempt(title: str, function: Callable[[Bench], str], bench: Bench) -> Outcome:
    """Run one check, and print its line."""
    started = time.perf_counter()
    try:
        state, detail = "passed", function(bench)
    except (CheckError, OSError, ValueError, KeyError) as error:
        state, detail = "failed", f"{error}" if isinstance(error, CheckError) else f"{type(error).__name__}: {error}"
    outcome = Outcome(title, state, detail, round(time.perf_counter() - started, 1))
    print(f"{title:<14} {state:<7} {outcome.seconds:>6.1f} s  {detail}", flush=True)
    return outcome


@functools.cache
def missing_packages() -> list[str]:
    """Packages that train.py imports and this interpreter lacks, by their names in the package index."""
    modules = {
        "hydra-core": "hydra", "omegaconf": "omegaconf", "antlr4-python3-runtime": "antlr4", "lightning": "lightning",
        "torch": "torch", "torchaudio": "torchaudio", "torchmetrics": "torchmetrics", "soundfile": "soundfile",
        "soxr": "soxr", "pandas": "pandas", "scipy": "scipy", "matplotlib": "matplotlib", "rich": "rich",
        "typer": "typer", "platformdirs": "platformdirs", "filelock": "filelock", "jinja2": "jinja2",
        "jaxtyping": "jaxtyping", "joblib": "joblib",
    }  # fmt: skip
    return [name for name, module in modules.items() if find_spec(module) is None]
