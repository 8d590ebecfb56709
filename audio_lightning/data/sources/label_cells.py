"""Labels in the cells of a table: one a cell, several with a separator, or one column for each label."""

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
"""Stands for all columns that no other option names."""

ABSENT = ("", "0", "0.0", "false", "no", "n")
PRESENT = ("1", "1.0", "true", "yes", "y", "x")
"""Cells of a column for one label, in lower case."""


@dataclass(frozen=True)
class LabelCells:
    """How a table writes the labels of a clip.

    Attributes:
        separator: what stands between the labels in a cell; None: a cell is one label.
        rows: ``rows``: a clip has a row a label; ``cell``: a clip is one row.
        columns: columns of which each holds for one label whether a clip has it, as names, patterns of the shell, or
            :data:`REST`; none: one column holds the labels.
        multilabel: whether a clip may have several labels, or none. ``auto``: where there is a separator or a row a
            label, or, with columns, where some clip has not exactly one.

    Raises:
        ConfigError: an empty separator, or options that exclude each other.
    """

    separator: str | None = None
    rows: Labels = "cell"
    columns: tuple[str, ...] = ()
    multilabel: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.separator == "":
            raise ConfigError(
                "data.label_separator is empty: expected what stands between labels, such as ';', or null"
            )
        if self.separator is not None and self.columns:
            raise ConfigError(
                f"data.label_separator={self.separator}: with data.label_columns no cell holds a label; leave one out"
            )
        several = {"label_separator": self.separator, "labels": "rows" if self.rows == "rows" else None}
        for name, value in several.items():
            if self.multilabel is False and value is not None:
                raise ConfigError(
                    f"data.multilabel=false: with data.{name}={value} a clip may have several labels; leave one out"
                )

    @property
    def joined_by(self) -> str:
        """What stands between several labels of a clip."""
        return self.separator or LABEL_SEPARATOR

    @property
    def may_be_empty(self) -> bool:
        """Whether a row may have no label, as far as that does not depend on the table."""
        return self.multilabel is True or self.separator is not None or self.rows == "rows"

    def is_multilabel(self, labels: pd.Series) -> bool:
        """Whether a clip may have several labels, given those of all clips."""
        if self.multilabel != "auto":
            return self.multilabel
        return self.may_be_empty or (bool(self.columns) and not _single(labels).all())


ONE_LABEL = LabelCells()
"""One label in every cell."""


def find_label_columns(path: Path, names: Sequence[str], patterns: Sequence[str], taken: Collection[str]) -> list[str]:
    """Columns that patterns name, in the order of the table.

    Args:
        path: of the table, for messages.
        names: its columns.
        patterns: see :class:`LabelCells`.
        taken: columns that hold something else.

    Raises:
        DataError: a pattern that names no column, or a column that cannot be the name of a class.
    """
    free = [name for name in names if name not in taken]
    found: set[str] = set()
    for pattern in patterns:
        matched = free if pattern == REST else [name for name in free if fnmatch.fnmatchcase(name, pattern)]
        matched = [pattern] if pattern in free else matched  # a name with brackets in it
        if not matched:
            others = f"expected one of {', '.join(free)}" if free else "there are none but those with other meanings"
            raise DataError(f"{path}: data.label_columns={pattern} names no column; {others}")
        found.update(matched)
    if unusable := [name for name in found if LABEL_SEPARATOR in name or not name]:
        raise DataError(f"{path}: column {unusable[0]!r} cannot be a label: it is empty or holds {LABEL_SEPARATOR!r}")
    return [name for name in free if name in found]


def join_label_columns(
    rows: pd.DataFrame, columns: Sequence[str], cells: LabelCells, problems: list[Problem]
) -> tuple[pd.DataFrame, pd.Series]:
    """The rows whose label columns can be read, and their labels, joined.

    Problems of the others are added to ``problems``.
    """
    for column in columns:
        right = rows[column].str.lower().isin([*ABSENT, *PRESENT])
        named = column.replace("{", "{{").replace("}", "}}")
        what = f"column {named} holds {{cell!r}}, expected 0 or 1; data.label_columns names the columns of labels"
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
