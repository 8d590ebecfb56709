"""Problems of a data set, collected instead of raised one by one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from audio_lightning.core.errors import DataError

MOST_SHOWN = 20
MOST_PLACES = 5


@dataclass(frozen=True)
class Problem:
    """One problem of a data set.

    Attributes:
        where: a file, or a row of a table (``"train.csv, line 17"``).
        what: what was found and what was expected.
        kind: ``table``, ``classes``, ``missing``, ``unreadable``, ``splits`` or ``leak``.
    """

    where: str
    what: str
    kind: str = "table"

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.what}")


def printable(text: str) -> str:
    """Escape characters that cannot be displayed on one line, or written in UTF-8."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


@runtime_checkable
class Observation(Protocol):
    """A problem, or a finding of ``check``: an observation with its place."""

    @property
    def where(self) -> str:
        """A file, a row of a table, or a class."""

    @property
    def what(self) -> str:
        """The observation."""


@dataclass(frozen=True)
class Joined:
    """Problems with the same text at several places.

    Attributes:
        what: text of the problems.
        where: their places, in order.
    """

    what: str
    where: list[str]

    def places(self, most: int) -> str:
        """The first ``most`` places, and the number of further ones."""
        rest = len(self.where) - most
        return ", ".join(self.where[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def join_equal(problems: Iterable[Observation]) -> list[Joined]:
    """Group problems or findings by their text."""
    places: dict[str, list[str]] = {}
    for problem in problems:
        places.setdefault(problem.what, []).append(problem.where)
    return [Joined(what, where) for what, where in places.items()]


class ProblemsError(DataError):
    """Error about a data set with problems.

    Attributes:
        problems: all problems; the message shows the first :data:`MOST_SHOWN` distinct ones, with up to
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
