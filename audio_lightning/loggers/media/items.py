"""Media items, independent of the logger: figures, tables, confusion matrices, curves and clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

Cell = str | int | float


@dataclass(frozen=True)
class Figure:
    """An image: the name under which it is logged, such as ``test/roc``, and its PNG file."""

    name: str
    png: bytes


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Confusion(Figure):
    """Confusion matrix: number of clips of each class (rows) for which each class (columns) was predicted."""

    classes: Sequence[str]
    counts: Int64[np.ndarray, "classes classes"]


@dataclass(frozen=True)
class Curves(Figure):
    """One curve per class; ``points`` are tuples of class, x and y, curve by curve."""

    title: str
    axes: tuple[str, str]
    points: Sequence[tuple[str, float, float]]


@dataclass(frozen=True)
class Clip:
    """Audio clip with a caption and a spectrogram.

    Attributes:
        caption: label and prediction in a few words.
        facts: cells of the clip in the table of the gallery, by column.
        samples: waveform ``[samples]`` within [-1, 1].
        png: PNG file of the spectrogram.
    """

    caption: str
    facts: Mapping[str, Cell]
    samples: Float[np.ndarray, "samples"]
    png: bytes


@dataclass(frozen=True)
class Gallery(Figure):
    """Audio clips, and one figure with the spectrograms of all of them."""

    sample_rate: int
    clips: Sequence[Clip]

    @property
    def table(self) -> Table:
        """Table of the gallery, one row per clip."""
        columns = list(self.clips[0].facts)
        return Table(self.name, columns, [[clip.facts[name] for name in columns] for clip in self.clips])


Item = Figure | Table
