"""Test accuracy after few and many epochs with AdamW and Muon: `python benchmarks/optimizers.py DATA OUT`.

DATA is a folder with speech_commands, urbansound8k and instruments. Each training is `experiment=auto` on a grouped
split (by speaker, source recording or note), without a validation split; seeds from 10 on, which no other table uses,
because settings were chosen on these splits. Processor seconds are those of the whole command, so that other work on
the machine hardly matters; every training has one thread. Existing trainings in OUT are read and not repeated;
``OUT/optimizers.csv`` has a row for each data set, optimizer and number of epochs.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from time_to_accuracy import PROJECT, SETS, WORDS, processor

SPLITS = {
    "speech": ["data=speech_commands", WORDS, "data.split=speaker"],
    "urbansound8k": ["data=urbansound8k", "data.split=grouped"],
    "instruments": ["data=instruments", "data.split=grouped"],
}
EPOCHS = {"speech": (6, 12, 24), "urbansound8k": (8, 20), "instruments": (5, 12)}
OPTIMIZERS = {"AdamW": ["optimizer=adamw", "optimizer.lr=2e-3", "optimizer.weight_decay=0.02"], "Muon": []}


@dataclass(frozen=True)
class Training:
    """One training and its folder."""

    set: str
    optimizer: str
    epochs: int
    seed: int
    folder: Path

    def run(self, data: Path) -> None:
        """Train and test, unless that was done."""
        if (self.folder / "processor_seconds").is_file():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lines = ["experiment=auto", *OPTIMIZERS[self.optimizer], *SPLITS[self.set], f"seed={self.seed}"]
        lines += [f"data.root={data / SETS[self.set].folder}", "data.train_on_validation=true", "trainer=cpu"]
        lines += [f"trainer.max_epochs={self.epochs}", "trainer.precision=32-true", "plots=false"]
        command = [sys.executable, __file__, "--one", str(self.folder), *lines]
        with self.folder.with_suffix(".log").open("w") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(command, cwd=PROJECT, env=environment, check=True, stdout=log, stderr=subprocess.STDOUT)

    @property
    def accuracy(self) -> float:
        return float(json.loads((self.folder / "metrics.json").read_text())[SETS[self.set].metric])

    @property
    def processor_seconds(self) -> float:
        return float((self.folder / "processor_seconds").read_text())


def train_one(folder: Path, lines: list[str]) -> None:
    """Train in a process of its own, and write its processor time."""
    subprocess.run([sys.executable, "train.py", *lines, f"hydra.run.dir={folder}"], cwd=PROJECT, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    (folder / "processor_seconds").write_text(str(used.ru_utime + used.ru_stime))


def row(trainings: list[Training]) -> dict[str, str]:
    """Row of the table for the seeds of a data set, optimizer and number of epochs."""
    right = [one.accuracy for one in trainings]
    spread = f" ({min(right):.3f} to {max(right):.3f})" if len(right) > 1 else ""
    first = trainings[0]
    return {
        "data": first.set,
        "optimizer": first.optimizer,
        "epochs": str(first.epochs),
        "accuracy": f"{statistics.mean(right):.3f}{spread}",
        "processor seconds": f"{statistics.median(one.processor_seconds for one in trainings):.0f}",
        "seed": ", ".join(str(one.seed) for one in trainings),
        "split": SPLITS[first.set][-1],
        "hardware": f"one thread of {processor()}",
        "command": "`python benchmarks/optimizers.py DATA OUT`",
    }


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        train_one(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with speech_commands, urbansound8k and instruments")
    parser.add_argument("out", type=Path, help="folder of the trainings and results")
    parser.add_argument("--sets", nargs="+", choices=SPLITS, default=[*SPLITS])
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=[*OPTIMIZERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11])
    parser.add_argument("--workers", type=int, default=1, help="number of trainings at the same time")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    groups = [
        [
            Training(name, optimizer, epochs, seed, out / name / f"{optimizer}-{epochs}-epochs-seed-{seed}")
            for seed in arguments.seeds
        ]
        for name in arguments.sets
        for epochs in EPOCHS[name]
        for optimizer in arguments.optimizers
    ]
    with ThreadPoolExecutor(arguments.workers) as pool:
        jobs = [[pool.submit(one.run, arguments.data.resolve()) for one in group] for group in groups]
        rows = []
        for group, waiting in zip(groups, jobs):
            for job in waiting:
                job.result()
            rows.append(row(group))
            print(" | ".join(rows[-1].values()), flush=True)
    with (out / "optimizers.csv").open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
