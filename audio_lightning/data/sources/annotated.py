"""Search for annotated recordings: annotation files next to recordings, or tables that name recordings."""

import functools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

import pandas as pd

from audio_lightning.audio import Finder, describe
from audio_lightning.core.cores import cores
from audio_lightning.core.errors import AudioError, DataError
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.annotation_files import SUFFIXES, AnnotationFile, read_annotations
from audio_lightning.data.sources.folder import SPLIT_NAMES
from audio_lightning.data.sources.name_patterns import examples
from audio_lightning.data.sources.tables import are_whole, reject
from audio_lightning.data.store.recordings import stat_text

RECORDING_COLUMNS = ("group", "fold", "split")
"""Columns with a property of the recording, which must be the same for all of its annotations."""


@dataclass
class Annotated:
    """Annotated recordings.

    Attributes:
        annotations: one row per annotation, with the columns ``path``, ``label``, ``start_seconds`` and
            ``stop_seconds``, within the recording.
        recordings: one row per annotated recording, indexed by path, with the columns ``seconds`` (its duration),
            ``group``, ``fold`` and ``split``, as in a manifest.
        problems: rows, files and recordings that cannot be used.
        notes: information for the user.
        programs: number of annotation files per program that writes them.
        label_columns: columns that contain labels.
    """

    annotations: pd.DataFrame
    recordings: pd.DataFrame
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    programs: Counter[str] = field(default_factory=Counter)
    label_columns: tuple[str, ...] = ()


def find_annotated(
    root: Path, tables: Sequence[tuple[str, Path]], columns: Mapping[str, str], ignore: Sequence[str] = ()
) -> Annotated:
    """Read the annotations of a folder of recordings, from annotation files or tables, and the recordings' durations.

    Args:
        root: folder of the recordings.
        tables: pairs of a split (``""``: unknown) and a table that names the recordings; if empty, the annotation files
            next to the recordings are read.
        columns: see :func:`~audio_lightning.data.sources.annotation_files.read_annotations`.
        ignore: see :class:`audio_lightning.audio.Finder`.

    Raises:
        DataError: no recordings, no annotations, or a table that cannot be read.
    """
    finder = Finder(root, ignore)
    try:
        paths = finder.recordings()
        if not paths:
            raise DataError(
                f"{root}: contains no recordings; expected WAV, FLAC, OGG, MP3, ..., "
                f"found {finder.summary() or 'nothing'}"
            )
        found = Annotated(pd.DataFrame(), pd.DataFrame())
        place = _Places(root, paths)
        if tables:
            rows = [_of_table(split, file, columns, place, found) for split, file in tables]
        else:
            rows = _beside(finder, paths, columns, place, found)
    except OSError as error:
        raise DataError(
            f"{error.filename}: {error.strerror or error}; expected a readable folder, check data.root"
        ) from error
    every = pd.concat(rows, ignore_index=True)
    found.recordings = _measured(root, _of_recordings(every, found.problems), found.problems)
    every = every[every["path"].isin(found.recordings.index) & (every["label"] != "")]
    found.annotations = _within(every, found)
    if found.recordings.empty:
        raise DataError(f"{root}: no annotated recording can be used; the first problem: {found.problems[0]}")
    passed_over = finder.summary() if not tables else ""
    found.notes += [f"ignored: {passed_over}"] if passed_over else []
    return found


# Assignment of annotation files to recordings


class _Places:
    """Lookup of the recording that a row of a table names.

    Args:
        root: folder of the recordings.
        paths: paths of the recordings, relative to ``root``.
    """

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self._root = root
        self._by_end: dict[str, list[str]] = {}
        for path in paths:
            name = normalize("NFC", path)
            for end in dict.fromkeys([name, os.path.splitext(name)[0]]):
                parts = end.split("/")
                for first in range(len(parts)):
                    self._by_end.setdefault("/".join(parts[first:]), []).append(path)

    def find(self, named: str) -> str:
        """Path of the only recording whose path ends with the name; empty if there is none, or more than one.

        Tables may contain paths of another machine: the longest matching end is used.
        """
        parts = normalize("NFC", named.replace("\\", "/")).removeprefix("./").split("/")
        for first in range(len(parts)):
            if found := self._by_end.get("/".join(parts[first:])):
                whole = [path for path in found if normalize("NFC", path) == "/".join(parts[first:])]
                return whole[0] if whole else found[0] if len(found) == 1 else ""
        return named if os.path.isabs(named) and os.path.isfile(named) else ""


def _of_table(split: str, file: Path, columns: Mapping[str, str], place: _Places, found: Annotated) -> pd.DataFrame:
    read = _taken(read_annotations(file, columns, names_recordings=True), found)
    rows = reject(read.rows, read.rows["path"] == "", "names no recording", found.problems)
    named = {name: place.find(name) for name in rows["path"].unique()}
    if rows.empty or not any(named.values()):
        first = f", such as {next(iter(named))}" if named else ""
        raise DataError(
            f"{file}: names no recording below data.root{first}; check that data.root is the folder of the recordings"
        )
    found.problems += [
        Problem(name, "there is no such recording below data.root, or more than one", "missing")
        for name, path in named.items()
        if not path
    ]
    rows = rows.assign(path=rows["path"].map(named), where=_lines(rows))
    rows = rows[rows["path"] != ""]
    return rows.assign(split=split) if split else rows


def _beside(
    finder: Finder, paths: Sequence[str], columns: Mapping[str, str], place: _Places, found: Annotated
) -> list[pd.DataFrame]:
    """Rows of all annotation files next to a recording of the same name."""
    by_folder: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        for stem in dict.fromkeys([name, os.path.splitext(name)[0]]):
            by_folder.setdefault(folder, {}).setdefault(normalize("NFC", stem), []).append(path)
    rows, alone = list[pd.DataFrame](), list[str]()
    for folder, stems in by_folder.items():
        prefix = f"{folder}/" if folder else ""
        for name in finder.others(prefix):
            if not name.lower().endswith(SUFFIXES):
                continue
            file = prefix + name
            if not (of_name := named_like(name, stems)):
                alone.append(file)
                continue
            finder.use(name)
            if len(of_name) > 1:
                what = f"is next to {len(of_name)} recordings of the same name: {examples(of_name)}; rename one"
                found.problems.append(Problem(file, what))
                continue
            try:
                read = read_annotations(finder.root / file, columns, names_recordings=False)
            except DataError as error:  # reported as a problem, because other files may be usable
                found.problems.append(Problem(file, str(error).removeprefix(f"{finder.root / file}").lstrip(": ")))
                continue
            rows.append(_assigned(_taken(read, found), file, of_name[0], place, found))
    if not rows:
        first = f"; the first problem: {found.problems[0]}" if found.problems else ""
        beside = f", only {examples(alone)}" if alone else ""
        raise DataError(
            f"{finder.root}: no annotation file is next to a recording of the same name{beside}{first}; expected one "
            f"such as {os.path.splitext(paths[0])[0]}.txt for {paths[0]} (a Raven selection table, an Audacity label "
            "track, or a table with start, stop and label), or one table for all recordings: data.table=FILE"
        )
    return rows


def named_like(name: str, stems: Mapping[str, list[str]]) -> list[str]:
    """Recordings to which a file belongs by its name: ``rec.Table.1.selections.txt`` belongs to ``rec.wav``.

    Args:
        name: name of the file.
        stems: recordings by name, with and without suffix.
    """
    stem = normalize("NFC", name)
    while "." in stem:
        stem = stem.rpartition(".")[0]
        if stem in stems:
            return stems[stem]
    return []


def _assigned(read: AnnotationFile, file: str, path: str, place: _Places, found: Annotated) -> pd.DataFrame:
    """Rows of an annotation file next to the recording ``path``; the file may name other recordings as well.

    If it names no known recording, the recording was probably renamed, and all rows belong to ``path``.
    """
    rows = read.rows.assign(where=_lines(read.rows))
    if rows.empty:
        nothing = {"path": path, "label": "", "where": file, "start_seconds": 0.0, "stop_seconds": 0.0}
        return pd.DataFrame([nothing])
    named = {name: place.find(name) for name in (rows["path"].unique() if "path" in rows else [])}
    if not any(named.values()):
        return rows.assign(path=path)
    found.problems += [
        Problem(name or file, f"{file} names it, and there is no such recording below data.root, or more than one")
        for name, known in named.items()
        if not known
    ]
    rows = rows.assign(path=rows["path"].map(named))
    return rows[rows["path"] != ""]


def _lines(rows: pd.DataFrame) -> list[str]:
    """Position of each row in its file, such as ``"a.csv, line 3"``."""
    return [f"{rows.index.name} {number}" for number in rows.index]


def _taken(read: AnnotationFile, found: Annotated) -> AnnotationFile:
    found.programs[read.program] += 1
    found.problems += read.problems
    if read.label_column and read.label_column not in found.label_columns:
        found.label_columns += (read.label_column,)
    return read


# Properties of recordings


def _of_recordings(rows: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
    """Group, fold and split of every recording, from its rows."""
    given = [column for column in RECORDING_COLUMNS if column in rows]
    rows = rows.fillna(dict.fromkeys(given, ""))
    for column in given:
        several = rows.groupby("path", sort=False)[column].agg(["nunique", "unique"])
        differing = several[several["nunique"] > 1]
        problems += [
            Problem(path, f"its annotations have more than one {column}: {', '.join(map(str, values))}")
            for path, values in zip(differing.index.tolist(), differing["unique"])
        ]
        rows = rows[~rows["path"].isin(differing.index)]
    known = rows.drop_duplicates("path").set_index("path")[given]
    known = known.assign(**{column: "" for column in RECORDING_COLUMNS if column not in given})
    known["group"] = known["group"].mask(known["group"] == "", known.index.to_series())
    if "fold" in given:
        known = _require(known, are_whole(known["fold"]), "fold", "a whole number", problems)
    known["fold"] = known["fold"].mask(known["fold"] == "", "-1").astype("int64")
    if "split" in given:
        split = known["split"].str.lower().map(SPLIT_NAMES)
        known = _require(known, split.notna(), "split", f"one of {', '.join(SPLIT_NAMES)}", problems)
        known = known.assign(split=split[known.index])
    return known


def _require(
    recordings: pd.DataFrame, right: pd.Series, column: str, expected: str, problems: list[Problem]
) -> pd.DataFrame:
    wrong = recordings[column][~right]
    problems += [
        Problem(path, f"{column} {value!r} must be {expected}") for path, value in zip(wrong.index.tolist(), wrong)
    ]
    return recordings[right]


def _measured(root: Path, recordings: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
    """Readable recordings with their durations in seconds, from their headers."""
    files = [os.path.join(root, path) for path in recordings.index]
    with ThreadPoolExecutor(cores()) as pool:
        lengths = list(pool.map(_seconds, files))
    problems += [
        Problem(path, length.removeprefix(f"{file}: "), "unreadable")
        for path, file, length in zip(recordings.index, files, lengths)
        if isinstance(length, str)
    ]
    right = [not isinstance(length, str) for length in lengths]
    return recordings[right].assign(seconds=[length for length in lengths if not isinstance(length, str)])


def _seconds(file: str) -> float | str:
    return _seconds_as_it_is(file, stat_text(file))


@functools.lru_cache(maxsize=65536)
def _seconds_as_it_is(file: str, stat: str) -> float | str:
    """Duration of a recording, or its error; cached until the file's status changes."""
    try:
        info = describe(file)
    except AudioError as error:
        return str(error)
    return info.duration_seconds if info.frames else f"{file}: holds a header but no frames"


def _within(rows: pd.DataFrame, found: Annotated) -> pd.DataFrame:
    """Annotations cut to the extent of their recordings."""
    length = rows["path"].map(found.recordings["seconds"]).astype("float64")
    behind = rows["start_seconds"] >= length
    found.problems += [
        Problem(where, f"starts at {start:g} s, after the end of {path} at {end:.3f} s")
        for where, start, path, end in zip(
            rows["where"][behind], rows["start_seconds"][behind], rows["path"][behind], length[behind]
        )
    ]
    rows, length = rows[~behind], length[~behind]
    cut = (rows["stop_seconds"] > length + 0.1) & (rows["stop_seconds"] < float("inf"))
    if count := int(cut.sum()):
        first = rows[cut].iloc[0]
        found.notes.append(
            f"{count:,} annotation{'s' * (count != 1)} ({first['where']}) end{'s' * (count == 1)} after the end of the "
            "recording; only the part within is used"
        )
    rows = rows.assign(stop_seconds=rows["stop_seconds"].clip(upper=length))
    return rows[["path", "label", "start_seconds", "stop_seconds"]].reset_index(drop=True)
