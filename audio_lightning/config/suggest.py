"""Suggestions for misspelled words."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], *, listing: str | None = None) -> str:
    """End of an error message: the nearest known word, or else all known words after ``listing`` ("choices")."""
    known = sorted(set(known))
    if near := get_close_matches(word, known, n=1, cutoff=0.6):
        return f"; did you mean {near[0]}?"
    return f" ({listing}: {', '.join(known)})" if listing and known else ""
