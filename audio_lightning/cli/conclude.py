"""What a sweep ends in: tables, a page, pictures of the best, made by processes that have the libraries for them."""

import sys
from pathlib import Path
from typing import Any

from audio_lightning.compare.trials import SweepFolder
from audio_lightning.sweeps.executors.forkserver import begin, call

MOST_DRAWN = 10
"""Trials of the best setup whose curves are drawn."""


def conclude(sweep: SweepFolder, plots: str, wandb: dict[str, Any] | None = None) -> None:
    """Write the tables and the page from what there is, and show the leaderboard.

    Args:
        sweep: whose trials have ended, or were stopped.
        plots: whose pictures are drawn: ``best``, those of the best setup; ``all``; or ``none``.
        wandb: ``logger.wandb`` of the trials, as it was typed; None where there is none.
    """
    folders = call(write_tables, sweep, plots)
    # Beside the page, which takes as long.
    drawing = [begin(draw, part) for part in (folders[::2], folders[1::2]) if part]
    page = call(write_page, sweep, wandb)
    for process in drawing:
        process.join()
    print(f"results: {sweep.results}\nreport: {page}", flush=True)


def write_tables(sweep: SweepFolder, plots: str) -> list[Path]:
    """Write ``results.csv`` and ``leaderboard.csv``, and print the latter.

    Returns:
        The folders of the trials whose pictures are wanted.
    """
    from audio_lightning.cli.leaderboard import print_boards
    from audio_lightning.compare.leaderboard import make_boards, write_leaderboard
    from audio_lightning.compare.results import write_results

    facts = sweep.read_facts()
    results = write_results(sweep)
    for damage in results.attrs["damaged"]:
        print(f"{damage}; the same command runs this trial again", file=sys.stderr)
    boards = make_boards(results, facts.monitor, facts.axes, [sweep])
    write_leaderboard(sweep, boards)
    if boards:
        print_boards(boards)
    best = [trial for board in boards for row in board.rows[:1] for trial in row.trials[:MOST_DRAWN]]
    drawn = results.iloc[best] if plots == "best" else results[(results["state"] == "done") & (plots == "all")]
    if not len(drawn):
        return []
    return [sweep.path / folder for folder, wanted in zip(drawn["folder"], drawn["config.plots"]) if wanted]


def draw(folders: list[Path]) -> None:
    """Draw the figures of runs that have none yet."""
    from audio_lightning.figures.run import draw_runs

    draw_runs(folders)


def write_page(sweep: SweepFolder, wandb: dict[str, Any] | None) -> Path:
    """Write ``report.html``, and log the sweep's own run where its trials are runs in Weights & Biases."""
    from audio_lightning.compare.leaderboard import make_boards
    from audio_lightning.compare.results import read_results
    from audio_lightning.report.sweep_page import write_sweep_page
    from audio_lightning.sweeps.wandb_summary import log_summary

    facts, results = sweep.read_facts(), read_results([sweep])
    boards = make_boards(results, facts.monitor, facts.axes, [sweep])
    page = write_sweep_page(sweep, results, boards)
    log_summary(sweep, results, boards, wandb)
    return page
