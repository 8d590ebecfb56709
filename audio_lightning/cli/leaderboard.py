"""``audio-lightning leaderboard``: what the finished trials of sweeps say, as a table and in words."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.exit_codes import answering
from audio_lightning.cli.output import Column, print_next, print_table, print_text
from audio_lightning.core.files import A_SWEEP, require_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audio_lightning.compare.board import Board
    from audio_lightning.compare.statistics import Spread

PIPED_WIDTH = 100
"""Columns of a table that is not written to a terminal."""

Sweeps = Annotated[list[Path], typer.Argument(metavar="SWEEP_DIR...", help="Folders that sweep.py left.")]
Monitor = Annotated[str | None, typer.Option(help="Validation metric to order by; default: that of the sweeps.")]


def leaderboard_command(sweeps: Sweeps, monitor: Monitor = None) -> None:
    """Compare the finished trials of one or several sweeps: mean and spread over folds and seeds, cost, paired tests.

    Exit code 1 if no trial is finished.
    """

    def run() -> int:
        for path in sweeps:
            require_folder(path.expanduser(), A_SWEEP)
        from audio_lightning.compare.trials import SweepFolder
        from audio_lightning.core.errors import ConfigError

        folders = [SweepFolder(path.expanduser()) for path in sweeps]
        facts = [folder.read_facts() for folder in folders]
        monitors = dict.fromkeys([monitor] if monitor else [fact.monitor for fact in facts])
        if len(monitors) > 1:
            raise ConfigError(
                f"the sweeps chose their trials by {' and by '.join(monitors)}: "
                f"say which one orders the rows, such as --monitor {next(iter(monitors))}"
            )
        from audio_lightning.compare.leaderboard import make_boards
        from audio_lightning.compare.results import read_results

        results = read_results(folders)
        for damage in results.attrs["damaged"]:
            print(f"{damage}; the sweep's command runs this trial again", file=sys.stderr)
        states = ", ".join(f"{count} {state}" for state, count in results["state"].value_counts().items())
        print(f"{len(results)} trials" + (f": {states}" if states else ""))
        axes = list(dict.fromkeys(axis for fact in facts for axis in fact.axes))
        boards = make_boards(results, next(iter(monitors)), axes, folders)
        if not boards:
            print("no trial is finished yet, so there is nothing to compare")
            print_next("python", "sweep.py", *facts[0].overrides)
            return 1
        print_boards(boards)
        if len(boards) == 1 and boards[0].rows:
            best = results.iloc[boards[0].rows[0].trials[0]]
            print_next("audio-lightning", "refit", Path(best["sweep"]) if len(folders) > 1 else folders[0].path)
        return 0

    raise typer.Exit(answering(run))


def print_boards(boards: "Sequence[Board]") -> None:
    """Print every board as a table, with its notes below; in a pipe or a file, in 100 columns."""
    from audio_lightning.compare.notes import answer

    for board in boards:
        print()
        for stamp in board.stamps:
            print_text(f"! {stamp}", piped_width=PIPED_WIDTH)
        if board.rows:
            _print_rows(board)
            known = any(found and found.low is not None for row in board.rows for found in (row.test, row.validation))
            brackets = f"In brackets: {board.interval}. " if known else ""
            print_text(f"{brackets}MB: largest memory of the process of a trial.", piped_width=PIPED_WIDTH)
        for sentence in answer(board):
            print_text(sentence, piped_width=PIPED_WIDTH)
        for note in board.notes:
            print_text(note, piped_width=PIPED_WIDTH)


def _print_rows(board: "Board") -> None:
    recordings = any(row.recording for row in board.rows)
    figures = ("n", "para-\nmeters", "MACs", "ms a\nclip", "s an\nepoch", "MB")
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


def _mean(found: "Spread | None") -> str:
    return "-" if found is None else f"{found.mean:.3f}"


def _spread(found: "Spread | None") -> str:
    return _mean(found) + ("" if found is None or found.deviation is None else f" ± {found.deviation:.3f}")


def _with_interval(found: "Spread | None") -> str:
    if found is None or found.low is None:
        return _spread(found)
    return f"{_spread(found)}\n[{found.low:.3f}, {found.high:.3f}]"


def _count(value: float | None) -> str:
    """Three digits and a prefix: 1.23M."""
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
