"""Time and memory to index a data set, by default a generated one of a million clips.

The recordings are empty files, because nothing is decoded: only tables, folders, splits and leakage checks are
measured.
"""

import argparse
import csv
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from audio_lightning.config import build, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.splitting.leakage import guard_sources
from audio_lightning.data.splitting.splits import SplitPlan, assign_splits

CLASSES = 35
CLIPS_A_GROUP = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        write(Path(root), arguments.clips)
        rows = measure(Path(root), arguments.clips)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{arguments.clips:,} clips, {CLASSES} classes, {arguments.clips // CLIPS_A_GROUP:,} groups")
    for row in rows:
        print(f"{row['step']:<58}{row['seconds']:8.2f} s{row['megabytes']:>10,.0f} MB more at most")


def write(root: Path, clips: int) -> None:
    """Write a folder for each class, and a table of the same files with a speaker each."""
    rng = np.random.default_rng(0)
    speakers = rng.integers(0, max(1, clips // CLIPS_A_GROUP), clips)
    with (root / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "speaker"))
        for number, speaker in enumerate(speakers.tolist()):
            label = f"class{number % CLASSES:02d}"
            if number < CLASSES:
                (root / label).mkdir()
            name = f"{label}/{speaker:06d}_{number:07d}.wav"
            (root / name).touch()
            writer.writerow((name, label, f"speaker{speaker:06d}"))


def measure(root: Path, clips: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def timed(step: str, action: Callable[[], Any]) -> Any:
        before, start = peak(), time.perf_counter()
        result = action()
        rows.append({"step": step, "seconds": time.perf_counter() - start, "megabytes": (peak() - before) / 1e6})
        return result

    def source(*overrides: str) -> AudioDataModule:
        config = compose(quote_paths([f"data.root={root}", *overrides]))
        return build(config.data, AudioDataModule, where="data")

    table = source("data=table", "data.table=table.csv", "data.group_column=speaker")
    manifest = timed("table: read the CSV", table.read)
    assert len(manifest) == clips
    assert not timed("table: look for every file", lambda: table.missing(manifest))
    timed("table: split by group, classes in proportion", lambda: assign_splits(manifest, SplitPlan("grouped")))
    timed("table: guard against shared groups", lambda: guard_sources(manifest, "grouped", allow=False))
    timed("table: targets", manifest.targets)
    paths = list(manifest.table["path"])
    timed("identity of every file (size, time of change)", lambda: table.recordings(paths).identities("stat"))
    del manifest

    folder = source("data=folder")
    manifest = timed("folder: list and read", folder.read)
    timed("folder: split, classes in proportion", lambda: assign_splits(manifest, SplitPlan("auto")))
    return rows


def peak() -> int:
    """Peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
