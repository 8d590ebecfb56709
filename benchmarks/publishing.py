"""Result files of benchmarks, from which the docs have their tables (docs/_site/results.py)."""

import csv
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "benchmarks" / "results"


def publish(name: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Write benchmarks/results/NAME.csv; all rows have the same columns, among them those of the provenance."""
    with (RESULTS / f"{name}.csv").open("w", newline="") as target:
        writer = csv.DictWriter(target, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)


def processor() -> str:
    """Name of the processor."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def hardware() -> str:
    """Number of cores of this process, and name of the processor."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} core{'s' * (cores > 1)} of {processor()}"
