"""A table of recordings: any CSV, TSV, Parquet or JSON Lines file that says what is in which file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.folder import SPLIT_NAMES, class_order
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.tables import ColumnError, are_whole, read_table, reject, require_rows
from audio_lightning.errors import ConfigError, DataError


class Table(AudioDataModule):
    """One row a clip; which column holds what is said by the options.

    Paths of recordings are relative to ``root``, or absolute. Classes are in alphabetical order, or in numerical order
    if all are whole numbers.

    Args:
        table: the file, relative to ``root``; also absolute, or relative to the current folder.
        path_column: column with the path of the recording.
        label_column: column with the class.
        start_column: column with the second at which the clip starts; an empty field means the start of the recording.
        stop_column: column with the second at which the clip ends; an empty field means the end of the recording.
        group_column: column with what must not be divided between splits; a recording is a group of its own where the
            field is empty.
        fold_column: column with the number of the fold.
        split_column: column with the split, by a name of :data:`~audio_lightning.data.folder.SPLIT_NAMES`.
        label_separator: what stands between the labels of a clip; a clip may then have several, or none. None: every
            clip has one.
        **options: see :class:`AudioDataModule`.
    """

    def __init__(
        self,
        *,
        table: str,
        path_column: str = "path",
        label_column: str = "label",
        start_column: str | None = None,
        stop_column: str | None = None,
        group_column: str | None = None,
        fold_column: str | None = None,
        split_column: str | None = None,
        label_separator: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if label_separator == "":
            raise ConfigError(
                "data.label_separator is empty: expected what stands between labels, such as ';', or null"
            )
        self.table = table
        self.label_separator = label_separator
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
        """One row a clip of the table.

        Raises:
            DataError: the table is missing, lacks a column, or has no usable row.
        """
        try:
            return read_clips(self.root, self.table, self.columns, self.label_separator)
        except ColumnError as error:
            options = [f"data.{name}_column" for name, column in self.columns.items() if column in error.lacking]
            raise DataError(f"{error} (set {', '.join(f'{option}=...' for option in options)})") from error


def read_clips(root: Path, table: str, columns: Mapping[str, str], label_separator: str | None = None) -> Manifest:
    """Read a table of clips.

    Args:
        root: folder that the paths in the table are relative to.
        table: the file, relative to ``root`` or to the current folder, or absolute.
        columns: name of the column for ``path`` and ``label``, and for those there are of ``start``, ``stop``,
            ``group``, ``fold`` and ``split``.
        label_separator: what stands between the labels of a clip.

    Raises:
        DataError: the table is missing or has no usable row.
        ColumnError: it lacks a column.
    """
    path = _locate(root, table)
    may_be_empty = {"start", "stop", "group", *(["label"] if label_separator else [])}
    required = [column for name, column in columns.items() if name not in may_be_empty]
    rows, problems = read_table(path, required, [column for name, column in columns.items() if name in may_be_empty])
    rows = rows[list(columns.values())].set_axis(list(columns), axis="columns")
    rows = rows.assign(path=rows["path"].str.replace("\\", "/", regex=False))  # as Windows writes them
    if "group" in rows:
        rows = rows.assign(group=rows["group"].mask(rows["group"] == "", rows["path"]))
    if "fold" in rows:
        rows = reject(rows, ~are_whole(rows["fold"]), "fold {fold!r} must be a whole number", problems)
        rows = rows.astype({"fold": "int64"})
    if "split" in rows:
        known = rows["split"].str.lower().map(SPLIT_NAMES)
        what = f"split {{split!r}} must be one of {', '.join(SPLIT_NAMES)}"
        rows = reject(rows, known.isna(), what, problems).assign(split=known)
    listed = "{path} is listed a second time"
    if "start" in rows or "stop" in rows:
        rows = rows.assign(**{name: "" for name in ("start", "stop") if name not in rows})
        rows = rows.assign(start_seconds=_seconds(rows["start"], 0.0), stop_seconds=_seconds(rows["stop"], np.inf))
        right = (rows["start_seconds"] >= 0) & (rows["start_seconds"] < rows["stop_seconds"])
        what = "start {start!r} and stop {stop!r} must be seconds with 0 <= start < stop"
        rows = reject(rows, ~right, what, problems)
        listed = "{path} from {start_seconds} s to {stop_seconds} s is listed a second time"
    same = [name for name in ("path", "start_seconds", "stop_seconds") if name in rows]
    rows = reject(rows, rows.duplicated(same), listed, problems)
    require_rows(path, rows, problems)

    rows = rows.drop(columns=["start", "stop"], errors="ignore").replace({"stop_seconds": {np.inf: np.nan}})
    labels = set(rows["label"].unique())
    if label_separator:
        labels = {name.strip() for label in labels for name in label.split(label_separator)} - {""}
        if not labels:
            raise DataError(f"{path}: column {columns['label']} is empty in every row, expected labels")
    return Manifest(root, rows, class_order(labels), problems, label_separator)


def _locate(root: Path, table: str) -> Path:
    here = Path(table).expanduser()
    below = root / here
    return here if here.is_file() and not below.is_file() else below


def _seconds(texts: pd.Series, empty: float) -> pd.Series:
    """Texts as float64: ``empty`` where there is none, NaN where it is no number."""
    return pd.to_numeric(texts.mask(texts == "", empty), errors="coerce").astype("float64")
