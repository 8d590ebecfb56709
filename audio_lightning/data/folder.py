"""A folder of folders: every class a folder of recordings."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from audio_lightning.audio import AUDIO_SUFFIXES
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.errors import ConfigError, DataError

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval"), TEST),
}
"""What a folder or a table may call a split, in lower case."""

MOST_NAMED = 10


class Folder(AudioDataModule):
    """Recordings in ``<class>/``, at any depth below it, or in ``train/<class>/``, ``validation/<class>/`` and so on.

    The second layout is meant where every folder at the top has the name of a split (:data:`SPLIT_NAMES`). Files that
    are no recordings are passed over, and so is everything whose name starts with a dot.

    Args:
        group_pattern: regular expression that is looked for in the name of a file. What it finds (its group named
            ``group``, or else all of it) is the group of the recording, a speaker for example, which is never divided
            between splits; a file in whose name it is not found is a group of its own. None: nothing is known about
            groups.
        **options: see :class:`AudioDataModule`.
    """

    def __init__(self, *, group_pattern: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        try:
            self.group_pattern = re.compile(group_pattern) if group_pattern else None
        except re.error as error:
            raise ConfigError(f"data.group_pattern={group_pattern!r} is not a regular expression: {error}") from error

    def read(self) -> Manifest:
        """One row a recording, in the order of the paths.

        Raises:
            DataError: the folder is not laid out like that, or a class has all its recordings in one group.
        """
        manifest = self.list_recordings()
        if self.group_pattern is None:
            return manifest
        manifest = manifest.with_table(manifest.table.assign(group=manifest.table["path"].map(self._group)))
        by_folds = self.plan.folds is not None and self.plan.method != "all"
        if by_folds or self.plan.method not in ("all", "random", "stratified"):
            require_several_groups(manifest, self.group_pattern.pattern)
        return manifest

    def list_recordings(self) -> Manifest:
        """The recordings and their classes, without groups.

        Raises:
            DataError: the folder is not laid out like that.
        """
        try:
            return list_class_folders(self.root)
        except OSError as error:
            raise DataError(
                f"{error.filename}: {error.strerror or error}; expected a folder that can be read: is data.root right?"
            ) from error

    def _group(self, path: str) -> str:
        assert self.group_pattern is not None
        match = self.group_pattern.search(path.rpartition("/")[2])
        found = match and match["group" if "group" in self.group_pattern.groupindex else 0]
        return found or path


def list_class_folders(root: Path) -> Manifest:
    """What :class:`Folder` describes: a row for every recording, a problem for everything that has no class or no use.

    Raises:
        DataError: no class folders, or no recordings in any.
        OSError: a folder that cannot be read.
    """
    top, _, _ = _look_into(root)
    split_folders = top if top and all(name.lower() in SPLIT_NAMES for name in top) else [""]
    rows: list[tuple[str, str, str]] = []
    problems: list[Problem] = []
    for split_folder in split_folders:
        prefix = f"{split_folder}/" if split_folder else ""
        labels, loose, others = _look_into(root / split_folder)
        if not labels:
            raise DataError(
                f"{root / split_folder} has no class folders: expected {root / split_folder}/<class>/<recording>, "
                f"found {_count(loose, 'recording') if loose else _count(others, 'file')}"
            )
        problems += [Problem(prefix + name, "lies beside the class folders, in none of them") for name in loose]
        for label in labels:
            paths = _recordings_below(root, f"{prefix}{label}/")
            if not paths:
                suffixes = ", ".join(sorted(AUDIO_SUFFIXES))
                problems.append(Problem(prefix + label, f"no recordings in this class folder: expected {suffixes}"))
            rows += [(path, label, SPLIT_NAMES.get(split_folder.lower(), "")) for path in paths]
    problems += [
        Problem(ascii(row[0]), "the name is not text in UTF-8: rename it") for row in rows if not _is_text(row[0])
    ]
    table = pd.DataFrame([row for row in rows if _is_text(row[0])], columns=["path", "label", "split"])
    if table.empty:
        raise DataError(f"{root}: no recording can be used; the first problem: {problems[0]}")
    return Manifest(root, table, class_order(table["label"].unique()), problems)


def require_several_groups(manifest: Manifest, pattern: str) -> None:
    """Make sure that every class with several recordings can be in training and in test both.

    Raises:
        DataError: all recordings of a class are in one group.
    """
    classes = manifest.table.groupby("label")["group"].agg(["size", "nunique", "first"])
    undivided = classes[(classes["size"] > 1) & (classes["nunique"] == 1)]
    if undivided.empty:
        return
    named = [
        f"class {label} has all its {size} recordings in group {group}"
        for label, size, group in zip(undivided.index, undivided["size"], undivided["first"])
    ]
    if len(named) > MOST_NAMED:
        named[MOST_NAMED:] = [f"and {len(named) - MOST_NAMED} more"]
    raise DataError(
        f"{', '.join(named)}: a group is never divided, so the class could not be in training and in test both; "
        f"mend data.group_pattern={pattern!r} so that it finds several groups in every class, or choose "
        "data.split=stratified, which does not heed groups"
    )


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes in alphabetical order; in numerical order if all are whole numbers."""
    names = sorted(names)
    return tuple(sorted(names, key=int) if all(re.fullmatch("-?[0-9]{1,18}", name) for name in names) else names)


def _look_into(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Names of the folders, the recordings and the other files in a folder, each sorted."""
    names: tuple[list[str], list[str], list[str]] = ([], [], [])
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                names[0 if entry.is_dir() else 1 if _is_recording(entry.name) else 2].append(entry.name)
    for kind in names:
        kind.sort()
    return names


def _recordings_below(root: Path, prefix: str) -> list[str]:
    """Sorted paths of all recordings in the folder ``prefix`` and below it, relative to ``root``."""
    found, pending, seen = list[str](), [prefix], set[tuple[int, int]]()
    while pending:
        prefix = pending.pop()
        status = os.stat(root / prefix)
        if (status.st_dev, status.st_ino) in seen:  # links may lead in circles
            continue
        seen.add((status.st_dev, status.st_ino))
        folders, recordings, _ = _look_into(root / prefix)
        pending += [f"{prefix}{name}/" for name in reversed(folders)]
        found += [prefix + name for name in recordings]
    return sorted(found)


def _is_recording(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''}, such as {names[0]}" if names else "nothing"
