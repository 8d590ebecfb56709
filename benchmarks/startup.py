"""Time from the command to the first training step, compared with the import of Lightning.

`python benchmarks/startup.py` prints medians over several starts: `python train.py --help`; `import lightning.pytorch`;
and a training on the demo data, already decoded, from the start of the process to the end of its first step.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
REPEATS = 5

TO_FIRST_STEP = """
import os, sys, time
started = float(sys.argv.pop(1))
from audio_lightning.cli.train import main
from audio_lightning.classifier.classifier import AudioClassifier

def on_train_batch_end(self, *args):
    print(time.time() - started, flush=True)
    os._exit(0)

AudioClassifier.on_train_batch_end = on_train_batch_end
main(sys.argv[1:])
"""


def seconds(*command: str) -> float:
    started = time.time()
    subprocess.run([sys.executable, *command], cwd=PROJECT, check=True, capture_output=True)
    return time.time() - started


def to_first_step(*overrides: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", TO_FIRST_STEP, str(time.time()), f"hydra.run.dir={folder}/run", *overrides]
        result = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    return float(result.stdout.splitlines()[-1])


def main() -> None:
    measured = {
        "train.py --help": lambda: seconds("train.py", "--help"),
        "a typo (model=resnt)": lambda: subprocess.run(
            [sys.executable, "train.py", "model=resnt"], cwd=PROJECT, capture_output=True, check=False
        ),
        "import lightning.pytorch": lambda: seconds("-c", "import lightning.pytorch"),
        "to the first step, cnn on logmel": to_first_step,
        "to the first step, resnet on mfcc": lambda: to_first_step("model=resnet", "feature=mfcc"),
    }
    to_first_step()  # writes and decodes the demo data, and fills the disk cache
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(REPEATS):  # interleaved, so that a busy moment does not affect only one of them
        for name, measure in measured.items():
            started = time.perf_counter()
            found = measure()
            times[name].append(found if isinstance(found, float) else time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:36} {value:6.2f} s")
    print(json.dumps({name: round(value, 3) for name, value in medians.items()}))


if __name__ == "__main__":
    main()
