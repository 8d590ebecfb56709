"""How cost grows with clips, trials and workers: `python benchmarks/growth.py OUT [--parts clips trials ...]`.

* ``clips``: seconds and memory to read, divide and guard a table of 1,000 to 1,000,000 clips (``manifest.py``).
* ``training``: seconds of an epoch (extrapolated from steps) and of all else, and peak memory, of a training on that
  many clips: stretches of an hour of generated noise, so that the decoded sound stays the same.
* ``trials``: seconds and peak memory of `audio-lightning leaderboard` and of the page of a sweep with 10 to 10,000
  finished trials, each with the predictions of 100 clips.
* ``workers``: trials an hour of a sweep's own process with 1 to 64 workers whose trials only wait, over those of ideal
  workers.

Nothing is measured twice: a row that OUT/growth.csv has is kept. ``OUT/growth.png`` has a curve for each. ``--publish``
writes benchmarks/results/growth.csv, from which the docs have their curves.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np
from publishing import PROJECT, RESULTS, hardware

TABLE = RESULTS / "growth.csv"
CLIPS = (1_000, 10_000, 100_000, 1_000_000)
TRIALS = (10, 100, 1_000, 10_000)
WORKERS = (1, 2, 4, 8, 16, 32, 64)
TRIAL_SECONDS, TRIALS_A_WORKER = 2.0, 5
RATE, HOUR = 8000, 3600

PAGE = """
import sys
from pathlib import Path
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.sweeps.finalize import write_page
write_page(SweepFolder(Path(sys.argv[1])), None)
"""


@dataclass(frozen=True)
class Row:
    """A measurement: seconds, a share or a number of megabytes at a size."""

    part: str
    what: str
    size: int
    value: float
    unit: str


def measure_clips(size: int, folder: Path) -> Iterator[Row]:
    command = [sys.executable, "benchmarks/manifest.py", f"--clips={size}", "--json"]
    found = json.loads(subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout)
    yield Row("clips", "read, divide, guard", size, sum(row["seconds"] for row in found), "s")
    yield Row("clips", "memory", size, sum(row["megabytes"] for row in found), "MB")


def measure_training(size: int, folder: Path) -> Iterator[Row]:
    import soundfile

    file = folder / "noise.wav"
    if not file.exists():
        samples = np.random.default_rng(0).normal(0, 0.1, RATE * HOUR).astype(np.float32)
        soundfile.write(file, samples, RATE)
    table = folder / f"{size}.csv"
    starts = np.random.default_rng(size).choice(RATE * (HOUR - 1), size, replace=False) / RATE
    with table.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(("path", "label", "start", "stop"))
        writer.writerows(
            ("noise.wav", f"class{number % 10}", f"{start:.6f}", f"{start + 0.5:.6f}")
            for number, start in enumerate(starts.tolist())
        )
    steps = min(100, size // 32)
    run = folder / f"run-{size}"
    overrides = [
        "data=table", f"data.root={folder}", f"data.table={table.name}", "data.path_column=path",
        "data.label_column=label", "data.start_column=start", "data.stop_column=stop", "data.split=train_only",
        "data.validation_fraction=0.0", f"data.sample_rate={RATE}", "data.clip_seconds=0.5", "data.hop_seconds=null",
        "data.padding=zero", "model=cnn", "feature=logmel", "feature.window_seconds=0.032", "trainer=cpu",
        f"trainer.limit_train_batches={steps}", "trainer.max_epochs=2", "plots=false", f"hydra.run.dir={run}",
    ]  # fmt: skip
    started = time.perf_counter()
    with (folder / f"{size}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "train.py", *overrides], cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the training on {size} clips failed: see {folder / f'{size}.log'}")
    wall = time.perf_counter() - started
    with (run / "history.csv").open(newline="") as source:
        epochs = [float(row["seconds"]) for row in csv.DictReader(source)]
    yield Row("training", "all but the epochs", size, wall - sum(epochs), "s")
    yield Row("training", "epoch, extrapolated", size, epochs[-1] / steps * (size // 32), "s")
    yield Row("training", "memory", size, used.ru_maxrss / 1024, "MB")


def measure_trials(size: int, folder: Path) -> Iterator[Row]:
    sys.path.insert(0, str(PROJECT / "tests" / "helpers"))
    from sweep_folders import make_sweep, trial, write_predictions

    rng = np.random.default_rng(0)
    setups = [("cnn", "logmel"), ("lstm", "logmel"), ("cnn", "mfcc"), ("lstm", "mfcc")]
    rows = [
        trial(
            float(rng.uniform(0.5, 0.9)), float(rng.uniform(0.5, 0.9)), model=setups[number // 5 % 4][0],
            feature=setups[number // 5 % 4][1], lr=round(1e-3 * 1.001 ** (number // 20), 9), seed=number % 5,
        )
        for number in range(size)
    ]  # fmt: skip
    sweep = make_sweep(folder / f"sweep-{size}", rows)
    for trial_folder, _ in sweep.folders():
        write_predictions(trial_folder, rng.random(100) < 0.7, [f"{place % 40}.wav" for place in range(100)])
    commands = {
        "leaderboard": [sys.executable, "-m", "audio_lightning", "leaderboard", str(sweep.path)],
        "page": [sys.executable, "-c", PAGE, str(sweep.path)],
    }
    for name, command in commands.items():
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed")
        yield Row("trials", name, size, time.perf_counter() - started, "s")
        yield Row("trials", f"memory, {name}", size, used.ru_maxrss / 1024, "MB")


def measure_workers(size: int, folder: Path) -> Iterator[Row]:
    """A sweep of trials that only wait, by the runner of all sweeps; an executor in place of processes."""
    sys.path.insert(0, str(PROJECT / "tests" / "helpers"))
    from dataclasses import replace

    from sweep_folders import make_sweep, trial

    from audio_lightning.compare.trials import TrialFolder
    from audio_lightning.sweeps.executors.executors import Ended, Executor
    from audio_lightning.sweeps.progress import Progress
    from audio_lightning.sweeps.runner import TrialRunner
    from audio_lightning.sweeps.sources import Source

    number = size * TRIALS_A_WORKER
    config = {"trainer": {"devices": "auto"}}
    sweep = make_sweep(folder / f"workers-{size}", [trial(0.8, 0.8, seed=one, config=config) for one in range(number)])
    folders = [one for one, _ in sweep.folders()]
    for one in folders:
        one.write_status(replace(one.read_status(), state="queued"))

    class Waiting(Executor):
        """Trials that take :data:`TRIAL_SECONDS` and are done then."""

        slots = size

        def __init__(self) -> None:
            self.running: dict[Path, float] = {}

        def start(self, folder: Path, *, devices: int) -> bool:
            self.running[folder] = time.monotonic() + TRIAL_SECONDS
            return True

        def wait(self, seconds: float) -> list[Ended]:
            time.sleep(max(0.0, min(seconds, min(self.running.values(), default=0) - time.monotonic())))
            over = [folder for folder, end in self.running.items() if end <= time.monotonic()]
            for folder in over:
                del self.running[folder]
                trial_folder = TrialFolder(folder)
                trial_folder.write_status(replace(trial_folder.read_status(), state="done", seconds=TRIAL_SECONDS))
            return [Ended(folder, 0) for folder in over]

        def stop(self) -> None:
            self.running.clear()

        kill = close = stop

    class Given(Source):
        """The trials of the folder, one after the other."""

        def __init__(self) -> None:
            from collections import Counter

            self.total, self.settled, self.taken = number, Counter(), Counter()
            self.left = iter(folders)

        def take(self) -> TrialFolder | None:
            return next(self.left, None)

    progress = Progress(total=number, settled=Given().settled, slots=size, monitor="validation/accuracy")
    started = time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open(os.devnull, "w") as nothing:
        shown, sys.stdout = sys.stdout, nothing
        try:
            TrialRunner(Given(), Waiting(), progress)()
        finally:
            sys.stdout = shown
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    yield Row("workers", "share of ideal", size, TRIAL_SECONDS * TRIALS_A_WORKER / seconds, "")
    own = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    yield Row("workers", "processor time a trial", size, 1000 * own / number, "ms")


PARTS: dict[str, tuple[Callable[[int, Path], Iterator[Row]], tuple[int, ...]]] = {
    "clips": (measure_clips, CLIPS),
    "training": (measure_training, CLIPS),
    "trials": (measure_trials, TRIALS),
    "workers": (measure_workers, WORKERS),
}


def draw(rows: Sequence[Row], file: Path | BinaryIO, format: str = "png") -> None:
    """A panel for each part and unit, both axes logarithmic."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((row.part, row.unit) for row in rows))
    figure = Figure(figsize=(4 * len(panels), 3.6), layout="constrained")
    for axes, (part, unit) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for what in dict.fromkeys(row.what for row in rows if (row.part, row.unit) == (part, unit)):
            found = sorted((row.size, row.value) for row in rows if (row.part, row.what) == (part, what))
            axes.plot(*zip(*found), "o-", label=what)
        axes.set(xscale="log", xlabel="clips" if part == "training" else part, ylabel=unit or "share", title=part)
        axes.set_yscale("log" if unit else "linear")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, dpi=150, format=format)


def read_rows(file: Path) -> list[Row]:
    with file.open(newline="") as source:
        return [
            Row(row["part"], row["what"], int(row["size"]), float(row["value"]), row["unit"])
            for row in csv.DictReader(source)
        ]


def write_rows(rows: Sequence[Row], file: Path, **more: str) -> None:
    """Write the rows, each with further columns."""
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, [*(field.name for field in fields(Row)), *more])
        writer.writeheader()
        writer.writerows(asdict(row) | more for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--publish", action="store_true", help="write the rows into this repository")
    parser.add_argument("--largest", type=int, help="leave out larger sizes")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = arguments.out / "growth.csv"
    rows = read_rows(table) if table.exists() else []
    for part in arguments.parts:
        measure, sizes = PARTS[part]
        for size in sizes:
            known = any((row.part, row.size) == (part, size) for row in rows)
            if known or (arguments.largest is not None and size > arguments.largest):
                continue
            with tempfile.TemporaryDirectory() as folder:
                os.environ["AUDIO_LIGHTNING_CACHE"] = str(Path(folder) / "cache")
                for row in measure(size, Path(folder)):
                    rows.append(row)
                    print(f"{row.part}, {row.what}, {row.size:,}: {row.value:.3f} {row.unit}", flush=True)
            write_rows(rows, table)
    draw(rows, arguments.out / "growth.png")
    if arguments.publish:
        command = "`python benchmarks/growth.py OUT --publish`"
        write_rows(rows, TABLE, data="generated", split="none", seed="none", hardware=hardware(), command=command)


if __name__ == "__main__":
    main()
