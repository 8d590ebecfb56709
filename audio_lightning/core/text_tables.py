"""Tables and paragraphs that fit the terminal width."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from audio_lightning.core.messages import WORDS, terminal_width, wrapped

GAPS = (2, 1)
"""Spaces between columns; the second value is for a table that is too wide with the first."""


@dataclass(frozen=True)
class Column:
    """A column of a table; cells of a ``whole`` column, such as paths and figures, are not wrapped."""

    name: str
    justify: Literal["left", "right"] = "left"
    whole: bool = False

    def widths(self, cells: Sequence[str]) -> tuple[int, int]:
        """Minimum width, at which no word is cut, and natural width."""
        lines = [line for cell in (self.name, *cells) for line in cell.split("\n")]
        natural = max(map(_width, lines))
        return (natural if self.whole else max(_width(word) for line in lines for word in line.split(" "))), natural


def print_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, keys: int = 1, piped_width: int | None = None
) -> None:
    """Print a table that fits the width of the terminal, and never break a word.

    Cells are wrapped between words. If that is not enough, the columns are divided among several tables, each with the
    first ``keys`` columns. If one column is too wide for that, each row is printed as a paragraph. If the output is a
    pipe or a file and COLUMNS is not set, the table is ``piped_width`` characters wide; None: as wide as needed.
    """
    width = terminal_width() or piped_width
    sizes = _sizes(columns, rows)
    if width is None:
        _print_part(columns, rows, range(len(columns)), [natural for _, natural in sizes], GAPS[0])
        return
    least = [low for low, _ in sizes]
    for gap in GAPS:
        parts = _divided(least, keys, width, gap)
        if len(parts) == 1:
            break
    if any(_total((least[place] for place in part), gap) > width for part in parts):
        _print_paragraphs(columns, rows, keys, width)
        return
    for number, part in enumerate(parts):
        if number:
            print()
        _print_part(columns, rows, part, _shared([sizes[place] for place in part], width, gap), gap)


def surplus_width(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    """Characters by which a table is too wide for the terminal to be printed in one piece; 0 if it fits."""
    width = terminal_width()
    return max(0, _total((least for least, _ in _sizes(columns, rows)), GAPS[-1]) - width) if width else 0


def print_text(text: str, *, indent: int = 0, piped_width: int | None = None) -> None:
    """Print a paragraph, wrapped between words, with all lines but the first indented; see :func:`print_table`."""
    print(wrapped(text, indent=indent, width=terminal_width() or piped_width))


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _sizes(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Minimum and natural width of each column."""
    return [column.widths([row[place] for row in rows]) for place, column in enumerate(columns)]


def _divided(least: Sequence[int], keys: int, width: int, gap: int) -> list[list[int]]:
    """Divide the columns among tables: each has the key columns, and as many others as fit."""
    parts: list[list[int]] = []
    for place in range(keys, len(least)):
        if not parts or _total((least[number] for number in (*parts[-1], place)), gap) > width:
            parts.append([*range(keys)])
        parts[-1].append(place)
    return parts


def _total(widths: Iterable[int], gap: int) -> int:
    return sum(width + gap for width in widths) - gap


def _shared(sizes: Sequence[tuple[int, int]], width: int, gap: int) -> list[int]:
    """Reduce the natural widths, the widest first, until they fit; no column goes below its minimum."""
    widths = [natural for _, natural in sizes]
    while _total(widths, gap) > width:
        widest = max((place for place in range(len(widths)) if widths[place] > sizes[place][0]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _print_part(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], places: Sequence[int], widths: Sequence[int], gap: int
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for place, width in zip(places, widths):
        column = columns[place]
        table.add_column(column.name, justify=column.justify, width=width, overflow="fold")
    for row in rows:  # Text objects, because a name in brackets would be taken for a style
        table.add_row(*(Text(row[place]) for place in places))
    Console(width=_total(widths, gap) + gap, highlight=False).print(table)


def _print_paragraphs(columns: Sequence[Column], rows: Sequence[Sequence[str]], keys: int, width: int) -> None:
    for row in rows:
        print(textwrap.fill(" ".join(cell for cell in row[:keys] if cell), width, **WORDS))
        named = [(column, cell) for column, cell in zip(columns[keys:], row[keys:]) if cell]
        long = [place for place, (_, cell) in enumerate(named) if "\n" in cell or _width(cell) > width // 2]
        short = [f"{_in_a_line(column.name)} {cell}" for place, (column, cell) in enumerate(named) if place not in long]
        lines = textwrap.wrap(", ".join(short), width - 2, **WORDS)
        for column, cell in (named[place] for place in long):
            for line in cell.split("\n"):
                lines += [line] if column.whole else textwrap.wrap(line, width - 2, **WORDS)
        print("\n".join(f"  {line}" for line in lines))


def _in_a_line(name: str) -> str:
    return name.replace("-\n", "").replace("\n", " ")
