"""Leaderboards as text tables for the terminal."""

from collections.abc import Sequence

from audio_lightning.compare.board import Board
from audio_lightning.compare.notes import conclusions
from audio_lightning.compare.statistics import Spread
from audio_lightning.core.text_tables import Column, print_table, print_text

PIPED_WIDTH = 100
"""Width in columns of a table that is not written to a terminal."""


def print_boards(boards: Sequence[Board]) -> None:
    """Print every board as a table, with its notes below; in a pipe or a file, in 100 columns."""
    for board in boards:
        print()
        for stamp in board.stamps:
            print_text(f"! {stamp}", piped_width=PIPED_WIDTH)
        if board.rows:
            _print_rows(board)
            known = any(found and found.low is not None for row in board.rows for found in (row.test, row.validation))
            brackets = f"In brackets: {board.interval}. " if known else ""
            print_text(f"{brackets}MB: largest memory of the process of a trial.", piped_width=PIPED_WIDTH)
        for sentence in conclusions(board):
            print_text(sentence, piped_width=PIPED_WIDTH)
        for note in board.notes:
            print_text(note, piped_width=PIPED_WIDTH)


def _print_rows(board: Board) -> None:
    recordings = any(row.recording for row in board.rows)
    figures = ("n", "para-\nmeters", "MACs", "ms/\nclip", "s/\nepoch", "MB")
    columns = (
        Column("", "right", whole=True),
        Column("setup"),
        Column(board.monitor.replace("/", "\n"), whole=True),
        Column(board.metric.replace("/", "\n"), whole=True),
        *([Column("recor-\ndings", whole=True)] if recordings else []),
        Column("against\nthe first"),
        *(Column(name, "right", whole=True) for name in figures),
    )
    rows = [
        (
            str(rank),
            f"{row.name} (validation redrawn by seed)" if row.validation_redrawn else row.name,
            _spread(row.validation),
            _with_interval(row.test),
            *([_mean(row.recording)] if recordings else []),
            row.comparison.verdict if row.comparison else "",
            str(row.n),
            _count(row.parameters),
            _count(row.macs),
            _figure(row.latency_ms),
            _figure(row.epoch_seconds),
            _figure(row.peak_memory_mb),
        )
        for rank, row in enumerate(board.rows, 1)
    ]
    print_table(columns, rows, keys=2, piped_width=PIPED_WIDTH)


def _mean(found: Spread | None) -> str:
    return "-" if found is None else f"{found.mean:.3f}"


def _spread(found: Spread | None) -> str:
    return _mean(found) + ("" if found is None or found.std is None else f" ± {found.std:.3f}")


def _with_interval(found: Spread | None) -> str:
    if found is None or found.low is None:
        return _spread(found)
    return f"{_spread(found)}\n[{found.low:.3f}, {found.high:.3f}]"


def _count(value: float | None) -> str:
    """A count with three significant digits and a prefix, such as 1.23M."""
    if value is None:
        return "-"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.0f}"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
