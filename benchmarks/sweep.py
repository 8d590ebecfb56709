"""Overhead of a sweep's trials: `python benchmarks/sweep.py [--trials 48] [--only ours,...]`.

The same trainings on the demo data, of a few seconds each, run by `sweep.py`, by `train.py -m` with Hydra's basic
launcher, by a new `python train.py` each, and by Hydra's joblib launcher if it is installed. Overhead is the workers'
time outside epochs and test, for each trial: start, imports, data, plots and files. For our sweep, the time from the
fork to the first training step and the memory growth of the sweep's own process are measured, too.
"""

import argparse
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

WORKERS = 2
TIMES = ("started", "finished")
TRAINING = ["data=demo", "data.sample_rate=8000", "trainer=cpu", "trainer.max_epochs=2", "model=cnn", "feature=logmel"]
TRAINING += ["trainer.limit_train_batches=5", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2"]


def run_and_time(job: Any) -> None:
    """Run the process of one trial, and record the time of its first training step."""
    from lightning.pytorch.callbacks import Callback

    import audio_lightning.training.run as training
    from audio_lightning.sweeps.trial import run_trial

    class FirstStep(Callback):
        def on_train_batch_start(self, *arguments: Any) -> None:
            file = job.folder / "first_step.json"
            if not file.exists():
                file.write_text(json.dumps(age()))

    train = training.train
    training.train = lambda *arguments, callbacks=(), **named: train(
        *arguments, callbacks=[*callbacks, FirstStep()], **named
    )
    run_trial(job)


def working(folders: list[Path]) -> float:
    """Seconds that trainings spent in epochs and test."""
    found = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    return sum(metrics["seconds"] + metrics["test_seconds"] for metrics in found)


def age() -> float:
    """Seconds since this process was forked, from Linux's /proc."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process in megabytes, from Linux's /proc."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def ours(trials: int, folder: Path) -> tuple[float, list[Path]]:
    """Run ``sweep.py`` in a monitored process."""
    line = [sys.executable, __file__, "--sweep", f"seed=range(0,{trials})", f"sweep.dir={folder}/sweep", *TRAINING]
    line += [f"sweep.workers={WORKERS}", "sweep.reuse=false"]
    started = time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    watched: dict[str, float] = {}
    threading.Thread(target=_watch, args=(process, folder / "sweep", trials, watched), daemon=True).start()
    if process.wait():
        raise SystemExit("the sweep failed")
    wall = time.perf_counter() - started
    found = [path.parent for path in (folder / "sweep/trials").glob("*/metrics.json")]
    first = sorted(json.loads((path / "first_step.json").read_text()) for path in found)
    print(f"from the fork to the first training step: median {first[len(first) // 2]:.2f} s, longest {first[-1]:.2f} s")
    whole = [json.loads((path / "status.json").read_text())["seconds"] for path in found]
    outside = (sum(whole) - working(found)) / len(found)
    times = [
        datetime.fromisoformat(json.loads((path / "status.json").read_text())[key]) for path in found for key in TIMES
    ]
    between = (max(times) - min(times)).total_seconds()
    print(f"before the first and after the last trial (imports, plan, plots, page): {wall - between:.0f} s")
    print(f"between: {(between * WORKERS - working(found)) / len(found):.2f} s overhead each")
    print(f"in a trial's process outside of epochs and test: {outside:.2f} s (start, latency, plots, files)")
    print(f"memory of the sweep's own process: {watched['early']:.0f} MB at 10 %, {watched['late']:.0f} MB at the end")
    return wall, found


def _watch(process: subprocess.Popen[bytes], sweep: Path, trials: int, watched: dict[str, float]) -> None:
    while process.poll() is None:
        done = len(list(sweep.glob("trials/*/metrics.json")))
        with_trials = done < trials
        if done >= trials / 10 and with_trials:
            memory = resident_mb(process.pid)
            watched.setdefault("early", memory)
            watched["late"] = memory
        time.sleep(0.1)


def multirun(trials: int, folder: Path, *, launcher: str = "basic") -> tuple[float, list[Path]]:
    """Run ``train.py -m`` with one of Hydra's launchers."""
    line = [
        sys.executable,
        "train.py",
        "-m",
        f"seed=range(0,{trials})",
        f"hydra.sweep.dir={folder}/multirun",
        *TRAINING,
    ]
    if launcher != "basic":
        line += [f"hydra/launcher={launcher}", f"hydra.launcher.n_jobs={WORKERS}"]
    return _timed([line], folder / "multirun")


def fresh(trials: int, folder: Path) -> tuple[float, list[Path]]:
    """Run ``python train.py`` for each training, as many in parallel as in the sweep."""
    lines = [
        [sys.executable, "train.py", f"seed={seed}", f"hydra.run.dir={folder}/fresh/{seed}", *TRAINING]
        for seed in range(trials)
    ]
    return _timed(lines, folder / "fresh", at_once=WORKERS)


def _timed(lines: list[list[str]], folder: Path, *, at_once: int = 1) -> tuple[float, list[Path]]:
    from concurrent.futures import ThreadPoolExecutor

    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // WORKERS))}
    call = functools.partial(
        subprocess.run, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    started = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(call, lines))
    return time.perf_counter() - started, [path.parent for path in folder.glob("*/metrics.json")]


WAYS = {
    "ours": (ours, WORKERS),
    "train.py -m": (multirun, 1),
    "fresh": (fresh, WORKERS),
    "joblib": (functools.partial(multirun, launcher="joblib"), WORKERS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--others", type=int, default=8, help="number of trials of the alternatives")
    parser.add_argument("--only", default=",".join(WAYS), help="some of: %(default)s")
    options = parser.parse_args()
    overheads: dict[str, float] = {}
    for name in options.only.split(","):
        if name == "joblib" and importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None:
            print("joblib: pip install hydra-joblib-launcher")
            continue
        way, workers = WAYS[name]
        trials = options.trials if name == "ours" else options.others
        with tempfile.TemporaryDirectory() as folder:
            wall, found = way(trials, Path(folder))
            assert len(found) == trials, f"{name}: {len(found)} of {trials} trainings ended"
            overheads[name] = (wall * workers - working(found)) / trials
            print(f"{name}: {trials} trainings in {wall:.0f} s, {overheads[name]:.2f} s overhead each", flush=True)
    for name, overhead in overheads.items():
        if name != "ours" and "ours" in overheads:
            print(f"{name} / ours: {overhead / overheads['ours']:.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sweep"]:
        from audio_lightning.cli.sweep import main as sweep
        from audio_lightning.sweeps.executors import executors

        executors.LocalExecutor.__init__.__kwdefaults__["run"] = run_and_time
        sys.exit(sweep(sys.argv[2:]))
    main()
