"""Table of predictions for the terminal."""

import os
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from audio_lightning.core.messages import below_here
from audio_lightning.core.task import AudioTask
from audio_lightning.core.text_tables import Column, print_table, surplus_width
from audio_lightning.core.utf8 import as_utf8

if TYPE_CHECKING:
    from audio_lightning.inference.predict import Prediction

MOST_LIKELY = 3
"""Default number of classes per row; fewer in a narrow terminal."""

LONG_FOLDER = 20
"""A common folder with more characters is printed once, above the table."""

SHORTEST_NAME = 12
"""Minimum characters of a shortened path of a recording."""

COLUMNS = (
    Column("recording", whole=True),
    Column("seconds", "right", whole=True),
    Column("predicted"),
    Column("proba-\nbility", "right", whole=True),
    Column("next most\nprobable", whole=True),
)


def print_predictions(predictions: "Iterable[Prediction]", task: AudioTask, top_k: int | None) -> int:
    """Print one row per window or recording; return the number of recordings that could not be read.

    To fit a narrow terminal, the common folder of the recordings is first moved above the table. Then the number of
    classes is reduced, unless ``top_k`` fixes it. Finally, paths are shortened from the left.
    """
    found = list(predictions)
    folder, whole, below = _names([below_here(prediction.path) for prediction in found])
    once = len(str(folder)) > LONG_FOLDER
    numbers = [top_k] if top_k else range(MOST_LIKELY, 0, -1)
    for number, named_once in product(numbers, [True] if once else [False, True]):
        names = below if named_once else whole
        rows = _rows(found, names, task, number)
        columns = [column for place, column in enumerate(COLUMNS) if place < 4 or any(row[place] for row in rows)]
        rows = [row[: len(columns)] for row in rows]
        if not (surplus := surplus_width(columns, rows)):
            break
    else:
        most = max(map(len, names), default=0) - surplus
        shorter = [_shortened(name, most) for name in names]
        if most >= SHORTEST_NAME and len(set(shorter)) == len(set(names)):
            rows = [[name, *row[1:]] for name, row in zip(shorter, rows)]
    if names is not whole and str(folder) != ".":
        print(f"recordings in {as_utf8(folder)}:")
    print_table(columns, rows)
    return len({prediction.path for prediction in found if prediction.probabilities is None})


def _names(paths: Sequence[Path]) -> tuple[Path, list[str], list[str]]:
    """Return the common folder of the recordings, their full paths, and their paths relative to the folder."""
    alike = len({path.is_absolute() for path in paths}) == 1
    folder = Path(os.path.commonpath([path.parent for path in paths])) if alike else Path()
    below = [path.relative_to(folder) if alike else path for path in paths]
    return folder, [as_utf8(path) for path in paths], [as_utf8(path) for path in below]


def _rows(found: "Sequence[Prediction]", names: Sequence[str], task: AudioTask, number: int) -> list[list[str]]:
    """Return the cells of each row, with ``number`` classes per row."""
    rows = []
    for name, prediction in zip(names, found):
        if prediction.probabilities is None or prediction.labels is None:
            reason = str(prediction.error).removeprefix(f"{as_utf8(prediction.path)}: ")
            rows.append([name, "", f"error: {reason}", "", ""])
            continue
        ranked = sorted(zip(task.classes, prediction.probabilities.tolist()), key=lambda pair: -pair[1])
        share = dict(ranked)
        others = [f"{label} {value:.3f}" for label, value in ranked if label not in prediction.labels]
        rows.append(
            [
                name,
                f"{prediction.start_seconds:.1f} to {prediction.stop_seconds:.1f}",
                ", ".join(prediction.labels) or "none of the classes",
                ", ".join(f"{share[label]:.3f}" for label in prediction.labels if label in share),
                ", ".join(others[: max(0, number - len(prediction.labels))]),
            ]
        )
    return rows


def _shortened(name: str, most: int) -> str:
    """Shorten a path from the left to ``most`` characters: an ellipsis, and the end, cut at a slash if possible."""
    if len(name) <= most:
        return name
    ends = [f"…/{name[place + 1 :]}" for place, letter in enumerate(name) if letter == "/"]
    return next((end for end in ends if len(end) <= most), f"…{name[len(name) - most + 1 :]}")
