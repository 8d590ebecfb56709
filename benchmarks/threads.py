"""Cost of waiting threads, on an idle machine and beside another busy process: `python benchmarks/threads.py`.

At the end of a parallel operation, early threads wait for the others. By default they spin for some milliseconds
(300,000 turns). If another process needs a core, a late thread may not be running while the cores are busy spinning.
`OMP_WAIT_POLICY=passive` makes threads sleep immediately, `GOMP_SPINCOUNT=N` after N turns. Both are read when torch is
imported, so every setting has a process of its own.

Each row is a setting: milliseconds of a training step on noise, and in brackets the ratio to 300,000 turns on the idle
machine. Settings are interleaved; the median over the rounds is shown.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

DEFAULT = "spin 300,000"
"""Default of libgomp."""

SETTINGS: dict[str, dict[str, str]] = {
    DEFAULT: {"GOMP_SPINCOUNT": "300000"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},
    "spin 100,000": {"GOMP_SPINCOUNT": "100000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}

MODELS = ("CNN", "LSTM")
CLIPS, PICTURE = 8, (1, 64, 401)


def measure(seconds: float) -> dict[str, list[float]]:
    """Milliseconds of a training step by model, idle and beside a busy process, measured for ``seconds`` each."""
    found: dict[str, list[float]] = {}
    for name in MODELS:
        step = training_step(name)
        step()
        for busy in (False, True):
            with neighbour(busy):
                steps, started = 0, time.perf_counter()
                while steps < 2 or time.perf_counter() - started < seconds:
                    step()
                    steps += 1
                found.setdefault(name, []).append(1000 * (time.perf_counter() - started) / steps)
    return found


def training_step(name: str) -> Callable[[], None]:
    """Return a function that trains a network on one batch of noise."""
    import torch
    from torch.nn import functional

    from audio_lightning import models
    from audio_lightning.core.task import FeatureShape

    network = getattr(models, name)(FeatureShape("spectrogram", PICTURE), 10)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    x, target = torch.randn(CLIPS, *PICTURE), torch.arange(CLIPS) % 10

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(x), target).backward()
        optimizer.step()

    return step


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """Context with another process that keeps one core busy, or without."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each measurement in seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.seconds)))
        return
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--measure", f"--seconds={arguments.seconds}"]
    found: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(arguments.rounds):
        for setting, variables in SETTINGS.items():
            done = subprocess.run(command, env={**plain, **variables}, check=True, stdout=subprocess.PIPE, text=True)
            print(setting, done.stdout.strip(), flush=True)
            for model, values in json.loads(done.stdout).items():
                found.setdefault((model, setting), []).append(values)
    for model in MODELS:
        rows = {setting: [median(values) for values in zip(*found[model, setting])] for setting in SETTINGS}
        print(f"\n{model:14} {'idle':>16} {'busy neighbour':>16}")
        for setting, values in rows.items():
            print(f"{setting:14}" + "".join(f" {value:8.1f} ({value / rows[DEFAULT][0]:5.2f})" for value in values))


if __name__ == "__main__":
    main()
