"""Tables that describe recordings, read so that every wrong row is known."""

import csv
from collections.abc import Sequence
from pathlib import Path

from audio_lightning.data.problems import Problem
from audio_lightning.errors import DataError


def read_rows(path: Path, columns: Sequence[str]) -> tuple[list[tuple[int, dict[str, str]]], list[Problem]]:
    """Read the rows of a CSV file that has a header line.

    Args:
        path: the file, in UTF-8 with or without a byte order mark.
        columns: those that are needed, and must not be empty in any row; others are left out.

    Returns:
        Line number and values of every row that is complete, and a problem for every other one.

    Raises:
        DataError: the file is missing, not text, has no rows, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            if lacking := [name for name in columns if name not in header]:
                raise DataError(
                    f"{path} has no column {', '.join(lacking)}: expected {', '.join(columns)}, "
                    f"found {', '.join(header) or 'an empty file'}"
                )
            positions = {name: header.index(name) for name in columns}
            rows: list[tuple[int, dict[str, str]]] = []
            problems: list[Problem] = []
            for fields in reader:
                where = f"{path.name}, line {reader.line_num}"
                if not any(fields):
                    continue
                if len(fields) != len(header):
                    problems.append(Problem(where, f"has {len(fields)} fields, the header has {len(header)}"))
                    continue
                values = {name: fields[position].strip() for name, position in positions.items()}
                if empty := [name for name, value in values.items() if not value]:
                    problems.append(Problem(where, f"{', '.join(empty)} is empty"))
                    continue
                rows.append((reader.line_num, values))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; is data.root the right folder?") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not rows and not problems:
        raise DataError(f"{path} has a header and no rows: expected one row a clip")
    return rows, problems
