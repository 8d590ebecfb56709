"""What is wrong with a data set, all of it at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from audio_lightning.errors import DataError

MOST_SHOWN = 20


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


class ProblemsError(DataError):
    """A data set with problems.

    Attributes:
        problems: all of them; the message shows the first :data:`MOST_SHOWN`.
    """

    def __init__(self, problems: Sequence[Problem], remedy: str) -> None:
        self.problems = list(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''} in the data"
        lines = [f"  {problem}" for problem in self.problems[:MOST_SHOWN]]
        if (rest := len(self.problems) - MOST_SHOWN) > 0:
            lines.append(f"  ... and {rest} more")
        super().__init__("\n".join([f"{count}; {remedy}:", *lines]))
