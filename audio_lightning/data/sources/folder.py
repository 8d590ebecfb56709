"""Data source of class folders: one folder of recordings for each class."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import pandas as pd

from audio_lightning.audio import Finder
from audio_lightning.core.errors import DataError
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.name_patterns import NamePattern, describe, examples, name_patterns
from audio_lightning.data.splitting.leakage import shared_stem

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval"), TEST),
}
"""Names of splits in folders and tables, in lower case."""

MOST_NAMED = 10

Layout = Literal["auto", "classes", "splits"]


class Folder(AudioDataModule):
    """Recordings in ``<class>/`` at any depth, in ``<split>/<class>/``, or in ``<class>/<split>/``.

    With ``label_pattern``, file names define the classes instead of folders.

    See :class:`~audio_lightning.audio.Finder` for the files that are recordings, and the ignored ones.

    Args:
        group_pattern: regular expression to search in a file name. Its match (or its group named ``group``) is the
            group of the recording, for example a speaker, which stays in one split; a file without a match is a group
            of its own. None: groups are unknown.
        label_pattern: likewise for the class of the recording (group named ``label``), instead of folder names. Its
            groups named ``group`` and ``fold`` replace ``group_pattern`` and ``fold_pattern``. A file without a match
            is a problem.
        fold_pattern: likewise for the fold, a whole number.
        layout: ``splits``: the top-level folders are splits (:data:`SPLIT_NAMES`); ``classes``: they are classes;
            ``auto``: they are splits if all have names of splits, or if some have and contain folders; otherwise
            classes.
        multilabel: clips may have any number of labels. Recordings in class folders whose names begin with ``-`` then
            have none: they are examples of "none of these". False: every recording has one class, and such folders are
            classes like others.
        ignore: names of files and folders, or paths below the root, to ignore; ``*`` and ``?`` as in a shell.
        **options: see :class:`AudioDataModule`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from audio_lightning.data.sources.folder import Folder
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("cat/anna_1.wav", "cat/ben_1.wav", "dog/anna_2.wav", "dog/ben_2.wav"):
        ...         (Path(root) / name).parent.mkdir(exist_ok=True)
        ...         (Path(root) / name).touch()
        ...     manifest = Folder(root=root, group_pattern="^[a-z]+").read()
        >>> manifest.classes, manifest.table["group"].tolist()
        (('cat', 'dog'), ['anna', 'ben', 'anna', 'ben'])
    """

    def __init__(
        self,
        *,
        group_pattern: str | None = None,
        label_pattern: str | None = None,
        fold_pattern: str | None = None,
        layout: Layout = "auto",
        multilabel: bool = False,
        ignore: str | Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.layout: Layout = layout
        self.multilabel = multilabel
        self.ignore = [ignore] if isinstance(ignore, str) else [str(pattern) for pattern in ignore]
        self.patterns = name_patterns(label_pattern, group_pattern, fold_pattern)

    def read(self) -> Manifest:
        """One row per recording, sorted by path.

        Raises:
            DataError: the folder has another layout, a pattern matches no name, a class has all its recordings in one
                group, or the name of a class cannot be a label.
        """
        manifest = self.list_recordings()
        if self.multilabel:
            manifest = _as_labels(manifest)
        elif negatives := [name for name in manifest.classes if _is_negative(name)]:
            manifest.notes.append(
                f"{_listed(negatives)}: used as {'a class' if len(negatives) == 1 else 'classes'}; with "
                "data.multilabel=true, recordings in folders that begin with - have no label"
            )
        if fold := self.patterns.get("fold"):
            manifest = self._with_folds(manifest, fold)
        if (group := self.patterns.get("group")) is None:
            self._suggest_groups(manifest)
        else:
            manifest = self._with_groups(manifest, group)
            by_folds = self.plan.folds is not None and self.plan.split != "all"
            if by_folds or self.plan.split not in ("all", "random", "stratified"):
                require_several_groups(manifest, group)
        if set(self.patterns) - {"group"}:
            manifest.found = describe(manifest.table, list(self.patterns))
        return manifest

    def list_recordings(self) -> Manifest:
        """Recordings and their classes, without groups.

        Raises:
            DataError: the folder has another layout.
        """
        try:
            if label := self.patterns.get("label"):
                return list_labelled_names(self.root, label, self.layout, self.ignore)
            return list_class_folders(self.root, self.layout, self.ignore)
        except OSError as error:
            raise DataError(
                f"{error.filename}: {error.strerror or error}; expected a readable folder, check data.root"
            ) from error

    def _with_folds(self, manifest: Manifest, pattern: NamePattern) -> Manifest:
        found = pattern.find(manifest.table["path"].tolist())
        manifest.problems += [
            Problem(path, f"{pattern} finds no fold in its name")
            for path, fold in zip(manifest.table["path"], found)
            if not fold
        ]
        kept = [row for row, fold in enumerate(found) if fold]
        return manifest.with_table(manifest.table.iloc[kept].assign(fold=[int(found[row]) for row in kept]))

    def _with_groups(self, manifest: Manifest, pattern: NamePattern) -> Manifest:
        paths = manifest.table["path"]
        groups = pd.Series(pattern.find(paths.tolist()), index=paths.index)
        missed = paths[groups == ""].tolist()
        if missed:
            manifest.notes.append(
                f"{pattern} does not match the names of {len(missed):,} of {len(paths):,} recordings "
                f"({examples(missed)}); each of these is a group of its own"
            )
        return manifest.with_table(manifest.table.assign(group=groups.mask(groups == "", paths)))

    def _suggest_groups(self, manifest: Manifest) -> None:
        if self.plan.split != "all" and (found := shared_stem(manifest)) is not None:
            manifest.notes.append(
                f"leakage cannot be excluded: the names of recordings share stems ({', '.join(found.examples)}); if "
                f"these are from one source, data.group_pattern='{found.pattern}' keeps them in one split"
            )


def list_class_folders(root: Path, layout: Layout = "auto", ignore: Sequence[str] = ()) -> Manifest:
    """List the recordings of class folders as in :class:`Folder`, with a problem for each recording without a class.

    Raises:
        DataError: no class folders, no recordings in any, split folders next to other folders with recordings, or a
            pattern of ``ignore`` that matches nothing.
        OSError: a folder that cannot be read.
    """
    finder = Finder(root, ignore)
    splits = _split_folders(finder, layout)
    rows: list[tuple[str, str, str]] = []
    problems: list[Problem] = []
    if splits:
        problems += [Problem(name, "is next to the split folders, in none of them") for name in finder.listing()[1]]
    for split_folder in splits or [""]:
        prefix = f"{split_folder}/" if split_folder else ""
        labels, loose = finder.listing(prefix)
        if not labels:
            found = _count(loose, "recording") if loose else finder.summary() or "nothing"
            raise DataError(
                f"{root / split_folder} has no class folders; expected {root / split_folder}/<class>/<recording>, "
                f"found {found}" + ("; is data.root a class folder?" if loose else "")
            )
        problems += [Problem(prefix + name, "is next to the class folders, in none of them") for name in loose]
        for label in labels:
            paths = finder.recordings(f"{prefix}{label}/")
            if not paths:
                problems.append(
                    Problem(prefix + label, "no recordings in this class folder; expected WAV, FLAC, OGG, MP3, ...")
                )
            rows += [(path, label, SPLIT_NAMES.get(split_folder.lower(), "")) for path in paths]
    manifest = _manifest(finder, rows, problems)
    if not splits and layout == "auto":
        split = _splits_within_classes(manifest.table["path"].tolist())
        manifest = manifest.with_table(manifest.table.assign(split=split))
    return manifest


def list_labelled_names(
    root: Path, pattern: NamePattern, layout: Layout = "auto", ignore: Sequence[str] = ()
) -> Manifest:
    """List the recordings at any depth whose names contain their class, with a problem for each other recording.

    Raises:
        DataError: no recordings, no label in any name, split folders next to other folders with recordings, or a
            pattern of ``ignore`` that matches nothing.
        OSError: a folder that cannot be read.
    """
    finder = Finder(root, ignore)
    splits = _split_folders(finder, layout)
    paths = {
        path: SPLIT_NAMES.get(split.lower(), "")
        for split in splits or [""]
        for path in finder.recordings(f"{split}/" if split else "")
    }
    if not paths:
        raise DataError(
            f"{root}: contains no recordings; expected WAV, FLAC, OGG, MP3, ..., found {finder.summary() or 'nothing'}"
        )
    labels = pattern.find(list(paths))
    rows = [(path, label, paths[path]) for path, label in zip(paths, labels) if label]
    problems = [
        Problem(path, f"{pattern} finds no label in its name") for path, label in zip(paths, labels) if not label
    ]
    return _manifest(finder, rows, problems)


def _manifest(finder: Finder, rows: list[tuple[str, str, str]], problems: list[Problem]) -> Manifest:
    """Manifest of rows ``(path, label, split)``, without rows whose names cannot be written in UTF-8."""
    if unmet := [pattern for pattern in finder.ignore if not finder.ignored[pattern]]:
        raise DataError(
            f"data.ignore={unmet[0]}: there is no such file or folder in {finder.root}; correct it or leave it out"
        )
    problems = problems + [
        Problem(ascii(row[0]), "the name is not valid UTF-8; rename it") for row in rows if not _is_text(row[0])
    ]
    table = pd.DataFrame([row for row in rows if _is_text(row[0])], columns=["path", "label", "split"])
    if table.empty:
        raise DataError(f"{finder.root}: no recording can be used; the first problem: {problems[0]}")
    passed_over = finder.summary()
    notes = [f"ignored: {passed_over}"] if passed_over else []
    return Manifest(finder.root, table, class_order(table["label"].unique()), problems, notes=notes)


def _split_folders(finder: Finder, layout: Layout) -> list[str]:
    """Top-level folders that are splits; none if they are classes."""
    top, _ = finder.listing()
    named = [name for name in top if name.lower() in SPLIT_NAMES]
    if layout == "classes" or (layout == "auto" and not named):
        return []
    others = [name for name in top if name not in named]
    if layout == "auto" and others and not any(finder.listing(f"{name}/")[0] for name in named):
        return []  # classes, one of them with the name of a split
    if not named:
        raise DataError(
            f"{finder.root}: data.layout=splits, but no folder has the name of a split; expected train, ..."
        )
    if others := [name for name in others if finder.recordings(f"{name}/")]:
        raise DataError(
            f"{finder.root}: {_listed(named)} are splits, but there are other folders with recordings next to them: "
            f"{_listed(others)}; move them elsewhere, leave them out with data.ignore=[{','.join(others)}], or use "
            "every folder as a class with data.layout=classes"
        )
    return named


def _splits_within_classes(paths: list[str]) -> list[str]:
    """Split of every path ``<class>/<split>/...``; empty unless all paths have this form, with at least two splits."""
    parts = [path.split("/") for path in paths]
    found = [SPLIT_NAMES.get(part[1].lower(), "") if len(part) > 2 else "" for part in parts]
    return found if "" not in found and len(set(found)) > 1 else [""] * len(paths)


def require_several_groups(manifest: Manifest, pattern: NamePattern) -> None:
    """Require that every class with several recordings can be in both training and test.

    Raises:
        DataError: all recordings of a class are in one group.
    """
    labelled = manifest.table[manifest.table["label"] != ""]
    classes = labelled.groupby("label")["group"].agg(["size", "nunique", "first"])
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
        f"{', '.join(named)}: a group stays in one split, so such a class cannot be in both training and test; "
        f"correct {pattern} so that it matches several groups in every class, or choose "
        "data.split=stratified, which ignores groups"
    )


def _as_labels(manifest: Manifest) -> Manifest:
    """Convert classes to labels; recordings in folders that begin with ``-`` have none.

    Raises:
        DataError: there are no other folders, or the name of one cannot be a label.
    """
    if manifest.label_separator is not None:
        return manifest
    negatives = {name for name in manifest.classes if name.startswith("-")}
    classes = tuple(name for name in manifest.classes if name not in negatives)
    if unusable := [name for name in classes if LABEL_SEPARATOR in name]:
        raise DataError(f"{manifest.root}: class {unusable[0]} contains {LABEL_SEPARATOR!r}; rename it")
    if not classes:
        raise DataError(
            f"{manifest.root}: all class folders begin with -, so no recording has a label with data.multilabel=true; "
            "expected at least one other folder"
        )
    none = manifest.table["label"].isin(negatives)
    if none.any():
        manifest.notes.append(f"{none.sum():,} recordings in {_listed(sorted(negatives))} have no label")
    table = manifest.table.assign(label=manifest.table["label"].mask(none, ""))
    return replace(manifest, table=table, classes=classes, label_separator=LABEL_SEPARATOR)


def _is_negative(name: str) -> bool:
    """Whether a class name begins with ``-`` and is not a number."""
    return name.startswith("-") and not re.fullmatch("-[0-9.]+", name)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sort class names, in Unicode NFC: numerically if all are whole numbers, otherwise alphabetically."""
    names = sorted({normalize("NFC", name) for name in names})
    return tuple(sorted(names, key=int) if all(re.fullmatch("-?[0-9]{1,18}", name) for name in names) else names)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''}, such as {names[0]}"


def _listed(names: Sequence[str]) -> str:
    """Join the first :data:`MOST_NAMED` names with commas and "and"."""
    named = list(names[:MOST_NAMED])
    if len(names) > MOST_NAMED:
        named.append(f"{len(names) - MOST_NAMED} more")
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
