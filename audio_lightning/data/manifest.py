"""The table of clips that every data source boils down to."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from audio_lightning.data.problems import Problem

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

COLUMNS = ("path", "label", "group", "fold", "split")


@dataclass
class Manifest:
    """One row a clip, made without decoding anything.

    Attributes:
        root: folder that the paths are relative to.
        table: columns ``path`` (relative to ``root``, with forward slashes), ``label``, ``group`` (what must not be
            split: the source recording, the speaker, the note; empty where nobody knows), ``fold`` (-1 where there
            is none) and ``split`` (``""`` until it is assigned).
        classes: names of the classes in the order of the logits.
        problems: rows that could not be used, and why.
    """

    root: Path
    table: pd.DataFrame
    classes: tuple[str, ...]
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = self.table.reset_index(drop=True)
        for name, default in (("group", ""), ("fold", -1), ("split", "")):
            if name not in self.table:
                self.table[name] = default
        if lacking := set(COLUMNS) - set(self.table.columns):
            raise ValueError(f"a manifest has the columns {COLUMNS}, this one lacks {sorted(lacking)}")
        if unknown := set(self.table["label"]) - set(self.classes):
            raise ValueError(f"labels {sorted(unknown)} are not among the classes {self.classes}")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def knows_groups(self) -> bool:
        """Whether every clip says to which group it belongs."""
        return bool(len(self)) and bool((self.table["group"] != "").all())

    def paths(self) -> list[Path]:
        """The file of every clip."""
        return [self.root / path for path in self.table["path"]]

    def targets(self) -> np.ndarray:
        """Index of every clip's class, int64 of shape ``[clips]``."""
        index = {name: number for number, name in enumerate(self.classes)}
        return self.table["label"].map(index).to_numpy(dtype=np.int64)

    def rows(self, split: str) -> np.ndarray:
        """Positions of the clips of a split, in the order of the table."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    def class_counts(self, split: str) -> list[int]:
        """Number of clips of every class in a split."""
        return np.bincount(self.targets()[self.rows(split)], minlength=len(self.classes)).tolist()

    def select(self, rows: Iterable[int] | np.ndarray) -> "Manifest":
        """The same manifest with only some of its rows."""
        table = self.table.iloc[np.asarray(rows, dtype=np.int64)]
        return Manifest(self.root, table, self.classes, self.problems)

    def missing_files(self) -> list[Problem]:
        """A problem for every clip whose file is not there."""
        listings: dict[str, frozenset[str]] = {}
        problems = []
        for path in self.table["path"]:
            folder, _, name = path.rpartition("/")
            if folder not in listings:  # a folder is listed once: a look at every file is slow on a network disk
                parent = self.root / folder
                listings[folder] = frozenset(os.listdir(parent)) if parent.is_dir() else frozenset()
            if name not in listings[folder]:
                problems.append(Problem(path, f"there is no such file in {self.root}"))
        return problems
