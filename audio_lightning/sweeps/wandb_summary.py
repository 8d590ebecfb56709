"""W&B run that summarizes a sweep whose trials are W&B runs."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from audio_lightning.compare.board import Board
from audio_lightning.compare.trials import SweepFolder

if TYPE_CHECKING:
    from audio_lightning.loggers.wandb import WandbLogger


def log_summary(
    sweep: SweepFolder, results: pd.DataFrame, boards: Sequence[Board], node: Mapping[str, Any] | None
) -> None:
    """Log a run ``summary`` with the leaderboard, the results, the page and the best row, if the trials are W&B runs.

    It never fails the sweep: an error is reported in one line.

    Args:
        sweep: sweep folder, in which ``leaderboard.csv`` and ``report.html`` have been written.
        results: table from :func:`audio_lightning.compare.trial_table.write_results`.
        boards: leaderboards from :func:`audio_lightning.compare.leaderboard.make_boards`.
        node: resolved node ``logger.wandb`` of the current command; never read from the folder, whose files may be from
            another person. None if the trials are not W&B runs.
    """
    if node is None:
        return
    try:
        from audio_lightning.loggers.wandb import WandbLogger

        keys = ("project", "entity", "tags", "notes", "mode")
        described = {key: node[key] for key in keys if key in node}
        group = node.get("group") or sweep.path.name
        logger = WandbLogger(str(sweep.path), **described, group=group, job_type="sweep", name="summary")
        try:
            _log(logger, sweep, results, boards)
        except BaseException:
            logger.finish(1)
            raise
        logger.finish()
        print_unsent(sweep)
    except Exception as error:
        print(f"W&B: the summary run could not be logged: {str(error).strip() or type(error).__name__}", flush=True)


def print_unsent(sweep: SweepFolder) -> None:
    """Print the command that sends the trials' runs, if any are on this machine only."""
    if any(sweep.trials.glob("*/wandb/offline-run-*")):
        print(
            f"W&B: send the trials with: wandb sync {shlex.quote(str(sweep.trials))}/*/wandb/offline-run-*", flush=True
        )


def _log(logger: "WandbLogger", sweep: SweepFolder, results: pd.DataFrame, boards: Sequence[Board]) -> None:
    import wandb

    facts = sweep.read_facts()
    run = logger.backend.experiment
    run.config.update({"sweep": facts.name, "overrides": facts.overrides, "axes": facts.axes, "monitor": facts.monitor})
    tables: dict[str, Any] = {"results": wandb.Table(dataframe=_as_table(results))}
    if sweep.leaderboard.is_file() and any(board.rows for board in boards):
        tables["leaderboard"] = wandb.Table(dataframe=pd.read_csv(sweep.leaderboard))
    if sweep.report.is_file():
        tables["report"] = wandb.Html(str(sweep.report), inject=False)
    run.log(tables)
    figures: dict[str, Any] = {f"trials/{state}": count for state, count in results["state"].value_counts().items()}
    if len(boards) == 1 and boards[0].rows:
        best = boards[0].rows[0]
        figures |= {"best": best.name, f"best/{boards[0].monitor}": best.validation.mean}
        if boards[0].expected is not None:
            figures[f"expected/{boards[0].metric}"] = boards[0].expected.test.mean
    run.summary.update(figures)


def _as_table(results: pd.DataFrame) -> pd.DataFrame:
    """Select the columns to show: all except the configuration, which is in the runs of the trials."""
    shown = results[[name for name in results.columns if not name.startswith("config.")]]
    return shown.map(lambda value: value if value is None or isinstance(value, (bool, int, float)) else str(value))
