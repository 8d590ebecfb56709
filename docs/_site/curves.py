"""Curves of measurements, drawn by the scripts that wrote the CSV files in ``benchmarks``."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import results

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "benchmarks"))

import time_to_accuracy  # noqa: E402

FOLDER = "benchmarks"
"""Folder of the pages that have curves, and of the pictures."""


def _time_to_accuracy(file: BinaryIO) -> None:
    found = time_to_accuracy.read_results(time_to_accuracy.KNOWN)
    time_to_accuracy.draw(time_to_accuracy.summarize(found), file, "svg")


DRAWN: dict[str, tuple[Callable[[BinaryIO], None], str]] = {
    "time_to_accuracy": (_time_to_accuracy, "Test accuracy against processor seconds, a panel for each data set"),
}
"""By result file: what draws it, and the description of the picture."""


def pictures() -> dict[str, bytes]:
    """Return the pictures by path below the documentation folder."""
    found = {}
    for name, (draw, _) in DRAWN.items():
        file = io.BytesIO()
        draw(file)
        found[f"{FOLDER}/{name}.svg"] = file.getvalue()
    return found


def render(name: str) -> str:
    """Return the Markdown of a picture, with a line about the provenance of its figures below.

    Raises:
        ValueError: no such picture.
    """
    if name not in DRAWN:
        raise ValueError(f"curves: {name}: no such picture; there are {', '.join(DRAWN)}")
    return f"![{DRAWN[name][1]}]({name}.svg)\n\n{results.provenance(name)}"
