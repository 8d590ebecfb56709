"""``audio-lightning predict RUN_DIR test.csv``: submission file of predictions for a table of recordings."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from audio_lightning.core.errors import ConfigError

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier
    from audio_lightning.inference.onnx_model import OnnxModel
    from audio_lightning.inference.predict import Prediction
    from audio_lightning.inference.submission import Submission

TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
"""File name suffixes of tables."""


@dataclass(frozen=True)
class TableOptions:
    """Options that apply only to a table of recordings.

    Attributes:
        root: ``--root``.
        submission: ``--submission``.
        path_column: ``--path-column``.
    """

    root: Path | None
    submission: Path | None
    path_column: str | None


def table_among(recordings: Sequence[Path], options: TableOptions) -> Path | None:
    """Return the table of recordings among the arguments; None if they are recordings.

    Raises:
        ConfigError: a table together with other recordings, or options for a table without one.
    """
    tables = [path for path in recordings if path.suffix.lower() in TABLES]
    if tables and len(recordings) > 1:
        raise ConfigError(f"{tables[0]}: a table must be the only argument; leave the other recordings out")
    given = {
        "--root": options.root,
        "--submission": options.submission,
        "--path-column": options.path_column,
    }
    if not tables and (only := [name for name, value in given.items() if value is not None]):
        raise ConfigError(f"{only[0]}: needs a table of recordings, such as test.csv; give one instead of recordings")
    return tables[0].expanduser() if tables else None


def read_request(table: Path, classifier: "Classifier | OnnxModel", options: TableOptions) -> "Submission":
    """Read the table; see :func:`audio_lightning.inference.submission.read_submission`."""
    from audio_lightning.inference.submission import read_submission

    return read_submission(
        table,
        classifier.task.classes,
        root=None if options.root is None else options.root.expanduser(),
        sample=None if options.submission is None else options.submission.expanduser(),
        path_column=options.path_column,
    )


def write_answers(file: IO[str], request: "Submission", rows: "Iterable[tuple[list[str], Prediction]]") -> list[str]:
    """Write rows as they are predicted; return the errors of recordings that could not be read.

    Args:
        file: opened for writing.
        request: the table.
        rows: see :func:`audio_lightning.inference.submission.predicted_rows`.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(request.rows.columns)
    failed: dict[Path, str] = {}
    for cells, prediction in rows:
        writer.writerow(cells)
        if prediction.error is not None:
            failed[prediction.path] = prediction.error
    return list(failed.values())


def summarize(table: Path, request: "Submission", classes: Iterable[str]) -> str:
    """Summarize the written submission in one line."""
    filled = request.label_column or f"{len(request.class_columns)} columns of classes"
    lacking = sorted(set(classes) - {*request.class_columns.values()}) if request.class_columns else []
    without = f"; no column for {', '.join(lacking)}" if lacking else ""
    return f"{len(request.rows):,} rows of {table}, predicted: {filled}{without}"
