"""Suggestions for misspelled words and paths."""

import contextlib
import os
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


def did_you_mean(word: str, known: Iterable[str], *, listing: str | None = None) -> str:
    """The end of an error message: the nearest known word, or else all of them after ``listing``.

    Args:
        word: what was found.
        known: what would have been right.
        listing: introduces the whole list where nothing is near, such as ``"choices"``; without it nothing is listed.
    """
    known = sorted(set(known))
    if near := get_close_matches(word, known, n=1, cutoff=0.6):
        return f"; did you mean {near[0]}?"
    return f" ({listing}: {', '.join(known)})" if listing and known else ""


def nearest_path(path: Path) -> str:
    """The end of an error message about a path that does not exist: the nearest one that does, or nothing.

    Args:
        path: as it was typed; the nearest one is shown in the same form, quoted for the shell.
    """
    above = next(parent for parent in path.absolute().parents if os.path.exists(parent))
    missing, *below = path.absolute().relative_to(above).parts
    names: list[str] = []
    with contextlib.suppress(OSError):  # a file, or a folder that cannot be read
        names = os.listdir(above)
    near = get_close_matches(missing, sorted(names), n=1, cutoff=0.6)
    if not near or len(path.parts) <= len(below):
        return ""
    found = path.parents[len(below)] / near[0]
    whole = found.joinpath(*below)
    return f"; did you mean {shlex.quote(str(whole if os.path.exists(whole) else found))}?"
