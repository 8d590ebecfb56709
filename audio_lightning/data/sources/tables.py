"""Reader of tables that describe recordings, with a problem for every invalid row."""

import contextlib
import csv
import json
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import DataError
from audio_lightning.data.problems import Problem


class ColumnError(DataError):
    """Error about missing columns of a table.

    Attributes:
        lacking: names of the missing columns.
        found: names of the existing columns.
    """

    def __init__(self, path: Path, columns: Sequence[str], found: Collection[str]) -> None:
        self.lacking = [name for name in columns if name not in found]
        self.found = list(found)
        super().__init__(
            f"{path} has no column {', '.join(self.lacking)}; expected {', '.join(columns)}, "
            f"found {', '.join(found) or 'an empty file'}"
            + (_separator_hint(found) or did_you_mean(self.lacking[0], found))
        )


def _separator_hint(found: Collection[str]) -> str:
    """Advice for a header that is one field because its separator is not supported; empty otherwise."""
    if len(found) != 1 or not any(sign in next(iter(found)) for sign in "|:^~"):
        return ""
    return "; separate the fields by commas, semicolons or tabs"


def read_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), *, may_be_empty: bool = False
) -> tuple[pd.DataFrame, list[Problem]]:
    """Read columns of a table as text: CSV, TSV, Parquet or JSON Lines, by suffix.

    Whole numbers are written without decimals (``3``, not ``3.0``), booleans as ``true`` and ``false``, missing values
    as ``""``.

    Args:
        path: the file. CSV and TSV have a header line, from which the separator (comma, semicolon or tab) is detected;
            the encoding is UTF-8, with or without a byte order mark. ``.txt`` is a tab-separated table in which
            quotation marks have no special meaning, as written by Raven.
        required: columns that must not be empty in any row.
        optional: columns that may be empty, but must exist.
        may_be_empty: accept a table with a header and no rows.

    Returns:
        The complete rows (object columns of stripped strings), and a problem for each other row. The index is the line
        number of a row in the file, or its row number in formats without lines; the name of the index states which,
        such as ``"train.csv, line"``. :func:`reject` uses both for its problems.

    Raises:
        DataError: the file is missing, not such a table, or has no rows.
        ColumnError: a column is missing.
    """
    columns = tuple(dict.fromkeys((*required, *optional)))
    unit, kind, rows_of = _reader(path)
    counted = f"{path.name}, {unit}"
    numbers, cells, problems = array("q"), [list[str]() for _ in columns], list[Problem]()
    appends = [cell.append for cell in cells]
    with _explained(path, kind):
        for number, values in rows_of(path, columns):
            if isinstance(values, str):
                problems.append(Problem(f"{counted} {number}", values))
                continue
            if not _is_writable("".join(values)):
                name = next(name for name, value in zip(columns, values) if not _is_writable(value))
                problems.append(
                    Problem(f"{counted} {number}", f"{name} contains a null character or half a surrogate pair")
                )
                continue
            numbers.append(number)
            for append, value in zip(appends, values):
                append(value)
    if not (numbers or problems or may_be_empty):
        raise DataError(f"{path} has no rows; expected one row per clip")
    index = pd.Index(numbers, dtype="int64", name=counted)
    table = pd.DataFrame(dict(zip(columns, cells)), index=index, dtype=object)
    empty = table[list(dict.fromkeys(required))] == ""
    incomplete = empty.any(axis="columns")
    for number, blank in zip(empty.index[incomplete], empty[incomplete].to_numpy()):
        problems.append(Problem(f"{counted} {number}", f"{', '.join(empty.columns[blank])} is empty"))
    return table[~incomplete], problems


def column_names(path: Path) -> list[str]:
    """Column names of a table of :func:`read_table`.

    Raises:
        DataError: the file is missing, or not such a table.
    """
    _, kind, rows_of = _reader(path)
    with _explained(path, kind):
        try:
            for _ in rows_of(path, (_NO_COLUMN,)):
                pass
        except ColumnError as error:
            return error.found
    return []


def reject(table: pd.DataFrame, wrong: pd.Series, what: str, problems: list[Problem]) -> pd.DataFrame:
    """Remove invalid rows from a table of :func:`read_table`.

    Args:
        table: the rows.
        wrong: mask of the invalid rows.
        what: text of the problem, with placeholders for values by column: ``"fold {fold!r} must be a whole number"``.
        problems: list to which a problem is added for each invalid row.

    Returns:
        The valid rows.
    """
    if not wrong.any():
        return table
    rejected = table[wrong]
    for number, values in zip(rejected.index, rejected.to_dict("records")):
        problems.append(Problem(f"{table.index.name} {number}", what.format_map(values)))
    return table[~wrong]


def require_rows(path: Path, table: pd.DataFrame, problems: list[Problem]) -> None:
    """Require at least one row.

    Raises:
        DataError: every row was rejected.
    """
    if table.empty:
        raise DataError(f"{path}: no row can be used; the first problem: {problems[0]}")


def are_whole(values: pd.Series) -> pd.Series:
    """Mask of texts that are non-negative whole numbers."""
    return values.str.fullmatch("[0-9]{1,9}")  # nine digits fit into any integer type


def read_numbered_classes(
    path: Path, *, file: str, group: str, number: str, label: str, extra: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[Problem]]:
    """Read a table of clips with folds and numbered classes, as published with benchmarks.

    Args:
        path: the table, with the folds in the column ``fold``.
        file: column with the file name.
        group: column with the group, which stays in one split.
        number: column with the class number.
        label: column with the class name.
        extra: further columns.

    Returns:
        The usable rows in the order of the table, with the columns ``file``, ``group``, ``fold``, ``number``, ``label``
        and the further ones, and a problem for each other row.

    Raises:
        DataError: the table is missing, lacks a column, or has no usable row.
    """
    rows, problems = read_table(path, (file, group, "fold", number, label, *extra))
    wrong = ~(are_whole(rows["fold"]) & are_whole(rows[number]))
    what = f"fold {{fold!r}} and {number} {{{number}!r}} must be whole numbers"
    rows = reject(rows, wrong, what, problems)
    rows = rows.rename(columns={file: "file", group: "group", number: "number", label: "label"})
    rows = rows.astype({"fold": "int64", "number": "int64"})
    rows["first"] = rows.groupby("label")["number"].transform("first")
    what = f"{number} {{number}} for {{label}}, which has {{first}} in an earlier row"
    rows = reject(rows, rows["number"] != rows["first"], what, problems).drop(columns="first")
    rows = reject(rows, rows.duplicated("file"), "{file} is listed a second time", problems)
    require_rows(path, rows, problems)
    return rows, problems


def classes_by_number(rows: pd.DataFrame) -> tuple[str, ...]:
    """Classes of :func:`read_numbered_classes` in the order of their numbers."""
    return tuple(rows.sort_values(["number", "label"])["label"].unique())


Row = tuple[int, Sequence[str] | str]
"""Line or row number, and the values of the columns, or the text of a problem."""


_NO_COLUMN = "\0"
"""An impossible column name."""


def _reader(path: Path) -> tuple[str, str, Callable[[Path, Sequence[str]], Iterator[Row]]]:
    if path.suffix.lower() not in _READERS:
        raise DataError(
            f"{path}: expected a table with the suffix {', '.join(_READERS)}, found {path.suffix or path.name}"
        )
    return _READERS[path.suffix.lower()]


@contextlib.contextmanager
def _explained(path: Path, kind: str) -> Iterator[None]:
    """Convert errors of reading a file to :class:`DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; check data.root") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a {kind}: {_not_text(path)}; save it as UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is not a {kind}: {error}") from error


def _delimited_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        if path.suffix.lower() == ".txt":
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            # Strict: a misplaced quotation mark would silently merge rows.
            reader = csv.reader(file, delimiter=_separator(file, path.suffix.lower(), columns), strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            positions = _positions(path, columns, header)
            for fields in reader:
                if not any(fields):
                    continue
                if len(fields) != len(header):
                    yield reader.line_num, f"has {len(fields)} fields, the header has {len(header)}"
                else:
                    yield reader.line_num, [fields[position].strip() for position in positions]
        except csv.Error as error:
            raise ValueError(f"{error} (line {reader.line_num})") from error


def _separator(file: TextIO, suffix: str, columns: Sequence[str]) -> str:
    """Detect the separator: the one that finds most of the required columns in the header, or else most columns.

    Spreadsheets in locales with a decimal comma write semicolons into CSV files.
    """

    def found(separator: str) -> tuple[int, int]:
        file.seek(0)
        try:
            header = [name.strip() for name in next(csv.reader(file, delimiter=separator, strict=True), [])]
        except csv.Error:
            return 0, 0
        return len(set(columns) & set(header)), len(header)

    best = max("\t,;" if suffix == ".tsv" else ",;\t", key=found)  # the first one if several are equal
    file.seek(0)
    return best


def _is_writable(text: str) -> bool:
    """Whether a text can be a file name, and be written in UTF-8."""
    try:
        return "\0" not in text and bool(text.encode() or True)
    except UnicodeEncodeError:
        return False


def _not_text(path: Path) -> str:
    """Position of the first byte that is not UTF-8, for a message."""
    data = path.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line, place = data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start)
        return f"byte {place} of line {line} is 0x{data[error.start]:02x}"
    return "it has changed in the meantime"


def _positions(path: Path, columns: Sequence[str], header: list[str]) -> list[int]:
    if not set(columns) <= set(header):
        raise ColumnError(path, columns, header)
    if twice := [name for name in columns if header.count(name) > 1]:
        raise DataError(f"{path} has more than one column {', '.join(twice)}; rename the others")
    return [header.index(name) for name in columns]


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    found: dict[str, None] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                yield number, f"expected a JSON object, found {line.strip()[:40]}"
                continue
            if not row.keys() <= found.keys():
                found |= dict.fromkeys(row)
            yield number, _texts(columns, [row.get(name) for name in columns])
    if found and not set(columns) <= found.keys():
        raise ColumnError(path, columns, found)


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise DataError(f"{path} needs the package pyarrow; pip install pyarrow") from error
    with path.open("rb") as file:
        try:
            source = parquet.ParquetFile(file)
            _positions(path, columns, source.schema_arrow.names)
            number = 0
            for batch in source.iter_batches(columns=list(columns)):
                for values in zip(*(batch.column(name).to_pylist() for name in columns)):
                    number += 1
                    yield number, _texts(columns, values)
        except (OSError, arrow.ArrowException) as error:  # depending on the position of the damage
            raise ValueError(error) from error


def _texts(columns: Sequence[str], values: Sequence[Any]) -> list[str] | str:
    """Convert values to text; or return the text of a problem."""
    for name, value in zip(columns, values):
        if isinstance(value, list | dict | bytes):
            return f"{name} is a {type(value).__name__}, expected text or a number"
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if value is None or value != value:  # NaN, pandas' missing value
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


_READERS: dict[str, tuple[str, str, Callable[[Path, Sequence[str]], Iterator[Row]]]] = {
    ".csv": ("line", "CSV file in UTF-8", _delimited_rows),
    ".tsv": ("line", "TSV file in UTF-8", _delimited_rows),
    ".txt": ("line", "table in UTF-8 with tabs between fields", _delimited_rows),
    ".parquet": ("row", "Parquet file", _parquet_rows),
    ".jsonl": ("line", "JSON Lines file in UTF-8", _json_rows),
    ".ndjson": ("line", "JSON Lines file in UTF-8", _json_rows),
}
"""Readers by suffix: unit of the row number, description of the format, and function that reads rows."""
