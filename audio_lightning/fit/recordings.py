"""List of a fit's recordings, to find new, changed and removed recordings without decoding."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_lightning.config import compose, user_extensions
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.identity import digest

DIGITS = 16
"""Number of hexadecimal digits of a digest."""


@dataclass(frozen=True)
class Difference:
    """Difference between two lists of recordings.

    Attributes:
        new, gone: number of recordings that are only in the second list, or only in the first.
        changed: number of recordings with other labels, groups, folds or sizes.
        written: number of recordings that differ only in their modification time.
    """

    new: int
    gone: int
    changed: int
    written: int

    def __str__(self) -> str:
        counts = (self.new, "new"), (self.gone, "gone"), (self.changed, "changed")
        return ", ".join(f"{count:,} {what}" for count, what in counts if count)


def look(
    lines: Sequence[str], candidates: Sequence[Sequence[str]], config_dir: str | None = None
) -> dict[str, list[Any]]:
    """List the recordings from tables and file attributes, without decoding. Call it in a separate process.

    Args:
        lines: overrides of every training, with quoted paths.
        candidates: overrides of each candidate; the first one that can be composed determines the data.
        config_dir: folder of ``--config-dir``.

    Returns:
        For every path, a digest of its manifest rows and its size, and its modification time in nanoseconds.

    Raises:
        ConfigError: a mistake in the overrides.
        DataError: the folder is not a data set of this kind.
    """
    from audio_lightning.planning.settle import build_source

    with user_extensions(lines, config_dir):
        manifest = build_source(_composed(lines, candidates)).read()
    columns = sorted({*manifest.table} - {"path"})
    rows: dict[str, list[list[str]]] = {}
    for path, *cells in zip(manifest.table["path"], *(manifest.table[name] for name in columns)):
        rows.setdefault(path, []).append([str(cell) for cell in cells])
    found: dict[str, list[Any]] = {}
    for path, cells in rows.items():
        size, written = _written(manifest.root / path)
        found[path] = [digest([cells, size])[:DIGITS], written]
    return found


def difference(before: Mapping[str, Sequence[Any]], now: Mapping[str, Sequence[Any]]) -> Difference:
    """Compare two lists of recordings."""
    both = before.keys() & now.keys()
    alike = [path for path in both if before[path][0] == now[path][0]]
    return Difference(
        new=len(now.keys() - both),
        gone=len(before.keys() - both),
        changed=len(both) - len(alike),
        written=sum(before[path][1] != now[path][1] for path in alike),
    )


def set_aside(folders: Sequence[Path], aside: Path) -> None:
    """Move folders of trainings on earlier recordings; an interruption between two moves is harmless.

    Args:
        folders: folders to move, if they exist.
        aside: target folder; if it exists, the folders have been moved already.
    """
    if aside.exists():
        return
    moving = aside.with_name(f".{aside.name}")
    moving.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        if folder.exists():
            folder.rename(moving / folder.name)
    moving.rename(aside)


def _composed(lines: Sequence[str], candidates: Sequence[Sequence[str]]) -> Any:
    errors = []
    for own in candidates:
        try:
            return compose([*lines, *own])
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _written(path: Path) -> tuple[int, int]:
    """Return size and modification time of a file; (-1, 0) for a missing file, which the trainings report."""
    try:
        found = os.stat(path)
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns
