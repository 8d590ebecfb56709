"""Manifest: the table of clips of a data source."""

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
"""Default values of columns that a source may omit."""


@dataclass
class Manifest:
    """Table of clips, one row per clip, created without decoding any audio.

    Attributes:
        root: folder to which the paths are relative.
        table: one row per clip, with the columns

            * ``path``: relative to ``root``, with forward slashes; absolute for a file elsewhere;
            * ``label``: name of the class, or several names joined by ``label_separator``;
            * ``group``: identifier of clips that must stay in one split (source recording, speaker, note); empty if
              unknown;
            * ``fold``: -1 if there is none;
            * ``split``: ``""`` until it is assigned, unless the data set itself defines it;
            * ``start_seconds``, ``stop_seconds``: part of the file; NaN as stop means the end of the file;
            * ``background``: whether the clip is a random segment of the file at a random volume, as for a "silence"
              class from background noise. Such rows may use one file in all splits;
            * ``channel``: channel of the file, counted from 1; 0 for the choice of ``data.channel``, or for the mean if
              that is ``each``.
        classes: class names in the order of the logits.
        problems: rows that cannot be used, and the reasons.
        label_separator: separator of the labels of a clip with several; None if each clip has one.
        notes: information for the user that is not a problem, one sentence each.
        found: information inferred from file names, in one line to print before decoding; empty if none was looked for.

    Labels and groups are normalized to Unicode NFC, so that two spellings of a name are one class.
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
            raise ValueError(f"a manifest needs the columns path and label, this one lacks {sorted(lacking)}")
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
                f"class {name} is spelled in composed and in decomposed Unicode; both spellings are one class"
                for name in sorted(set(names))
                if sum(normalize("NFC", form) == name for form in written) > 1
            ]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def knows_groups(self) -> bool:
        """Whether the group of every clip is known."""
        return bool(len(self)) and bool((self.table["group"] != "").all())

    def labels(self, label: str) -> list[str]:
        """Class names in one entry of the column ``label``."""
        if self.label_separator is None:
            return [label]
        return [name for part in label.split(self.label_separator) if (name := part.strip())]

    def paths(self) -> list[Path]:
        """Path of each clip's file."""
        return [self.root / path for path in self.table["path"]]

    def targets(self) -> np.ndarray:
        """Class index of every clip, int64 of shape ``[clips]``.

        For clips with several labels, multi-hot float32 of shape ``[clips, classes]``.
        """
        index = {name: number for number, name in enumerate(self.classes)}
        # Distinct entries are processed once: there are far fewer of them than clips.
        codes, entries = pd.factorize(self.table["label"])
        if self.label_separator is None:
            return np.array([index[entry] for entry in entries], dtype=np.int64)[codes]
        hot = np.zeros((len(entries), len(self.classes)), dtype=np.float32)
        for row, entry in enumerate(entries):
            hot[row, [index[name] for name in self.labels(entry)]] = 1
        return hot[codes]

    def rows(self, split: str) -> np.ndarray:
        """Indices of the clips of a split, in the order of the table."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    def class_counts(self, split: str) -> list[int]:
        """Number of clips of every class in a split."""
        targets = self.targets()[self.rows(split)]
        if targets.ndim == 2:
            return targets.sum(axis=0).astype(np.int64).tolist()
        return np.bincount(targets, minlength=len(self.classes)).tolist()

    def select(self, rows: Iterable[int] | np.ndarray) -> "Manifest":
        """Copy of the manifest with some of its rows."""
        return self.with_table(self.table.iloc[np.asarray(rows, dtype=np.int64)])

    def with_table(self, table: pd.DataFrame) -> "Manifest":
        """Copy of the manifest with another table."""
        return replace(self, table=table)

    def require_usable_classes(self) -> None:
        """Check the classes.

        Raises:
            DataError: see :meth:`unusable_classes`.
        """
        if (reason := self.unusable_classes()) is not None:
            raise DataError(f"{self.root}: {reason}")

    def unusable_classes(self) -> str | None:
        """Reason why no classifier can be trained for the classes; None if one can.

        Names of classes must be printable, since tables and plots cannot show line breaks and other control characters.
        If every clip has one label, there must be at least two classes.
        """
        if unprintable := [name for name in self.classes if not name.isprintable()]:
            return f"class {unprintable[0]!r} has a character that cannot be printed; rename the folder or the label"
        found = self.table["label"].unique()
        if self.label_separator is not None or len(found) != 1:
            return None
        label = found[0]
        below = {path[len(label) + 1 :].partition("/") for path in self.table["path"] if path.startswith(f"{label}/")}
        folders = sorted({folder for folder, slash, _ in below if slash})
        if len(folders) > 1:
            remedy = f"did you mean data.root={self.root / label}, with the folders {', '.join(folders[:3])}"
            remedy += f" and {len(folders) - 3} more?" if len(folders) > 3 else "?"
        else:
            remedy = "check that data.root is the folder of class folders, or data.label_column the column of classes"
        return f"all {len(self):,} clips are of one class, {label}, expected at least two classes; {remedy}"

    def missing_files(self) -> list[Problem]:
        """A problem for each listed file that does not exist."""
        listings: dict[str, frozenset[str]] = {}
        problems = []
        for path in self.table["path"].unique():
            folder, _, name = path.rpartition("/")
            if folder not in listings:  # listing a folder once is faster than checking every file on a network disk
                try:
                    listings[folder] = frozenset(os.listdir(self.root / folder))
                except OSError:  # also for a name that is too long
                    listings[folder] = frozenset()
            if name not in listings[folder]:
                problems.append(Problem(path, f"there is no such file in {self.root}", "missing"))
        return problems
