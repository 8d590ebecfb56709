"""How fast a classifier predicts: `python benchmarks/predicting.py [--files 2000] [--hours 2] [--publish]`.

Short files (1 s) and a long recording are generated, and networks trained on the demo data for one epoch. For each
network:

* clips per second of `audio_lightning.predict` on the short files and on the long recording, and of the classifier
  alone on the same number of clips that lie in memory, in batches of the same size;
* seconds from the command `audio-lightning predict` to its first row of one short file, beside those of
  ``import torch``.

Measurements take turns, and the median over the rounds is shown. Threads are those of the machine unless
``OMP_NUM_THREADS`` says otherwise. ``--publish`` writes benchmarks/results/predicting.csv.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from publishing import PROJECT, hardware, publish

RATE = 16000

Row = tuple[str, str, str, str]
"""Network, what was measured, the median, and its share of the network alone."""


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def write_recordings(folder: Path, files: int, hours: float) -> tuple[Path, Path]:
    """A folder of short files, and a long recording."""
    rng = np.random.default_rng(0)
    short = folder / "short"
    short.mkdir()
    for number in range(files):
        soundfile.write(short / f"{number:05d}.wav", rng.normal(0, 0.1, RATE).astype(np.float32), RATE)
    long = folder / "long.wav"
    with soundfile.SoundFile(long, "w", RATE, 1) as file:
        for _ in range(round(60 * hours)):
            file.write(rng.normal(0, 0.1, 60 * RATE).astype(np.float32))
    return short, long


def train(model: str, folder: Path) -> Path:
    run = folder / f"run-{model}"
    overrides = ["data=demo", f"model={model}", f"data.sample_rate={RATE}", "data.clip_seconds=1.0"]
    overrides += ["trainer.max_epochs=1", "trainer.limit_train_batches=5", "plots=false", f"hydra.run.dir={run}"]
    subprocess.run([sys.executable, "train.py", *overrides], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    return run


def to_first_row(run: Path, recording: Path) -> float:
    """Seconds from the command to the first row that it prints."""
    command = [sys.executable, "-m", "audio_lightning", "predict", str(run), str(recording)]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if recording.stem in line:
                return time.perf_counter() - started
    raise SystemExit(f"{' '.join(command)}: no row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--models", nargs="+", default=["cnn", "panns"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--publish", action="store_true", help="write the table of the docs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AUDIO_LIGHTNING_CACHE"] = str(folder / "cache")
        short, long = write_recordings(folder, arguments.files, arguments.hours)
        runs = {model: train(model, folder) for model in arguments.models}
        first = next(short.iterdir())
        starts: dict[str, list[float]] = {}
        for _ in range(arguments.rounds):
            line = [sys.executable, "-c", "import torch"]
            starts.setdefault("`import torch`", []).append(seconds(lambda line=line: subprocess.run(line, check=True)))
            for model, run in runs.items():
                starts.setdefault(f"`audio-lightning predict` to its first row, `{model}`", []).append(
                    to_first_row(run, first)
                )
        rows = [("", what, f"{statistics.median(found):.2f} s", "") for what, found in starts.items()]
        for model, run in runs.items():
            rows += measure(model, run, short, long, arguments)
    for row in rows:
        print(" | ".join(row))
    if arguments.publish:
        names = ("network", "measured", "median", "of the network alone")
        common = {"data": f"noise: {arguments.files:,} files of 1 s, a recording of {arguments.hours:g} h"}
        common |= {"split": "none", "seed": "0", "hardware": hardware(), "command": "`python benchmarks/predicting.py`"}
        publish("predicting", [dict(zip(names, row, strict=True)) | common for row in rows])


def measure(model: str, run: Path, short: Path, long: Path, arguments: argparse.Namespace) -> list[Row]:
    """Clips per second of a network alone and with all that predicting takes."""
    import torch

    from audio_lightning import load
    from audio_lightning.audio import find_recordings
    from audio_lightning.inference.predict import predict

    classifier = load(run)
    files = find_recordings([short])
    clips = torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, (arguments.batch_size, RATE)).astype(np.float32))
    batches = max(1, arguments.files // arguments.batch_size)

    def alone() -> None:
        for _ in range(batches):
            classifier.activate(classifier.logits_and_energy(clips)[0])

    def predicted(recordings: list[Path]) -> Callable[[], list[object]]:
        return lambda: list(predict(classifier, recordings, batch_size=arguments.batch_size))

    numbers = {
        "network alone": (alone, batches * arguments.batch_size),
        "short files": (predicted(files), len(files)),
        "long recording": (predicted([long]), round(3600 * arguments.hours)),
    }
    rates: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for what, (action, number) in numbers.items():
            rates.setdefault(what, []).append(number / seconds(action))
    ceiling = statistics.median(rates["network alone"])
    medians = {what: statistics.median(found) for what, found in rates.items()}
    return [(f"`{model}`", what, f"{rate:,.0f} clips/s", f"{rate / ceiling:.0%}") for what, rate in medians.items()]


if __name__ == "__main__":
    main()
