"""Labels in table cells: one per cell, several with a separator, or one column for each label."""

import fnmatch
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.tables import reject

Labels = Literal["cell", "rows"]

REST = "rest"
"""Pattern for all columns that no other option names."""

ABSENT = ("", "0", "0.0", "false", "no", "n")
PRESENT = ("1", "1.0", "true", "yes", "y", "x")
"""Cells of the column of a label that mean that a clip has it, in lower case; :data:`ABSENT`: that it does not."""


@dataclass(frozen=True)
class LabelCells:
    """Representation of labels in a table.

    Attributes:
        separator: separator of several labels in a cell; None: a cell is one label.
        rows: ``rows``: a clip has one row per label; ``cell``: a clip is one row.
        columns: columns with the presence of one label each, as names, shell patterns, or :data:`REST`; empty: one
            column contains the labels.
        multilabel: whether a clip may have any number of labels. ``auto``: if there is a separator or one row per
            label, or, with columns, if some clip does not have exactly one label.

    Raises:
        ConfigError: an empty separator, or options that exclude each other.
    """

    separator: str | None = None
    rows: Labels = "cell"
    columns: tuple[str, ...] = ()
    multilabel: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.separator == "":
            raise ConfigError("data.label_separator is empty; expected a separator such as ';', or null")
        if self.separator is not None and self.columns:
            raise ConfigError(
                f"data.label_separator={self.separator}: cells of data.label_columns contain no labels; leave one out"
            )
        several = {"label_separator": self.separator, "labels": "rows" if self.rows == "rows" else None}
        for name, value in several.items():
            if self.multilabel is False and value is not None:
                raise ConfigError(
                    f"data.multilabel=false: data.{name}={value} allows several labels per clip; leave one out"
                )

    @property
    def joined_by(self) -> str:
        """Separator of several labels of a clip."""
        return self.separator or LABEL_SEPARATOR

    @property
    def may_be_empty(self) -> bool:
        """Whether a row may have no label, if that is known without the table."""
        return self.multilabel is True or self.separator is not None or self.rows == "rows"

    def is_multilabel(self, labels: pd.Series) -> bool:
        """Whether clips may have several labels, given the labels of all clips."""
        if self.multilabel != "auto":
            return self.multilabel
        return self.may_be_empty or (bool(self.columns) and not _single(labels).all())


ONE_LABEL = LabelCells()


def find_label_columns(path: Path, names: Sequence[str], patterns: Sequence[str], taken: Collection[str]) -> list[str]:
    """Columns that match patterns, in the order of the table.

    Args:
        path: path of the table, for messages.
        names: columns of the table.
        patterns: see :class:`LabelCells`.
        taken: columns with another meaning.

    Raises:
        DataError: a pattern that matches no column, or a column that cannot be the name of a class.
    """
    free = [name for name in names if name not in taken]
    found: set[str] = set()
    for pattern in patterns:
        matched = free if pattern == REST else [name for name in free if fnmatch.fnmatchcase(name, pattern)]
        matched = [pattern] if pattern in free else matched  # a column name may contain brackets
        if not matched:
            others = f"expected one of {', '.join(free)}" if free else "all columns have other meanings"
            raise DataError(f"{path}: data.label_columns={pattern} names no column; {others}")
        found.update(matched)
    if unusable := [name for name in found if LABEL_SEPARATOR in name or not name]:
        raise DataError(
            f"{path}: column {unusable[0]!r} cannot be a label: it is empty or has {LABEL_SEPARATOR!r}; rename it"
        )
    return [name for name in free if name in found]


def join_label_columns(
    rows: pd.DataFrame, columns: Sequence[str], cells: LabelCells, problems: list[Problem]
) -> tuple[pd.DataFrame, pd.Series]:
    """Rows with valid label columns, and their joined labels.

    Problems of other rows are added to ``problems``.
    """
    for column in columns:
        right = rows[column].str.lower().isin([*ABSENT, *PRESENT])
        named = column.replace("{", "{{").replace("}", "}}")
        what = f"column {named} has {{cell!r}}, expected 0 or 1; check data.label_columns"
        reject(rows[[column]].set_axis(["cell"], axis="columns"), ~right, what, problems)
        rows = rows[right]
    labels = pd.Series("", index=rows.index, dtype=object)
    for column in columns:
        has = rows[column].str.lower().isin(PRESENT)
        labels = labels.mask(has, (labels + LABEL_SEPARATOR + column).str.removeprefix(LABEL_SEPARATOR))
    if cells.multilabel is False:
        shown = pd.DataFrame({"labels": labels.str.replace(LABEL_SEPARATOR, ", ", regex=False)}, index=rows.index)
        shown["labels"] = shown["labels"].mask(labels == "", "none")
        wrong = ~_single(labels)
        reject(shown, wrong, "labels {labels}: expected exactly one with data.multilabel=false", problems)
        rows, labels = rows[~wrong], labels[~wrong]
    return rows, labels


def _single(labels: pd.Series) -> pd.Series:
    return (labels != "") & ~labels.str.contains(LABEL_SEPARATOR, regex=False)
