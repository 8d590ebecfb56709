"""Output of a finished sweep: tables, HTML page and plots, made in processes that have the libraries loaded."""

import sys
from pathlib import Path
from typing import Any

from audio_lightning.compare.trials import SweepFolder
from audio_lightning.sweeps.executors.forkserver import begin, call

MOST_DRAWN = 10
"""Maximum number of trials of the best setup whose plots are drawn."""


def finalize(sweep: SweepFolder, plots: str, wandb: dict[str, Any] | None = None) -> None:
    """Write the tables, the page and the plots of the finished trials, and print the leaderboard.

    Args:
        sweep: sweep folder.
        plots: trials to draw: ``best`` (those of the best setup), ``all`` or ``none``.
        wandb: node ``logger.wandb`` of the trials; None without W&B.
    """
    folders = call(write_tables, sweep, plots)
    # In parallel with the page, which takes about as long.
    drawing = [begin(draw, part) for part in (folders[::2], folders[1::2]) if part]
    page = call(write_page, sweep, wandb)
    for process in drawing:
        process.join()
    print(f"results: {sweep.results}\nreport: {page}", flush=True)


def write_tables(sweep: SweepFolder, plots: str) -> list[Path]:
    """Write ``results.csv`` and ``leaderboard.csv``, and print the latter.

    Returns:
        The folders of the trials to draw.
    """
    from audio_lightning.compare.leaderboard import boards_of, write_leaderboard
    from audio_lightning.compare.trial_table import write_results
    from audio_lightning.report.terminal import print_boards

    results = write_results(sweep)
    boards = boards_of(results, [sweep])
    for damage in results.attrs["damaged"]:
        print(f"{damage}; the same command runs this trial again", file=sys.stderr)
    write_leaderboard(sweep, boards)
    if boards:
        print_boards(boards)
    best = [trial for board in boards for row in board.rows[:1] for trial in row.trials[:MOST_DRAWN]]
    drawn = results.iloc[best] if plots == "best" else results[(results["state"] == "done") & (plots == "all")]
    if not len(drawn):
        return []
    return [sweep.path / folder for folder, wanted in zip(drawn["folder"], drawn["config.plots"]) if wanted]


def draw(folders: list[Path]) -> None:
    """Draw the figures of runs that have no figures yet."""
    from audio_lightning.figures.run_figures import draw_runs

    draw_runs(folders)


def write_page(sweep: SweepFolder, wandb: dict[str, Any] | None) -> Path:
    """Write ``report.html``; if the trials are W&B runs, log a summary run of the sweep."""
    from audio_lightning.compare.leaderboard import boards_of
    from audio_lightning.compare.trial_table import read_results
    from audio_lightning.report.sweep_page import write_sweep_page
    from audio_lightning.sweeps.wandb_summary import log_summary

    results = read_results([sweep])
    boards = boards_of(results, [sweep])
    page = write_sweep_page(sweep, results, boards)
    log_summary(sweep, results, boards, wandb)
    return page
