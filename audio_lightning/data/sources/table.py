"""Data source of a table of recordings: CSV, TSV, Parquet or JSON Lines."""

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem, printable
from audio_lightning.data.sources.folder import SPLIT_NAMES, class_order
from audio_lightning.data.sources.label_cells import (
    ONE_LABEL,
    LabelCells,
    Labels,
    find_label_columns,
    join_label_columns,
)
from audio_lightning.data.sources.tables import ColumnError, are_whole, column_names, read_table, reject, require_rows
from audio_lightning.data.sources.times import EXPECTED, to_seconds
from audio_lightning.data.sources.unicode_paths import as_on_disk
from audio_lightning.data.sources.unlisted import unlisted


class Table(AudioDataModule):
    r"""Table of clips with one row per clip, or one row for each label of a clip; options name the columns.

    Paths of recordings are relative to ``root``, or absolute; ``x``, ``./x`` and ``sub/../x`` are one path. Classes are
    sorted alphabetically, or numerically if all are whole numbers.

    Args:
        table: the file, relative to ``root`` or to the current folder, or absolute. Or a mapping from splits
            (:data:`~audio_lightning.data.sources.folder.SPLIT_NAMES`) to one file each.
        path_column: column with the path of the recording.
        label_column: column with the class.
        start_column: column with the start time of the clip, see
            :func:`~audio_lightning.data.sources.times.to_seconds`; an empty cell means the start of the recording.
        stop_column: column with the end time of the clip; an empty cell means the end of the recording.
        group_column: column with the group, which stays in one split; with an empty cell, a recording is a group of its
            own.
        fold_column: column with the fold number.
        split_column: column with the split, a name of :data:`~audio_lightning.data.sources.folder.SPLIT_NAMES`.
        label_separator: separator of labels; a clip then has any number of labels. None: every cell is one label.
        labels: ``cell``: a clip is one row, with all its labels in one cell. ``rows``: a clip has one row per label,
            and any number of labels.
        label_columns: columns with the presence (0 or 1) of one label each, instead of ``label_column``: names, shell
            patterns, or ``rest`` for all columns that no other option names.
        multilabel: whether a clip may have any number of labels. ``auto``: if ``label_separator`` or ``labels=rows`` is
            given, or if, with ``label_columns``, some clip does not have exactly one label.
        **options: see :class:`AudioDataModule`.

    Raises:
        ConfigError: an empty separator, an unknown split, splits given by both a column and the table, or label options
            that exclude each other.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from audio_lightning.data.sources.table import Table
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = (Path(root) / "clips.csv").write_text("file,labels\na.wav,rain;wind\nb.wav,\n")
        ...     columns = dict(path_column="file", label_column="labels", label_separator=";")
        ...     manifest = Table(root=root, table="clips.csv", **columns).read()
        >>> manifest.classes, manifest.targets().tolist()
        (('rain', 'wind'), [[1.0, 1.0], [0.0, 0.0]])
    """

    def __init__(
        self,
        *,
        table: str | dict[str, str],
        path_column: str = "path",
        label_column: str = "label",
        start_column: str | None = None,
        stop_column: str | None = None,
        group_column: str | None = None,
        fold_column: str | None = None,
        split_column: str | None = None,
        label_separator: str | None = None,
        labels: Labels = "cell",
        label_columns: str | Sequence[str] | None = None,
        multilabel: bool | Literal["auto"] = "auto",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_table(table, split_column)
        self.table = table
        chosen = (label_columns,) if isinstance(label_columns, str) else tuple(label_columns or ())
        self.cells = LabelCells(label_separator, labels, chosen, multilabel)
        columns = {
            "path": path_column,
            "label": label_column,
            "start": start_column,
            "stop": stop_column,
            "group": group_column,
            "fold": fold_column,
            "split": split_column,
        }
        self.columns = {name: column for name, column in columns.items() if column is not None}

    def read(self) -> Manifest:
        """One row per clip of the table.

        Raises:
            DataError: see :func:`read_clips`.
        """
        try:
            return read_clips(self.root, self.table, self.columns, self.cells)
        except ColumnError as error:
            options = [f"data.{name}_column" for name, column in self.columns.items() if column in error.lacking]
            raise DataError(f"{error} (set {', '.join(f'{option}=...' for option in options)})") from error

    def unlisted(self) -> list[str]:
        """Recordings in the folders of the table's recordings, and below, that the table does not list."""
        found = unlisted(self.pool.manifest, outside=False)
        return [path for path, problem in found if problem is None]


def check_table(table: str | Mapping[str, str] | None, split_column: str | None = None) -> None:
    """Check the splits of a mapping of tables.

    Raises:
        ConfigError: an unknown split, an empty mapping, or splits that a column gives as well.
    """
    if table is None or isinstance(table, str):
        return
    if split_column is not None:
        raise ConfigError(f"data.split_column={split_column}: data.table defines the splits already; leave one out")
    if not table:
        raise ConfigError("data.table={}: expected a file, or one for each split, such as {train: a.csv, test: b.csv}")
    for name in table:
        if name.lower() not in SPLIT_NAMES:
            raise ConfigError(f"data.table.{name}: there is no such split; expected one of {', '.join(SPLIT_NAMES)}")


def read_clips(
    root: Path,
    table: str | Mapping[str, str],
    columns: Mapping[str, str],
    cells: LabelCells = ONE_LABEL,
) -> Manifest:
    """Read a table of clips, or one for each split.

    Args:
        root: folder to which paths in the table are relative.
        table: the file, relative to ``root`` or to the current folder, or absolute; or a mapping from splits to files.
        columns: column names of ``path`` and ``label``, and optionally ``start``, ``stop``, ``group``, ``fold`` and
            ``split``.
        cells: representation of labels; with one column for each label, ``columns["label"]`` is not used.

    Raises:
        DataError: a table is missing, has no usable row, or lists a clip in several rows with different labels although
            a clip is one row.
        ColumnError: a column is missing.
    """
    files = [("", table)] if isinstance(table, str) else [(SPLIT_NAMES[name.lower()], table[name]) for name in table]
    problems: list[Problem] = []
    parts = []
    for split, file in files:
        part = _read_rows(root, locate(root, file), columns, cells, problems)
        parts.append(part.assign(split=split) if split else part)
    rows = pd.concat(parts, ignore_index=True).replace({"stop_seconds": {np.inf: np.nan}})
    separator = cells.joined_by if cells.is_multilabel(rows["label"]) else None
    classes = set(rows["label"].unique())
    if separator:
        classes = {name.strip() for label in classes for name in label.split(separator)} - {""}
        if not classes:
            named = " and ".join(str(locate(root, file)) for _, file in files)
            what = ", ".join(cells.columns) if cells.columns else f"column {columns['label']}"
            raise DataError(f"{named}: {what} is empty in every row; expected labels")
    return Manifest(root, rows, class_order(classes), problems, separator)


def _read_rows(
    root: Path,
    path: Path,
    columns: Mapping[str, str],
    cells: LabelCells,
    problems: list[Problem],
) -> pd.DataFrame:
    """Usable rows of one table, one per clip; problems of other rows are added to ``problems``.

    Args:
        root: see :func:`read_clips`.
        path: the table.
        columns: see :func:`read_clips`.
        cells: see :func:`read_clips`.
        problems: problems of this and other tables.
    """
    hot = find_label_columns(path, column_names(path), cells.columns, columns.values()) if cells.columns else []
    columns = {name: column for name, column in columns.items() if name != "label" or not hot}
    may_be_empty = {"start", "stop", "group", *(["label"] if cells.may_be_empty else [])}
    required = [column for name, column in columns.items() if name not in may_be_empty]
    optional = [column for name, column in columns.items() if name in may_be_empty]
    rows, found = read_table(path, required, [*optional, *hot])
    labels = pd.Series(dtype=object)
    if hot:
        rows, labels = join_label_columns(rows, hot, cells, found)
    rows = rows[list(columns.values())].set_axis(list(columns), axis="columns")
    rows = rows.assign(label=labels) if hot else rows
    rows = rows.assign(path=as_on_disk(root, _normalized(rows["path"], os.path.abspath(root))))
    listed_paths = rows["path"]
    outside = (rows["path"] == "..") | rows["path"].str.startswith("../")
    what = "{path} is outside of data.root; use its absolute path, or move it there"
    rows = reject(rows, outside, what, found)
    if "group" in rows:
        rows = rows.assign(group=rows["group"].mask(rows["group"] == "", rows["path"]))
    if "fold" in rows:
        rows = reject(rows, ~are_whole(rows["fold"]), "fold {fold!r} must be a whole number", found)
        rows = rows.astype({"fold": "int64"})
    if "split" in rows:
        known = rows["split"].str.lower().map(SPLIT_NAMES)
        what = f"split {{split!r}} must be one of {', '.join(SPLIT_NAMES)}"
        rows = reject(rows, known.isna(), what, found)
        rows = rows.assign(split=known[rows.index])  # aligned: an empty table would otherwise get further rows
    listed = "{path} is listed a second time"
    if "start" in rows or "stop" in rows:
        rows = rows.assign(**{name: "" for name in ("start", "stop") if name not in rows})
        rows = rows.assign(start_seconds=to_seconds(rows["start"], 0.0), stop_seconds=to_seconds(rows["stop"], np.inf))
        right = (rows["start_seconds"] >= 0) & (rows["start_seconds"] < rows["stop_seconds"])
        what = f"start {{start!r}} and stop {{stop!r}} must be {EXPECTED}, with 0 <= start < stop"
        rows = reject(rows, ~right, what, found).drop(columns=["start", "stop"])
        listed = "{path} from {start_seconds} s to {stop_seconds} s is listed a second time"
    same = [name for name in ("path", "start_seconds", "stop_seconds") if name in rows]
    if cells.may_be_empty and cells.separator is None and not hot:
        holds = rows["label"].str.contains(LABEL_SEPARATOR, regex=False)
        rows = reject(rows, holds, f"label {{label!r}} contains {LABEL_SEPARATOR!r}; rename it", found)
    if cells.rows == "cell":
        _require_one_label(path, rows, same)
        rows = reject(rows, rows.duplicated(same), listed, found)
    else:
        incomplete = rows["path"].isin(listed_paths[listed_paths.index.difference(rows.index)])
        rows = reject(rows, incomplete, "{path}: another row of it cannot be used", found)
        rows = _joined(rows, same, cells.joined_by, found)
    require_rows(path, rows, found)
    problems += found
    return rows


def _normalized(paths: pd.Series, root: str) -> pd.Series:
    """Normalize paths: forward slashes, no ``.`` and ``..``, relative to ``root`` if inside it.

    ``..`` is resolved textually, as in a URL, so that it never follows a symbolic link out of the folder.
    """
    below = root.rstrip("/") + "/"

    def normalized(path: str) -> str:
        path = posixpath.normpath(path.replace("\\", "/"))  # backslashes of Windows
        return path.removeprefix(below) if path.startswith("/") else path

    return paths.map(normalized).astype(object)


def _require_one_label(path: Path, rows: pd.DataFrame, same: Sequence[str]) -> None:
    """Refuse clips with several rows of different labels, because any choice among them would be wrong."""
    differing = rows.duplicated(same, keep=False) & ~rows.duplicated([*same, "label"], keep=False)
    if not differing.any():
        return
    clips = rows[differing].drop_duplicates(same)
    first = clips.iloc[0]
    labels = rows["label"][(rows[list(same)] == first[list(same)]).all(axis="columns")]
    raise DataError(
        f"{path}: {len(clips)} clip{'s have' if len(clips) > 1 else ' has'} several rows with different labels, the "
        f"first is {printable(first['path'])} ({printable(', '.join(labels))}); data.labels=rows joins them, so that a "
        "clip may have several labels"
    )


def _joined(rows: pd.DataFrame, same: Sequence[str], separator: str, problems: list[Problem]) -> pd.DataFrame:
    """Merge the rows of each clip into its first one, with the labels of all."""
    for column in [name for name in ("group", "fold", "split") if name in rows]:
        several = rows.groupby(list(same), sort=False)[column].transform("nunique") > 1
        rows = reject(rows, several, f"{{path}} has another {column} than {{{column}!r}} in another row", problems)
    labels: dict[tuple[Any, ...], dict[str, None]] = {}
    for clip, label in zip(zip(*(rows[name] for name in same)), rows["label"]):
        labels.setdefault(clip, {})[label] = None
    first = rows[~rows.duplicated(same)]
    return first.assign(label=[separator.join(filter(None, names)) for names in labels.values()])


def locate(root: Path, table: str) -> Path:
    """Path of a table: relative to the current folder if the file exists only there, otherwise below ``root``."""
    here = Path(table).expanduser()
    below = root / here
    return here if here.is_file() and not below.is_file() else below
