"""Search for recordings in folders, shared by training, check, prediction and noise folders."""

import errno
import fnmatch
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

from audio_lightning.audio.formats import is_recording
from audio_lightning.core.errors import DataError

log = logging.getLogger(__name__)

HIDDEN = "hidden"

LEFTOVERS = frozenset({"__MACOSX", "@eaDir", "lost+found", "System Volume Information", "$RECYCLE.BIN"})
"""Folders of operating systems and archives without recordings of the user; ignored like hidden folders."""

MOST_ENDINGS = 5


@dataclass
class Finder:
    """List of the recordings below a folder, with counts of all other files.

    Symbolic links to folders are followed; every folder is visited once, so that cyclic links do no harm. Names that
    start with a dot, and :data:`LEFTOVERS`, are hidden.

    Args:
        root: the folder.
        ignore: shell patterns of names, or of paths below ``root``, to ignore.

    Attributes:
        passed_over: number of files that are not recordings, by suffix, and of hidden entries (:data:`HIDDEN`).
        ignored: number of files and folders that matched each pattern of ``ignore``.
    """

    root: Path
    ignore: Sequence[str] = ()
    passed_over: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    _listings: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    _others: dict[str, list[str]] = field(default_factory=dict)

    def listing(self, below: str = "") -> tuple[list[str], list[str]]:
        """Sorted names of the folders and of the recordings in the folder ``below``.

        Raises:
            OSError: the folder cannot be read.
        """
        if below not in self._listings:
            self._listings[below] = self._list(below)
        return self._listings[below]

    def recordings(self, below: str = "") -> list[str]:
        """Sorted paths, relative to ``root``, of all recordings in the folder ``below`` (``"a/b/"``) and under it.

        Raises:
            OSError: a folder cannot be read.
        """
        found, pending, seen = list[str](), [below], set[tuple[int, int]]()
        while pending:
            prefix = pending.pop()
            status = os.stat(self.root / prefix)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            folders, recordings = self.listing(prefix)
            pending += [f"{prefix}{name}/" for name in reversed(folders)]
            found += [prefix + name for name in recordings]
        return sorted(found)

    def others(self, below: str = "") -> list[str]:
        """Sorted names of the files in the folder ``below`` that are not recordings.

        Raises:
            OSError: the folder cannot be read.
        """
        self.listing(below)
        return self._others[below]

    def use(self, name: str) -> None:
        """Count a file that is not a recording as used, such as a file of annotations."""
        self.passed_over -= Counter([_ending(name)])

    def summary(self) -> str:
        """Summary of ignored files, such as ``"3 other files (.txt 2, .csv 1), 1 hidden"``; may be empty."""
        endings = Counter({ending: count for ending, count in self.passed_over.items() if ending != HIDDEN})
        parts = []
        if total := endings.total():
            frequent = sorted(endings.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_ENDINGS]
            named = [f"{ending} {count:,}" for ending, count in frequent]
            named += [f"{len(endings) - MOST_ENDINGS} more endings"] if len(endings) > MOST_ENDINGS else []
            parts.append(f"{total:,} other file{'s' * (total != 1)} ({', '.join(named)})")
        if hidden := self.passed_over[HIDDEN]:
            parts.append(f"{hidden:,} hidden")
        parts += [f"{count:,} by data.ignore={pattern}" for pattern, count in self.ignored.items()]
        return ", ".join(parts)

    def _list(self, below: str) -> tuple[list[str], list[str]]:
        folders, recordings, others = list[str](), list[str](), list[str]()
        with os.scandir(self.root / below) as entries:
            for entry in entries:
                if pattern := self._ignoring(below + entry.name, entry.name):
                    self.ignored[pattern] += 1
                elif entry.name.startswith(".") or entry.name in LEFTOVERS:
                    self.passed_over[HIDDEN] += 1
                elif _is_folder(entry):
                    folders.append(entry.name)
                elif is_recording(Path(entry.path)):
                    recordings.append(entry.name)
                else:
                    others.append(entry.name)
                    self.passed_over[_ending(entry.name)] += 1
        self._others[below] = sorted(others)
        return sorted(folders), sorted(recordings)

    def _ignoring(self, path: str, name: str) -> str | None:
        for pattern in self.ignore:
            plain = normalize("NFC", pattern).strip("/")
            if any(fnmatch.fnmatchcase(normalize("NFC", text), plain) for text in (name, path)):
                return pattern
        return None


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower() or "no ending"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a symbolic link to itself
            return False
        raise


def find_recordings(paths: Iterable[Path]) -> list[Path]:
    """List the given files, and all recordings below the given folders, in the given order.

    Recordings of a folder are sorted. Numbers of ignored files are logged.

    Raises:
        DataError: a folder without recordings, or one that cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        finder = Finder(path)
        try:
            below = finder.recordings()
        except OSError as error:
            raise DataError(f"{error.filename}: {error.strerror or error}; check its permissions") from error
        passed_over = finder.summary()
        if not below:
            raise DataError(
                f"{path}: contains no recordings{f', only {passed_over}' if passed_over else ''}; expected files "
                "such as WAV, FLAC, OGG or MP3"
            )
        if passed_over:
            log.warning("%s: ignored %s", path, passed_over)
        found += [path / name for name in below]
    return found
