"""Tables that describe recordings, read so that every wrong row is known."""

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
    """A table lacks columns.

    Attributes:
        lacking: their names.
        found: names of the columns that it has.
    """

    def __init__(self, path: Path, columns: Sequence[str], found: Collection[str]) -> None:
        self.lacking = [name for name in columns if name not in found]
        self.found = list(found)
        super().__init__(
            f"{path} has no column {', '.join(self.lacking)}: expected {', '.join(columns)}, "
            f"found {', '.join(found) or 'an empty file'}" + did_you_mean(self.lacking[0], found)
        )


def read_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), *, may_be_empty: bool = False
) -> tuple[pd.DataFrame, list[Problem]]:
    """Read columns of a table as text: CSV, TSV, Parquet or JSON Lines, told apart by the suffix.

    Numbers are written as plainly as they can be (``3``, not ``3.0``), truth values as ``true`` and ``false``, nothing
    as ``""``.

    Args:
        path: the file. CSV and TSV have a header line, which shows whether commas, semicolons or tabs separate the
            fields; text is in UTF-8, with or without a byte order mark. ``.txt`` is a table with tabs between fields in
            which quotation marks have no meaning, as Raven writes it.
        required: columns that must not be empty in any row.
        optional: columns that may be; they must exist all the same.
        may_be_empty: a table with a header and no rows is right.

    Returns:
        The complete rows (object columns of stripped strings) and a problem for every other row. The index holds the
        line number of a row in the file, or its row number where there are no lines; what the number counts is the
        index's name, such as ``"train.csv, line"``. :func:`reject` makes problems of it.

    Raises:
        DataError: the file is missing, not such a table, or has no rows.
        ColumnError: it lacks a column.
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
                    Problem(f"{counted} {number}", f"{name} holds a null character or half a surrogate pair")
                )
                continue
            numbers.append(number)
            for append, value in zip(appends, values):
                append(value)
    if not (numbers or problems or may_be_empty):
        raise DataError(f"{path} has no rows: expected one row a clip")
    index = pd.Index(numbers, dtype="int64", name=counted)
    table = pd.DataFrame(dict(zip(columns, cells)), index=index, dtype=object)
    empty = table[list(dict.fromkeys(required))] == ""
    incomplete = empty.any(axis="columns")
    for number, blank in zip(empty.index[incomplete], empty[incomplete].to_numpy()):
        problems.append(Problem(f"{counted} {number}", f"{', '.join(empty.columns[blank])} is empty"))
    return table[~incomplete], problems


def column_names(path: Path) -> list[str]:
    """Names of the columns of a table of :func:`read_table`.

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
    """Take rows out of a table of :func:`read_table`.

    Args:
        table: the rows.
        wrong: which of them are wrong.
        what: what is wrong with such a row, with its values by column: ``"fold {fold!r} must be a whole number"``.
        problems: where a problem is added for every wrong row.

    Returns:
        The rows that are right.
    """
    if not wrong.any():
        return table
    rejected = table[wrong]
    for number, values in zip(rejected.index, rejected.to_dict("records")):
        problems.append(Problem(f"{table.index.name} {number}", what.format_map(values)))
    return table[~wrong]


def require_rows(path: Path, table: pd.DataFrame, problems: list[Problem]) -> None:
    """Make sure that something is left.

    Raises:
        DataError: every row was rejected.
    """
    if table.empty:
        raise DataError(f"{path}: no row can be used; the first problem: {problems[0]}")


def are_whole(values: pd.Series) -> pd.Series:
    """Which of some texts are whole numbers that are not negative."""
    return values.str.fullmatch("[0-9]{1,9}")  # nine digits fit into every integer type


def read_numbered_classes(
    path: Path, *, file: str, group: str, number: str, label: str, extra: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[Problem]]:
    """Read a table of clips in folds, the classes of which have numbers, as published benchmarks have them.

    Args:
        path: the table. Its column of folds is called ``fold``.
        file: column with the name of the file.
        group: column with what must not be divided between splits.
        number: column with the number of the class.
        label: column with the name of the class.
        extra: further columns.

    Returns:
        The usable rows in the order of the table, with the columns ``file``, ``group``, ``fold``, ``number``, ``label``
        and the further ones, and a problem for every other row.

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
    what = f"{number} {{number}} for {{label}}, which has {{first}} further up"
    rows = reject(rows, rows["number"] != rows["first"], what, problems).drop(columns="first")
    rows = reject(rows, rows.duplicated("file"), "{file} is listed a second time", problems)
    require_rows(path, rows, problems)
    return rows, problems


def classes_by_number(rows: pd.DataFrame) -> tuple[str, ...]:
    """The classes of :func:`read_numbered_classes` in the order of their numbers."""
    return tuple(rows.sort_values(["number", "label"])["label"].unique())


Row = tuple[int, Sequence[str] | str]
"""A line or row number, and the values of the columns, or what is wrong with the row."""


_NO_COLUMN = "\0"
"""A name that no column can have."""


def _reader(path: Path) -> tuple[str, str, Callable[[Path, Sequence[str]], Iterator[Row]]]:
    if path.suffix.lower() not in _READERS:
        raise DataError(
            f"{path}: expected a table that ends in {', '.join(_READERS)}, found {path.suffix or path.name}"
        )
    return _READERS[path.suffix.lower()]


@contextlib.contextmanager
def _explained(path: Path, kind: str) -> Iterator[None]:
    """Errors of reading a file as :class:`DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; is data.root the right folder?") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a {kind}: {_not_text(path)}; save it as UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is not a {kind}: {error}") from error


def _delimited_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        if path.suffix.lower() == ".txt":
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            # Strict: a quotation mark out of place would silently make one row of many.
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
    """What separates the names in the header: what most of the columns, or else most names, are found by.

    Where the decimal comma is in use, spreadsheets write semicolons into what they call comma-separated.
    """

    def found(separator: str) -> tuple[int, int]:
        file.seek(0)
        try:
            header = [name.strip() for name in next(csv.reader(file, delimiter=separator, strict=True), [])]
        except csv.Error:
            return 0, 0
        return len(set(columns) & set(header)), len(header)

    best = max("\t,;" if suffix == ".tsv" else ",;\t", key=found)  # the first of equal ones
    file.seek(0)
    return best


def _is_writable(text: str) -> bool:
    """Whether text can be the name of a file, and be written in UTF-8."""
    try:
        return "\0" not in text and bool(text.encode() or True)
    except UnicodeEncodeError:
        return False


def _not_text(path: Path) -> str:
    """Where a file first is not UTF-8."""
    data = path.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line, place = data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start)
        return f"byte {place} of line {line} is 0x{data[error.start]:02x}"
    return "it has just been changed"


def _positions(path: Path, columns: Sequence[str], header: list[str]) -> list[int]:
    if not set(columns) <= set(header):
        raise ColumnError(path, columns, header)
    if twice := [name for name in columns if header.count(name) > 1]:
        raise DataError(f"{path} has more than one column {', '.join(twice)}: expected one")
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
        raise DataError(f"{path} needs the package pyarrow: pip install pyarrow") from error
    with path.open("rb") as file:
        try:
            source = parquet.ParquetFile(file)
            _positions(path, columns, source.schema_arrow.names)
            number = 0
            for batch in source.iter_batches(columns=list(columns)):
                for values in zip(*(batch.column(name).to_pylist() for name in columns)):
                    number += 1
                    yield number, _texts(columns, values)
        except (OSError, arrow.ArrowException) as error:  # which it is depends on where the damage is
            raise ValueError(error) from error


def _texts(columns: Sequence[str], values: Sequence[Any]) -> list[str] | str:
    """The values as text, or which of them are none."""
    for name, value in zip(columns, values):
        if isinstance(value, list | dict | bytes):
            return f"{name} is a {type(value).__name__}: expected text or a number"
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if value is None or value != value:  # NaN, which pandas writes for nothing
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
"""By suffix: what the number of a row counts, what the file should be, and how its rows are read."""
