"""Tables of measurements, rendered from the CSV files in ``benchmarks/results``."""

import csv
import re
from pathlib import Path

from markdown_text import table

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results"

PROVENANCE = ("data", "split", "seed", "hardware", "command")
"""Columns that every file has. One whose cells are all equal is printed once, below the table."""

FIGURES = re.compile(r"[\d.,± ]+")
"""Several figures in a cell: a mean and its deviation, or a list. They stay on one line, and the table scrolls."""


def read(name: str) -> list[dict[str, str]]:
    """Read the rows of one result file.

    Args:
        name: name of the file, without its ending.

    Raises:
        ValueError: no such file, a missing column of :data:`PROVENANCE`, or a row of another length.
    """
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in RESULTS.glob("*.csv")))
        raise ValueError(f"benchmarks/results/{name}.csv: no such result file; there are {known}")
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    if missing := [column for column in PROVENANCE if column not in header]:
        raise ValueError(f"{path.name}: the columns {', '.join(missing)} are missing")
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise ValueError(f"{path.name}: the columns {', '.join(repeated)} are there twice")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"{path.name}, line {number}: {len(row)} cells for {len(header)} columns")
    return [dict(zip(header, row, strict=True)) for row in rows]


def render(name: str) -> str:
    """Return the Markdown table of a result file, with a line about the provenance of its figures below."""
    rows, common = read(name), _common(name)
    shown = [column for column in rows[0] if column not in common]
    cells = [[_on_one_line(row[column]) for column in shown] for row in rows]
    return f"{table(shown, cells)}\n\n{provenance(name)}"


def provenance(name: str) -> str:
    """Return the line about the provenance of all figures of a result file."""
    facts = [f"**{column.capitalize()}:** {value}" for column, value in _common(name).items()]
    return " · ".join([*facts, f"`benchmarks/results/{name}.csv`"]) + "\n{ .provenance }\n"


def _common(name: str) -> dict[str, str]:
    rows = read(name)
    return {column: rows[0][column] for column in PROVENANCE if len({row[column] for row in rows}) == 1}


def _on_one_line(cell: str) -> str:
    text = cell.replace(" ± ", "\u00a0±\u00a0")
    return text.replace(" ", "\u00a0") if FIGURES.fullmatch(cell) else text
