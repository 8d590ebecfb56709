"""Predictions as a table to read."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from audio_lightning.cli.output import Column, below_here, print_table
from audio_lightning.task import AudioTask

if TYPE_CHECKING:
    from audio_lightning.inference.predict import Prediction

MOST_LIKELY = 3
"""Classes in a row, unless told otherwise."""

LONG_FOLDER = 20
"""Characters of a common folder from which on it is named once, above the table."""

COLUMNS = (
    Column("recording", whole=True),
    Column("seconds", "right", whole=True),
    Column("predicted"),
    Column("probability", "right", whole=True),
    Column("next most probable"),
)


def print_predictions(predictions: "Iterable[Prediction]", task: AudioTask, top_k: int | None) -> int:
    """Print a row for each window or recording.

    Args:
        predictions: of recordings.
        task: with the classes.
        top_k: classes in a row.

    Returns:
        The number of recordings that could not be read.
    """
    found = list(predictions)
    paths = [below_here(prediction.path) for prediction in found]
    folder = (
        Path(os.path.commonpath([path.parent for path in paths]))
        if len({p.is_absolute() for p in paths}) == 1
        else Path()
    )
    if len(str(folder)) > LONG_FOLDER:
        print(f"recordings in {folder}:")
        paths = [path.relative_to(folder) for path in paths]
    failed = set[Path]()
    rows = []
    for name, prediction in zip(map(str, paths), found):
        if prediction.probabilities is None or prediction.labels is None:
            failed.add(prediction.path)
            reason = str(prediction.error).removeprefix(f"{prediction.path}: ")
            rows.append((name, "", f"error: {reason}", "", ""))
            continue
        ranked = sorted(zip(task.classes, prediction.probabilities.tolist()), key=lambda pair: -pair[1])
        share = dict(ranked)
        others = [f"{label} {value:.3f}" for label, value in ranked if label not in prediction.labels]
        rows.append(
            (
                name,
                f"{prediction.start_seconds:.1f} to {prediction.stop_seconds:.1f}",
                ", ".join(prediction.labels) or "none of the classes",
                ", ".join(f"{share[label]:.3f}" for label in prediction.labels),
                ", ".join(others[: max(0, (top_k or MOST_LIKELY) - len(prediction.labels))]),
            )
        )
    print_table(COLUMNS, rows)
    return len(failed)
