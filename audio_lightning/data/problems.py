"""What is wrong with a data set, all of it at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from audio_lightning.core.errors import DataError

MOST_SHOWN = 20
MOST_PLACES = 5


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: a file, or a row of a table (``"train.csv, line 17"``).
        what: what was found there and what was expected.
        kind: ``table``, ``missing``, ``unreadable``, ``splits`` or ``leak``.
    """

    where: str
    what: str
    kind: str = "table"

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.what}")


def printable(text: str) -> str:
    """Text with everything escaped that a screen or a file in UTF-8 cannot show on one line."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


@runtime_checkable
class Said(Protocol):
    """Something that is said about a place: a problem, or a finding of ``check``."""

    @property
    def where(self) -> str:
        """The place."""

    @property
    def what(self) -> str:
        """What is said."""


@dataclass(frozen=True)
class Joined:
    """Problems that say the same about several places.

    Attributes:
        what: what all of them say.
        where: the places, in the order of the problems.
    """

    what: str
    where: list[str]

    def places(self, most: int) -> str:
        """The first ``most`` places, and the number of the others."""
        rest = len(self.where) - most
        return ", ".join(self.where[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def join_equal(problems: Iterable[Said]) -> list[Joined]:
    """Put problems or findings together that say the same."""
    places: dict[str, list[str]] = {}
    for problem in problems:
        places.setdefault(problem.what, []).append(problem.where)
    return [Joined(what, where) for what, where in places.items()]


class ProblemsError(DataError):
    """A data set with problems.

    Attributes:
        problems: all of them; the message shows the first :data:`MOST_SHOWN` that differ, with up to
            :data:`MOST_PLACES` places each.
    """

    def __init__(self, problems: Sequence[Problem], remedy: str) -> None:
        self.problems = list(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''} in the data"
        joined = join_equal(self.problems)
        lines = [printable(f"  {same.places(MOST_PLACES)}: {same.what}") for same in joined[:MOST_SHOWN]]
        if rest := sum(len(same.where) for same in joined[MOST_SHOWN:]):
            lines.append(f"  ... and {rest} more")
        super().__init__("\n".join([f"{count}; {remedy}:", *lines]))
