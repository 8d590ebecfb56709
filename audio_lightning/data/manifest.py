"""The table of clips that every data source boils down to."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pandas as pd

from audio_lightning.core.errors import DataError
from audio_lightning.data.problems import Problem

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

DEFAULTS: dict[str, str | float | bool] = {
    "group": "",
    "fold": -1,
    "split": "",
    "start_seconds": 0.0,
    "stop_seconds": np.nan,
    "background": False,
    "channel": 0,
}
"""Columns that a source may leave out, and what they are then."""


@dataclass
class Manifest:
    """One row a clip, made without decoding anything.

    Attributes:
        root: folder that the paths are relative to.
        table: one row a clip, with the columns

            * ``path``: relative to ``root``, with forward slashes; absolute for a file elsewhere;
            * ``label``: name of the class, or several, joined by ``label_separator``;
            * ``group``: what must not be divided between splits (the source recording, the speaker, the note); empty
              where nobody knows;
            * ``fold``: -1 where there is none;
            * ``split``: ``""`` until it is assigned, unless the data set itself says it;
            * ``start_seconds``, ``stop_seconds``: the part of the file that is meant; NaN as stop means to its end;
            * ``background``: whether the clip is a random stretch of the file at a random volume, as "silence" is made
              of background noise. Such rows may use one file in all splits;
            * ``channel``: of the file, counted from 1; 0 for the one that ``data.channel`` names, or the mean.
        classes: names of the classes in the order of the logits.
        problems: rows that could not be used, and why.
        label_separator: what stands between the labels of a clip that has several; None where each has one.
        notes: what a user should know, although nothing is wrong; a sentence each.
        found: what the names of recordings say, in one line to show before anything is decoded; empty where nothing
            was looked for in them.

    Labels and groups are composed (Unicode NFC), so that one name written in two forms is one class.
    """

    root: Path
    table: pd.DataFrame
    classes: tuple[str, ...]
    problems: list[Problem] = field(default_factory=list)
    label_separator: str | None = None
    notes: list[str] = field(default_factory=list)
    found: str = ""

    def __post_init__(self) -> None:
        self.table = self.table.reset_index(drop=True)
        for name, default in DEFAULTS.items():
            if name not in self.table:
                self.table[name] = default
        if lacking := {"path", "label"} - set(self.table.columns):
            raise ValueError(f"a manifest has the columns path and label, this one lacks {sorted(lacking)}")
        self._compose_names()
        if unknown := {name for label in self.table["label"].unique() for name in self.labels(label)} - set(
            self.classes
        ):
            raise ValueError(f"labels {sorted(unknown)} are not among the classes {self.classes}")

    def _compose_names(self) -> None:
        self.classes = tuple(dict.fromkeys(normalize("NFC", name) for name in self.classes))
        for column in ("label", "group"):
            composed = {name: normalize("NFC", name) for name in self.table[column].unique()}
            if all(name == found for name, found in composed.items()):
                continue
            self.table[column] = self.table[column].map(composed)
            names = [name for entry in composed.values() for name in self.labels(entry)] if column == "label" else []
            written = {name for entry in composed for name in self.labels(entry)}
            self.notes += [
                f"class {name} is written in composed and in decomposed Unicode: both spellings are one class"
                for name in sorted(set(names))
                if sum(normalize("NFC", form) == name for form in written) > 1
            ]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def knows_groups(self) -> bool:
        """Whether every clip says to which group it belongs."""
        return bool(len(self)) and bool((self.table["group"] != "").all())

    def labels(self, label: str) -> list[str]:
        """The names in one entry of the column ``label``."""
        if self.label_separator is None:
            return [label]
        return [name for part in label.split(self.label_separator) if (name := part.strip())]

    def paths(self) -> list[Path]:
        """The file of every clip."""
        return [self.root / path for path in self.table["path"]]

    def targets(self) -> np.ndarray:
        """Index of every clip's class, int64 of shape ``[clips]``.

        Where clips have several labels, float32 of shape ``[clips, classes]`` that is 1 for those.
        """
        index = {name: number for number, name in enumerate(self.classes)}
        # Equal entries are looked at once: there are far fewer than clips.
        codes, entries = pd.factorize(self.table["label"])
        if self.label_separator is None:
            return np.array([index[entry] for entry in entries], dtype=np.int64)[codes]
        hot = np.zeros((len(entries), len(self.classes)), dtype=np.float32)
        for row, entry in enumerate(entries):
            hot[row, [index[name] for name in self.labels(entry)]] = 1
        return hot[codes]

    def rows(self, split: str) -> np.ndarray:
        """Positions of the clips of a split, in the order of the table."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    def class_counts(self, split: str) -> list[int]:
        """Number of clips of every class in a split."""
        targets = self.targets()[self.rows(split)]
        if targets.ndim == 2:
            return targets.sum(axis=0).astype(np.int64).tolist()
        return np.bincount(targets, minlength=len(self.classes)).tolist()

    def select(self, rows: Iterable[int] | np.ndarray) -> "Manifest":
        """The same manifest with only some of its rows."""
        return self.with_table(self.table.iloc[np.asarray(rows, dtype=np.int64)])

    def with_table(self, table: pd.DataFrame) -> "Manifest":
        """The same manifest with other rows."""
        return replace(self, table=table)

    def require_several_classes(self) -> None:
        """Make sure that there is something to learn: two classes at least, where every clip has one.

        Raises:
            DataError: all clips are of one class.
        """
        found = self.table["label"].unique()
        if self.label_separator is not None or len(found) != 1:
            return
        label = found[0]
        below = {path[len(label) + 1 :].partition("/") for path in self.table["path"] if path.startswith(f"{label}/")}
        folders = sorted({folder for folder, slash, _ in below if slash})
        if len(folders) > 1:
            remedy = f"is data.root={self.root / label} meant, with the folders {', '.join(folders[:3])}"
            remedy += f" and {len(folders) - 3} more?" if len(folders) > 3 else "?"
        else:
            remedy = "is data.root the folder of the class folders, or in a table data.label_column the class?"
        raise DataError(
            f"{self.root}: all {len(self):,} clips are of one class, {label}, expected at least two classes; {remedy}"
        )

    def missing_files(self) -> list[Problem]:
        """A problem for every clip whose file is not there."""
        listings: dict[str, frozenset[str]] = {}
        problems = []
        for path in self.table["path"].unique():
            folder, _, name = path.rpartition("/")
            if folder not in listings:  # a folder is listed once: a look at every file is slow on a network disk
                try:
                    listings[folder] = frozenset(os.listdir(self.root / folder))
                except OSError:  # also where the name is longer than any can be
                    listings[folder] = frozenset()
            if name not in listings[folder]:
                problems.append(Problem(path, f"there is no such file in {self.root}", "missing"))
        return problems
