"""Annotation files: Raven selection tables, Audacity label tracks, and tables with start and stop columns."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from audio_lightning.core.errors import DataError
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.tables import column_names, read_table, reject
from audio_lightning.data.sources.times import EXPECTED, to_seconds

Program = Literal["Raven", "Audacity", "table"]

SUFFIXES = (".txt", ".csv", ".tsv")
"""Suffixes of annotation files next to recordings."""

RAVEN_START, RAVEN_STOP, RAVEN_OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"

RAVEN_COLUMNS = frozenset(
    {"selection", "view", "channel", "begin time", "end time", "begin file", "begin path", "end file", "end path"}
    | {"file offset", "delta time", "begin date", "begin date time", "begin clock time", "end clock time"}
    | {"score", "confidence", "occupancy", "detection time"}
)
"""Columns of Raven that never contain labels, normalized by :func:`_plain`. The names of Raven's other
measurements end with a unit in parentheses."""

USUAL = {
    "path": ("begin path", "begin file", "path", "file", "filename", "file name", "file path", "recording", "audio"),
    "label": (
        *("annotation", "label", "labels", "species", "common name", "scientific name", "species code", "class"),
        *("class name", "category", "event label", "event", "call type", "tag", "sound type", "type", "name"),
    ),
    "start": ("begin time", "start", "start time", "start seconds", "begin", "begin seconds", "onset", "from", "tmin"),
    "stop": ("end time", "stop", "stop time", "stop seconds", "end", "end seconds", "offset", "to", "tmax"),
}
"""Common names of columns, the most specific first, normalized by :func:`_plain`."""


@dataclass(frozen=True)
class AnnotationFile:
    """Annotations of one file.

    Attributes:
        program: program that writes such files; ``table`` for others.
        rows: one row per annotation, with the columns ``label``, ``start_seconds``, ``stop_seconds`` (infinite: the end
            of the recording), and, if the file has them, ``path``, ``group``, ``fold`` and ``split`` as text. The index
            is the line or row number. A row with an empty label names an annotated recording without annotations.
        problems: rows that cannot be used.
        label_column: column of the labels; empty if there is none.
    """

    program: Program
    rows: pd.DataFrame
    problems: list[Problem]
    label_column: str = ""


def read_annotations(path: Path, columns: Mapping[str, str], *, names_recordings: bool) -> AnnotationFile:
    """Read an annotation file.

    Args:
        path: the file; its format is detected from its content.
        columns: column names of ``path``, ``label``, ``start``, ``stop``, ``group``, ``fold`` and ``split``; the first
            four are found by common names if they are missing.
        names_recordings: require a column that names each row's recording.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    if path.suffix.lower() == ".txt" and not names_recordings and _is_label_track(path):
        return _read_label_track(path)
    names = column_names(path)
    chosen, program = _choose(path, names, columns, names_recordings)
    extra = {"offset": RAVEN_OFFSET, "selection": "Selection", "view": "View"} if program == "Raven" else {}
    extra = {part: name for part, name in extra.items() if name in names}
    if chosen["start"] != RAVEN_START or "path" not in chosen:
        extra.pop("offset", None)
    chosen |= extra
    rows, problems = read_table(path, (), list(chosen.values()), may_be_empty=True)
    rows = rows[list(chosen.values())].set_axis(list(chosen), axis="columns")
    if "label" not in rows:
        if len(rows):
            raise _no_column(path, "label", names)
        rows = rows.assign(label="")
    if {"selection", "view"} <= set(rows):
        rows = _join_views(rows)
    rows = _with_seconds(rows, program, problems)
    kept = [
        name for name in ("path", "label", "start_seconds", "stop_seconds", "group", "fold", "split") if name in rows
    ]
    return AnnotationFile(program, rows[kept], problems, chosen.get("label", ""))


def _choose(
    path: Path, names: list[str], columns: Mapping[str, str], names_recordings: bool
) -> tuple[dict[str, str], Program]:
    """Column of each part, and the program that writes such a table."""
    chosen = dict(columns)
    if lacking := [name for name in columns.values() if name not in names]:
        part = next(part for part, name in columns.items() if name in lacking)
        raise _no_column(path, part, names, found=lacking[0])
    usual = _usual_columns(names)
    program: Program = "Raven" if {RAVEN_START, RAVEN_STOP} <= set(names) else "table"
    if program == "Raven" and "label" not in usual:
        # A custom column of the annotator: the only one that Raven does not write by itself.
        own = [name for name in names if _plain(name) not in RAVEN_COLUMNS and not re.search(r"\(.*\)$", name)]
        usual |= {"label": own[0]} if len(own) == 1 else {}
    for part in ("path", "label", "start", "stop"):
        if part not in chosen and part in usual and usual[part] not in chosen.values():
            chosen[part] = usual[part]
    needed = ("start", "stop", *(["path"] if names_recordings else []))
    if lacking := [part for part in needed if part not in chosen]:
        raise _no_column(path, lacking[0], names)
    return chosen, program


def _usual_columns(names: Collection[str]) -> dict[str, str]:
    """Column of each part of :data:`USUAL` with one of its common names."""
    plain = {_plain(name): name for name in reversed(list(names))}
    found = {part: [plain[name] for name in usual if name in plain] for part, usual in USUAL.items()}
    return {part: named[0] for part, named in found.items() if named}


def _plain(name: str) -> str:
    """Normalize a column name: lower case, spaces between words, without the unit of seconds."""
    words = re.sub(r"[\s_]+", " ", name.casefold()).strip()
    return re.sub(r"\s*[(\[]s(?:ec(?:onds)?)?[)\]]$|(?<=\w)\s(?:s|sec)$", "", words)


def _no_column(path: Path, part: str, names: Collection[str], *, found: str = "") -> DataError:
    what = {
        "path": "the recordings",
        "label": "the labels",
        "start": "the start of each annotation",
        "stop": "the end of each annotation",
    }.get(part, f"the {part}")
    named = f"has no column {found}" if found else f"has no column with a common name for {what}"
    if not names:
        return DataError(f"{path}: is empty; expected a table with start, stop and label, or an Audacity label track")
    return DataError(f"{path}: {named}, only {', '.join(names)}; name the column with data.{part}_column=...")


def _join_views(rows: pd.DataFrame) -> pd.DataFrame:
    """Merge rows of one selection: Raven writes one for the waveform and one for the spectrogram; one may be empty."""
    same = [name for name in ("path", "selection", "start", "stop") if name in rows]
    labels = rows["label"].where(rows["label"] != "").groupby([rows[name] for name in same]).transform("first")
    return rows.assign(label=labels.fillna(""))[~rows.duplicated(same)]


def _with_seconds(rows: pd.DataFrame, program: Program, problems: list[Problem]) -> pd.DataFrame:
    """Rows with valid times; others are added to ``problems``."""
    # In a table, a row without times is a recording without annotations, or a label for the whole recording.
    open_ended = program == "table"
    if open_ended:
        nothing = (rows[["label", "start", "stop"]] == "").all(axis="columns")
        empty, rows = rows[nothing], rows[~nothing]
    start = to_seconds(rows["start"], 0.0 if open_ended else np.nan)
    stop = to_seconds(rows["stop"], np.inf if open_ended else np.nan)
    right = (start >= 0) & (start < stop)
    rows = rows.assign(start_seconds=start, stop_seconds=stop)
    what = f"start {{start!r}} and stop {{stop!r}} must be {EXPECTED}, with 0 <= start < stop"
    rows = reject(rows, ~right, what, problems)
    rows = reject(rows, rows["label"] == "", "has no label, from {start} to {stop}", problems)
    separated = rows["label"].str.contains(LABEL_SEPARATOR, regex=False)
    rows = reject(rows, separated, f"label {{label!r}} contains {LABEL_SEPARATOR!r}; rename it", problems)
    if "offset" in rows:  # relative to the file, while Raven's times are relative to the first of several files
        offset = to_seconds(rows["offset"])
        rows = reject(rows, ~(offset >= 0), f"{RAVEN_OFFSET} {{offset!r}} must be seconds of at least 0", problems)
        offset = offset[rows.index]
        rows = rows.assign(start_seconds=offset, stop_seconds=offset + rows["stop_seconds"] - rows["start_seconds"])
    if open_ended and len(empty):
        rows = pd.concat([rows, empty.assign(start_seconds=0.0, stop_seconds=0.0)])
    return rows


# Audacity


def _is_label_track(path: Path) -> bool:
    """Whether the first line is ``start<TAB>stop``, optionally with a label."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
    except (OSError, UnicodeDecodeError):
        return False  # reported by the reader of tables
    fields = pd.Series(first.rstrip("\r\n").split("\t"), dtype=object).str.strip()
    return len(fields) >= 2 and bool(to_seconds(fields[:2]).notna().all())


def _read_label_track(path: Path) -> AnnotationFile:
    """Read lines ``start<TAB>stop<TAB>label``; lines that begin with a backslash are frequencies."""
    numbers, cells, problems = list[int](), list[list[str]](), list[Problem]()
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.startswith("\\"):
                    continue
                fields = [field.strip() for field in line.rstrip("\r\n").split("\t", 2)]
                if len(fields) < 2:
                    what = f"expected start, stop and label separated by tabs, found {line.strip()[:40]!r}"
                    problems.append(Problem(f"{path.name}, line {number}", what))
                    continue
                numbers.append(number)
                cells.append([*fields, ""][:3])
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not a label track in UTF-8: {error.reason}; save it as UTF-8") from error
    index = pd.Index(numbers, dtype="int64", name=f"{path.name}, line")
    rows = pd.DataFrame(cells, columns=["start", "stop", "label"], index=index, dtype=object)
    rows = _with_seconds(rows, "Audacity", problems)
    return AnnotationFile("Audacity", rows[["label", "start_seconds", "stop_seconds"]], problems)
