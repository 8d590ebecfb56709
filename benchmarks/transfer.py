"""Transfer learning with published networks: `python benchmarks/transfer.py DATA OUT --backbones aisfx cnn14`.

DATA is a folder with speech_commands, urbansound8k and instruments, which are divided as in `time_to_accuracy.py`, with
the same seeds. For each published network whose weights are on this machine: heads on the frozen network, the network
fine-tuned, and the mean of the probabilities of ``256 hidden`` and `experiment=good`, which trains from scratch.

Embedding is timed once for each set and network, in a process of its own with an empty cache; later trainings find the
embeddings. All run on one thread; ``--workers 2`` trains two at a time. What OUT already has is not trained again, nor
what benchmarks/transfer.csv has. With the OUT of `time_to_accuracy.py`, its trainings from scratch are used.
``--publish`` writes all results to that file, and a table of them for the docs.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd
from publishing import PROJECT, publish
from time_to_accuracy import SETS, Job, division, ours, run

from audio_lightning.fit.out_of_fold import PREFIX
from audio_lightning.run_folder import RunFolder

KNOWN = PROJECT / "benchmarks" / "transfer.csv"

WAYS = {
    "linear": ["experiment=frozen", "model=linear"],
    "256 hidden": ["experiment=frozen"],
    "centroid": ["experiment=frozen", "model=centroid"],
    "knn": ["experiment=frozen", "model=knn"],
    "lora": ["experiment=finetuned", "finetune=lora", "trainer.max_epochs=8"],
    "fine-tuned": ["experiment=finetuned", "trainer.max_epochs=8"],
}
"""Ways to use a published network, with their overrides."""

SCRATCH, BOTH = "experiment=good", "256 hidden and from scratch"
COMMON = ["data.train_on_validation=true", "trainer=cpu"]
RATES = {"speech_embedding": ["data.sample_rate=16000"]}
FROZEN_ONLY = ("speech_embedding",)
"""Networks in ONNX files, which cannot be trained."""

EMBED = """
import json, sys, time
from audio_lightning.config import compose, quote_paths
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


@dataclass(frozen=True)
class Transfer:
    """A row of transfer.csv.

    Attributes:
        embed_seconds: to embed all clips of the set, with decoded recordings.
        processor_seconds: of the whole training command, with known embeddings.
        epoch_seconds: median of the epochs.
    """

    backbone: str
    way: str
    set: str
    seed: int
    accuracy: float
    balanced_accuracy: float | None
    embed_seconds: float | None
    processor_seconds: float | None
    epoch_seconds: float | None
    machine: str


@dataclass(frozen=True)
class Place:
    """Where recordings are, and where results go."""

    data: Path
    out: Path

    def folder(self, backbone: str, way: str, name: str, seed: int) -> Path:
        program = way if way == SCRATCH else f"{backbone} {way}".replace(" ", "-")
        return self.out / name / program / f"seed-{seed}-share-1"


def embed(place: Place, backbone: str, name: str) -> float:
    """Seconds to embed all clips of a set, with decoded recordings and no cached embeddings."""
    file = place.out / name / f"embed-{backbone}.seconds"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [*division(SETS[name], place.data, 0), *COMMON, *overrides(place, backbone, "256 hidden", name)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", EMBED, json.dumps(lines)]
        done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        file.write_text(done.stdout.strip().splitlines()[-1])
    return float(file.read_text())


def overrides(place: Place, backbone: str, way: str, name: str) -> list[str]:
    """Overrides of a way, without those of the data; frozen networks share a cache."""
    lines = WAYS[way]
    key = "feature" if lines[0] == "experiment=frozen" else "model"
    cache = [f"data.cache_dir={place.out / name / 'cache'}"]
    return [*lines, f"{key}.backbone={backbone}", *RATES.get(backbone, []), *cache]


def train(place: Place, backbone: str, way: str, name: str, seed: int, embedded: Future[float] | None) -> Transfer:
    """Train and test, unless that was done."""
    seconds = embedded.result() if embedded is not None else None
    lines = [SCRATCH] if way == SCRATCH else overrides(place, backbone, way, name)
    folder = place.folder(backbone, way, name, seed)
    job = Job(way if way == SCRATCH else f"{backbone} {way}", name, seed, 1.0, folder)
    found = run(job, ours(lambda _: [*lines, *COMMON], None, place.data), SETS[name], 1)
    epoch = float(pd.read_csv(folder / "history.csv")["seconds"].median())
    return Transfer(
        "" if way == SCRATCH else backbone, way, name, seed, found.accuracy, found.balanced_accuracy, seconds,
        found.processor_seconds, epoch, found.machine,
    )  # fmt: skip


def together(place: Place, backbone: str, name: str, seed: int, machine: str) -> Transfer:
    """The mean of the probabilities of a head on a frozen network and of the network from scratch."""
    folders = [place.folder(backbone, "256 hidden", name, seed), place.folder("", SCRATCH, name, seed)]
    tables = []
    for folder in folders:
        record = RunFolder(folder)
        tables.append(record.read_predictions(record.predictions).groupby("path"))
    columns = [column for column in tables[0].obj if column.startswith(PREFIX)]
    mean = sum(table[columns].mean() for table in tables) / len(tables)
    labels = tables[0]["label"].first()
    right = mean.idxmax(axis=1).str.removeprefix(PREFIX) == labels
    balanced = right.groupby(labels).mean().mean()
    return Transfer(backbone, BOTH, name, seed, float(right.mean()), float(balanced), None, None, None, machine)


def read(file: Path) -> list[Transfer]:
    """Rows of a transfer.csv."""
    text = ("backbone", "way", "set", "machine")
    with file.open(newline="") as source:
        rows = list(csv.DictReader(source))
    return [Transfer(**{k: v if k in text else json.loads(v or "null") for k, v in row.items()}) for row in rows]


def write(rows: Iterable[Transfer], file: Path) -> None:
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, [field.name for field in fields(Transfer)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def tabulate(rows: Sequence[Transfer]) -> list[dict[str, str]]:
    """Rows of the table of the docs, one for each set, network and way."""
    found = []
    for name, backbone, way in dict.fromkeys((one.set, one.backbone, one.way) for one in rows):
        same = [one for one in rows if (one.set, one.backbone, one.way) == (name, backbone, way)]
        same.sort(key=lambda one: one.seed)
        balanced = [one.balanced_accuracy for one in same if one.balanced_accuracy is not None]
        split = next(line for line in SETS[name].lines if line.startswith("data.split"))
        found.append(
            {
                "data": name,
                "network": backbone or "from scratch",
                "trained": f"`{way}`" if way == SCRATCH else way,
                "accuracy": ", ".join(f"{one.accuracy:.3f}" for one in same),
                "mean": f"{statistics.mean(one.accuracy for one in same):.3f}",
                "balanced": f"{statistics.mean(balanced):.3f}",
                "seconds to embed": median([one.embed_seconds for one in same], 0),
                "to train": median([one.processor_seconds for one in same], 0),
                "an epoch": median([one.epoch_seconds for one in same], 2),
                "seed": ", ".join(str(one.seed) for one in same),
                "split": f"{split}, fold seed % 3 + 1" if "folds" in split else split,
                "hardware": "; ".join(sorted({f"one thread of {one.machine}" for one in same})),
                "command": "`python benchmarks/transfer.py DATA OUT`",
            }
        )
    return sorted(found, key=lambda row: [*SETS].index(row["data"]))


def median(values: Iterable[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.{digits}f}" if known else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", default=[*SETS], choices=SETS)
    parser.add_argument("--backbones", nargs="+", default=["aisfx", "efficientnet_lite0", "speech_embedding"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=[*WAYS, SCRATCH, BOTH], choices=[*WAYS, SCRATCH, BOTH])
    parser.add_argument("--workers", type=int, default=1, help="number of trainings at the same time")
    parser.add_argument("--publish", action="store_true", help="write the results into this repository")
    options = parser.parse_args()
    place = Place(options.data.resolve(), options.out.resolve())
    results = {(one.backbone, one.way, one.set, one.seed): one for one in (read(KNOWN) if KNOWN.is_file() else [])}

    def keep(found: Transfer) -> None:
        results[found.backbone, found.way, found.set, found.seed] = found
        print(f"{found.set} {found.backbone} {found.way} seed {found.seed}: {found.accuracy:.3f}", flush=True)

    with ThreadPoolExecutor(options.workers) as pool:
        waiting = []
        for name in options.sets:
            wanted = [(backbone, way) for backbone in options.backbones for way in options.ways if way in WAYS]
            wanted = [one for one in wanted if "finetuned" not in WAYS[one[1]][0] or one[0] not in FROZEN_ONLY]
            wanted += [("", SCRATCH)] if SCRATCH in options.ways else []
            frozen = dict.fromkeys(one for one, way in wanted if way in WAYS and "frozen" in WAYS[way][0])
            embedded = {backbone: pool.submit(embed, place, backbone, name) for backbone in frozen}
            for seed in options.seeds:
                for backbone, way in wanted:
                    if (backbone, way, name, seed) not in results:
                        ready = embedded[backbone] if way in WAYS and "frozen" in WAYS[way][0] else None
                        waiting.append(pool.submit(train, place, backbone, way, name, seed, ready))
        for one in waiting:
            keep(one.result())
    if BOTH in options.ways:
        for backbone in options.backbones:
            for name in options.sets:
                for seed in options.seeds:
                    if (backbone, BOTH, name, seed) not in results:
                        keep(together(place, backbone, name, seed, results["", SCRATCH, name, seed].machine))
    table = tabulate([*results.values()])
    if options.publish:
        write(results.values(), KNOWN)
        publish("transfer", table)
    for row in table:
        print(" | ".join([*row.values()][:9]))


if __name__ == "__main__":
    main()
