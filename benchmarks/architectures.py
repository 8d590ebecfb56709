"""Comparison of all architectures under one protocol: `python benchmarks/architectures.py speech=DIR ...`.

Splits are grouped (no speaker, source recording or note on both sides): 70 % for training, 10 % for the choice of the
epoch, 20 % for the test. Front end, optimizer, schedule and number of epochs are the same for all; there is no
augmentation and no pretraining. A seed determines split and weights, so the standard deviation over seeds includes
both. Each training is a run of `train.py` in --runs; existing runs are read and not repeated.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

WORDS = "[yes,'no',up,down,left,right,'on','off',stop,go,bed,cat,happy]"
SETS = {
    "speech": ["data=speech_commands", f"data.words={WORDS}", "data.split=speaker"],
    "urbansound8k": ["data=urbansound8k", "data.split=grouped"],
    "instruments": ["data=instruments"],
}
WAVEFORM_MODELS = {"conv1d", "conv1d_vgg", "conv1d_vgg_skip", "dnn", "sincnet", "wav2vec2"}
FRONT_ENDS = {"ast": "fbank"}
MOST_MINUTES = 10
COLUMNS = ("accuracy", "balanced", "parameters", "MMACs", "s/epoch", "epochs")


def train(data: str, root: str, model: str, seed: int, epochs: int, runs: Path, more: list[str]) -> dict[str, float]:
    """Return metrics.json of a training; train if it does not exist."""
    folder = runs / f"{data}-{model}-{seed}"
    metrics = folder / "metrics.json"
    if not metrics.is_file():
        feature = "waveform" if model in WAVEFORM_MODELS else FRONT_ENDS.get(model, "logmel")
        command = [sys.executable, "train.py", *SETS[data], f"data.root={root}", f"model={model}", f"feature={feature}"]
        command += [f"seed={seed}", f"trainer.max_epochs={epochs}", f"trainer.max_time=00:00:{MOST_MINUTES:02}:00"]
        command += ["plots=false", f"hydra.run.dir={folder}", *more]
        subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    return json.loads(metrics.read_text())


def row(found: list[dict[str, float]]) -> list[str]:
    """Format the runs of several seeds as a row of the table."""
    return [
        *(_spread([metrics[f"test/{name}"] for metrics in found]) for name in ("accuracy", "balanced_accuracy")),
        f"{found[0]['parameters']:,}",
        f"{found[0]['macs'] / 1e6:,.1f}",
        f"{statistics.median(metrics['seconds'] / metrics['epochs'] for metrics in found):.1f}",
        str(min(int(metrics["epochs"]) for metrics in found)),
    ]


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="SET=DIR", help=f"SET is one of {', '.join(SETS)}")
    parser.add_argument("--models", nargs="+", default=["cnn", "bcresnet"], help="choices of model=")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--runs", type=Path, default=Path("outputs/architectures"), help="parent of the run folders")
    parser.add_argument(
        "--override", action="append", default=[], help="override for train.py, such as data.batch_size=16"
    )
    options = parser.parse_args()
    for entry in options.data:
        data, _, root = entry.partition("=")
        if data not in SETS or not root:
            parser.error(f"{entry!r}: expected SET=DIR with a SET of {', '.join(SETS)}")
        print(f"\n| {data} | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1), flush=True)
        for model in options.models:
            runs = options.runs.resolve()
            found = [train(data, root, model, seed, options.epochs, runs, options.override) for seed in options.seeds]
            print(f"| {model} | " + " | ".join(row(found)) + " |", flush=True)


if __name__ == "__main__":
    main()
