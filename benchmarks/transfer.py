"""Transfer learning with published networks: `python benchmarks/transfer.py DATA OUT --backbones aisfx cnn14`.

DATA is a folder with speech_commands, urbansound8k and instruments. For each set and seed, on one grouped split (no
speaker, source recording or note on both sides): a linear and a small network on each frozen published network, each
published network fine-tuned, `experiment=auto` from scratch, and the mean of the probabilities of the best run from
published weights and the one from scratch, chosen on the validation clips. Each training is a run of `train.py` in OUT;
existing runs are read and not repeated. Embedding is timed with an empty cache, in a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from audio_lightning.fit.out_of_fold import PREFIX
from audio_lightning.run_folder import RunFolder

PROJECT = Path(__file__).resolve().parents[1]

SETS = {
    "speech": ["data=speech_commands", "data.split=speaker"],
    "urbansound8k": ["data=urbansound8k", "data.split=grouped"],
    "instruments": ["data=instruments", "data.split=grouped"],
}
FOLDERS = {"speech": "speech_commands"}
RATES = {"speech_embedding": ["data.sample_rate=16000"]}
WAYS = ("linear", "256 hidden", "fine-tuned", "from scratch")

EMBED = """
import json, sys, time
from audio_lightning.config import compose, quote_paths, check_config
from audio_lightning.fit.embedding import embed_all
from audio_lightning.planning.settle import build_data
from omegaconf import OmegaConf

config = compose(quote_paths(json.loads(sys.argv[1])))
build_data(config)
plain = OmegaConf.to_container(config, resolve=True)
started = time.perf_counter()
embed_all(plain)
print(time.perf_counter() - started)
"""


def ways(chosen: list[str], backbones: list[str], finetune: list[str], scratch: list[str]) -> dict[str, list[str]]:
    """Overrides of each way to train, by name."""
    found = {}
    for name in backbones:
        frozen = ["experiment=frozen", f"feature.backbone={name}", *RATES.get(name, [])]
        found[f"{name}, linear"] = [*frozen, "model=linear"]
        found[f"{name}, 256 hidden"] = frozen
        if name not in RATES:  # ONNX files cannot be trained
            found[f"{name}, fine-tuned"] = ["experiment=finetuned", f"model.backbone={name}", *finetune]
    found["from scratch"] = ["experiment=auto", *scratch]
    return {way: lines for way, lines in found.items() if way.rpartition(", ")[2] in chosen}


def train(lines: list[str], folder: Path) -> dict[str, float]:
    """Return metrics.json of a training; train if it does not exist."""
    if not (folder / "metrics.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with folder.with_name(f"{folder.name}.log").open("w") as log:
            command = [sys.executable, "train.py", *lines, "plots=false", f"hydra.run.dir={folder}"]
            subprocess.run(command, cwd=PROJECT, check=True, stdout=log, stderr=subprocess.STDOUT)
        folder.with_name(f"{folder.name}.seconds").write_text(str(time.perf_counter() - started))
    metrics = json.loads((folder / "metrics.json").read_text())
    return {**metrics, "wall": float(folder.with_name(f"{folder.name}.seconds").read_text())}


def embed(lines: list[str], file: Path) -> float:
    """Seconds to embed all clips of a set, with cached samples and no cached embeddings."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-c", EMBED, json.dumps(lines)]
        done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        file.write_text(done.stdout.strip().splitlines()[-1])
    return float(file.read_text())


def together(folders: list[Path]) -> float:
    """Accuracy of the mean of several runs' probabilities for the test clips."""
    tables = []
    for folder in folders:
        run = RunFolder(folder)
        tables.append(run.read_predictions(run.predictions).groupby("path").mean(numeric_only=True))
        labels = run.read_predictions(run.predictions).groupby("path")["label"].first()
    names = [name for name in tables[0] if name.startswith(PREFIX)]
    mean = sum((table[names] for table in tables[1:]), tables[0][names])
    return float((mean.idxmax(axis=1).str.removeprefix(PREFIX) == labels).mean())


def epoch_seconds(folder: Path) -> float:
    """Median time of an epoch, validation included."""
    return float(pd.read_csv(folder / "history.csv")["seconds"].median())


def rows(options: argparse.Namespace, name: str) -> Iterator[list[str]]:
    """Yield rows of a set's table."""
    known = ways(options.ways, options.backbones, options.finetune, options.scratch)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in known}
    both: list[float] = []
    for seed in options.seeds:
        data = [*SETS[name], f"data.root={options.data / FOLDERS.get(name, name)}", f"seed={seed}", "trainer=cpu"]
        data.append(f"data.cache_dir={options.out / name / 'cache'}")
        folders = {}
        for way, lines in known.items():
            folder = options.out / name / f"{way} {seed}".replace(", ", "-").replace(" ", "-")
            seconds = 0.0
            if lines[0] == "experiment=frozen":
                backbone = way.partition(",")[0]
                seconds = embed([*data, *lines], options.out / name / f"embed-{backbone}.seconds")
            metrics = train([*data, *lines], folder.resolve())
            folders[way] = folder
            found[way].append({**metrics, "embed": seconds, "epoch": epoch_seconds(folder)})
        others = [way for way in known if way != "from scratch"]
        if others and "from scratch" in known:
            best = max(others, key=lambda way: found[way][-1]["validation/accuracy"])
            both.append(together([folders["from scratch"], folders[best]]))
    for way, runs in found.items():
        yield [
            way,
            *(_spread([run[f"test/{metric}"] for run in runs]) for metric in ("accuracy", "balanced_accuracy")),
            *(f"{statistics.median(run[key] for run in runs):.{digits}f}" for key, digits in COLUMNS.items()),
        ]
    if both:
        yield ["the best of them and from scratch", _spread(both), *[""] * (1 + len(COLUMNS))]


COLUMNS = {"embed": 0, "wall": 0, "epoch": 2}
"""Seconds to embed, of the command (with cached embeddings), and of an epoch; digits of each."""


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--backbones", nargs="+", default=["aisfx", "speech_embedding"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--finetune", nargs="*", default=[], help="further overrides for fine-tuning")
    parser.add_argument("--scratch", nargs="*", default=[], help="further overrides for training from scratch")
    options = parser.parse_args()
    options.data, options.out = options.data.resolve(), options.out.resolve()
    for name in options.sets:
        names = ("accuracy", "balanced", "s to embed", "s of the command", "s an epoch")
        print(f"\n| {name} | {' | '.join(names)} |\n|---{'|---' * len(names)}|", flush=True)
        for row in rows(options, name):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
