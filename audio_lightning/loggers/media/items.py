"""What can be shown. A logger decides how: as a chart of its own where it has one, and else as the picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

Cell = str | int | float


@dataclass(frozen=True)
class Picture:
    """An image.

    Attributes:
        name: where it is shown, such as ``test/roc``.
        png: its file.
    """

    name: str
    png: bytes


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Confusion(Picture):
    """How many clips of each class (rows) were taken for each (columns)."""

    classes: Sequence[str]
    counts: Int64[np.ndarray, "classes classes"]


@dataclass(frozen=True)
class Curves(Picture):
    """A curve for each of several classes, thinned to what can be seen.

    Attributes:
        title: what is to be seen.
        axes: names of x and y.
        points: name of the class, x and y of every point, curve by curve.
    """

    title: str
    axes: tuple[str, str]
    points: Sequence[tuple[str, float, float]]


@dataclass(frozen=True)
class Clip:
    """A clip to listen to.

    Attributes:
        caption: a few words.
        facts: columns of a table that has a row a clip.
        samples: within [-1, 1].
        png: its spectrogram.
    """

    caption: str
    facts: Mapping[str, Cell]
    samples: Float[np.ndarray, "samples"]
    png: bytes


@dataclass(frozen=True)
class Gallery(Picture):
    """Clips to listen to; the picture has all of their spectrograms."""

    sample_rate: int
    clips: Sequence[Clip]

    @property
    def table(self) -> Table:
        """The facts of all clips."""
        columns = list(self.clips[0].facts)
        return Table(self.name, columns, [[clip.facts[name] for name in columns] for clip in self.clips])


Item = Picture | Table
