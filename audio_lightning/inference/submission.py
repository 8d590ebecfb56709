"""Submission files: predictions for a table of unlabelled recordings, as competitions require them."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from audio_lightning.audio.find import Finder
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.data.sources.tables import column_names, read_table
from audio_lightning.inference.predict import Prediction, predict

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier
    from audio_lightning.inference.onnx_model import OnnxModel

LABEL = "label"
"""Default name of the column for the predicted labels."""


@dataclass(frozen=True)
class Submission:
    """A table of recordings to predict.

    Attributes:
        rows: columns of the submission in order, as text; cells of predictions are empty or placeholders.
        recordings: recording of each row.
        label_column: column for the predicted labels; None if each class has its own column.
        class_columns: maps columns for probabilities to their classes.
    """

    rows: pd.DataFrame
    recordings: list[Path]
    label_column: str | None
    class_columns: dict[str, str]


def read_submission(
    table: Path,
    classes: Sequence[str],
    *,
    root: Path | None = None,
    sample: Path | None = None,
    path_column: str | None = None,
) -> Submission:
    """Read a table of recordings, and infer the columns of its submission.

    With a sample, the submission has the rows and columns of the sample. Without one, a table with columns for at least
    two classes, or with a column ``label``, is its own sample. For any other table, the submission has the columns with
    unique values, and ``label``.

    Args:
        table: CSV, TSV, Parquet or JSON Lines. One column names the recordings: by path, by name, or by name without
            suffix.
        classes: classes of the classifier.
        root: folder with the recordings; None for the folder of the table.
        sample: sample submission with placeholders.
        path_column: column that names the recordings; None for the column by which most are found.

    Raises:
        ConfigError: a folder or a column that does not exist.
        DataError: an unreadable table, a table without some rows of the sample, or missing recordings.
    """
    rows = _read(table)
    column, recordings = _recordings(table, rows, root or table.parent, path_column)
    wanted = rows if sample is None else _read(sample)
    columns = _names(wanted)
    class_columns = _class_columns(columns, classes)
    if sample is not None:
        answers = [name for name in columns if name in class_columns or (not class_columns and name not in rows)]
        answers = answers or [name for name in columns if name == LABEL]
        keys = [name for name in columns if name in rows and name not in answers]
        strange = [name for name in columns if name not in {*answers, *keys}]
        if not keys or strange or (not class_columns and len(answers) != 1):
            raise DataError(
                f"{sample}: has the columns {', '.join(columns)}; expected some of {table.name} "
                f"({', '.join(_names(rows))}), and one for the label or one for each class ({', '.join(classes)})"
            )
        recordings = _of_sample(sample, wanted[keys], table, rows[keys], recordings)
        return Submission(wanted, recordings, None if class_columns else answers[0], class_columns)
    if class_columns or LABEL in wanted:
        return Submission(wanted, recordings, None if class_columns else LABEL, class_columns)
    kept = [name for name in columns if name == column or not wanted[name].duplicated().any()]
    return Submission(wanted[kept].assign(**{LABEL: ""}), recordings, LABEL, {})


def predicted_rows(
    submission: Submission, classifier: "Classifier | OnnxModel", *, top_k: int | None = None, **options: Any
) -> Iterator[tuple[list[str], Prediction]]:
    """Yield the rows of the submission with their predictions: for a recording, the mean of its windows.

    Cells of unreadable recordings stay empty. Arguments are checked when the function is called, not when the first row
    is requested.

    Args:
        submission: the table.
        classifier: in evaluation mode, or an ONNX model.
        top_k: number of labels in the label column, the most probable first, separated by spaces.
        **options: see :func:`audio_lightning.inference.windows.batches`.

    Raises:
        ConfigError: ``top_k`` without a label column, or with classes whose names contain spaces; or an invalid window
            or hop.
    """
    classes = classifier.task.classes
    if top_k is not None:
        if submission.label_column is None:
            raise ConfigError("--top-k: every class has a column of its own in this table; leave it out")
        if spaced := [name for name in classes if " " in name]:
            raise ConfigError(f"--top-k: separates labels by spaces, but class {spaced[0]} contains one; leave it out")
    found = predict(classifier, list(dict.fromkeys(submission.recordings)), per_recording=True, **options)
    return _filled_rows(submission, found, classes, top_k)


def _filled_rows(
    submission: Submission, found: Iterator[Prediction], classes: Sequence[str], top_k: int | None
) -> Iterator[tuple[list[str], Prediction]]:
    known: dict[Path, Prediction] = {}
    place = {name: number for number, name in enumerate(classes)}
    columns = _names(submission.rows)
    for row, path in zip(submission.rows.itertuples(index=False, name=None), submission.recordings):
        while path not in known:
            prediction = next(found)
            known[prediction.path] = prediction
        answer = known[path]
        cells = dict(zip(columns, map(str, row)))
        label, shares = "", dict.fromkeys(submission.class_columns, "")
        if answer.probabilities is not None and answer.labels is not None:
            ranked = [classes[index] for index in (-answer.probabilities).argsort(kind="stable")[:top_k]]
            label = " ".join(ranked) if top_k is not None else LABEL_SEPARATOR.join(answer.labels)
            shares = {
                column: f"{answer.probabilities[place[name]]:.8f}" for column, name in submission.class_columns.items()
            }
        own = {} if submission.label_column is None else {submission.label_column: label}
        yield [*{**cells, **own, **shares}.values()], answer


def _read(path: Path) -> pd.DataFrame:
    """Read all columns of a table as text.

    Raises:
        DataError: an unreadable table or an invalid row.
    """
    if not os.path.lexists(path):
        raise DataError(f"{path}: no such table; check the path")
    rows, problems = read_table(path, (), column_names(path))
    if problems:
        raise DataError(f"{path}: {problems[0].where}: {problems[0].what}; correct it, as every row needs a prediction")
    return rows


def _names(table: pd.DataFrame) -> list[str]:
    """Names of the columns."""
    return [str(name) for name in table.columns]


def _class_columns(columns: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Map columns to classes by name, exactly or ignoring case and word separators; at least two must match."""

    def plain(name: str) -> str:
        return re.sub(r"[\W_]+", "_", name.casefold())

    alike = {plain(name): name for name in classes} if len({*map(plain, classes)}) == len(classes) else {}
    found = {name: name if name in classes else alike.get(plain(name)) for name in columns}
    named = {column: name for column, name in found.items() if name is not None}
    return named if len(named) > 1 else {}


def _recordings(table: Path, rows: pd.DataFrame, root: Path, path_column: str | None) -> tuple[str, list[Path]]:
    """Find the column that names the recordings, and the recording of each row.

    Raises:
        ConfigError: a folder or a column that does not exist.
        DataError: missing recordings.
    """
    if not root.is_dir():
        raise ConfigError(f"--root {root}: no such folder; give the folder with the recordings")
    if path_column is not None and path_column not in rows:
        raise ConfigError(
            f"--path-column {path_column}: no such column in {table}; it has the columns {', '.join(_names(rows))}"
        )
    search = _Search(root)
    columns = _names(rows) if path_column is None else [path_column]
    found = {name: [search(cell) for cell in rows[name]] for name in columns}
    distinct = {name: len({path for path in paths if path is not None}) for name, paths in found.items()}
    best = max(columns, key=lambda name: distinct[name])
    lacking = [cell for cell, path in zip(rows[best], found[best]) if path is None]
    if len(lacking) == len(rows):
        first = ", ".join(f"{name} {rows[name].iloc[0]}" for name in columns[:5])
        raise DataError(
            f"{table}: no column names recordings below {root} (first row: {first}); give their folder with --root "
            "DIR, and the column with --path-column NAME"
        )
    if lacking:
        again = search.several(lacking[0])
        where = f"exists {again} times" if again > 1 else "does not exist"
        raise DataError(
            f"{table}: {len(lacking):,} of {len(rows):,} recordings of column {best} are not found below {root}: the "
            f"first, {lacking[0]}, {where}; give their folder with --root DIR"
        )
    return best, [path for path in found[best] if path is not None]


class _Search:
    """Finds recordings below a folder by relative path, or by unique name."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._named: dict[str, list[Path]] | None = None

    def __call__(self, cell: str) -> Path | None:
        if cell and os.path.isfile(self._root / cell):
            return self._root / cell
        found = self._all().get(Path(cell).name, [])
        return found[0] if len(found) == 1 else None

    def several(self, cell: str) -> int:
        """Number of recordings with this name."""
        return len(self._all().get(Path(cell).name, []))

    def _all(self) -> dict[str, list[Path]]:
        if self._named is None:
            self._named = {}
            try:
                paths = [self._root / below for below in Finder(self._root).recordings()]
            except OSError as error:
                raise DataError(f"{error.filename}: {error.strerror or error}; check its permissions") from error
            for path in paths:
                for name in {path.name, path.stem}:
                    self._named.setdefault(name, []).append(path)
        return self._named


def _of_sample(
    sample: Path, wanted: pd.DataFrame, table: Path, rows: pd.DataFrame, recordings: Sequence[Path]
) -> list[Path]:
    """Find the recording of each row of a sample, by the columns that it shares with the table.

    Raises:
        DataError: a row without a match in the table, or with several different recordings.
    """
    by_key: dict[tuple[str, ...], set[Path]] = {}
    for key, path in zip(rows.itertuples(index=False, name=None), recordings):
        by_key.setdefault(key, set()).add(path)
    found = [by_key.get(key, set()) for key in wanted.itertuples(index=False, name=None)]
    wrong = [number for number, paths in enumerate(found) if len(paths) != 1]
    if wrong:
        first = ", ".join(wanted.iloc[wrong[0]])
        raise DataError(
            f"{sample}: {len(wrong):,} of {len(wanted):,} rows do not match one recording of {table.name}, the first "
            f"is {', '.join(_names(wanted))} {first}; both files must have every row"
        )
    return [next(iter(paths)) for paths in found]
