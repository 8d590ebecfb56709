"""Leaderboards of finished trials: average repetitions, order the rows, compare them with the best one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from audio_lightning.compare.board import COSTS, LEAKAGE, Board, Row, Unit
from audio_lightning.compare.clip_results import ClipResults, matrices
from audio_lightning.compare.names import choices_of
from audio_lightning.compare.notes import caveats, interval, no_winner, stamps, unexpected, windows
from audio_lightning.compare.repetitions import redrawn_parts, repetitions_of, unit_of
from audio_lightning.compare.selection import expected, is_nested, ordered
from audio_lightning.compare.setups import Setup, column_of, make_setups, numbers, on_common
from audio_lightning.compare.statistics import Comparison, Spread, compare
from audio_lightning.compare.trials import SweepFolder, as_text
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import write_csv

CLIP, HOP = "config.data.clip_seconds", "config.data.hop_seconds"
"""Keys of the windows that a trial cuts recordings into; without a hop, a recording is one clip."""


def make_boards(results: pd.DataFrame, monitor: str, axes: Sequence[str], sweeps: Sequence[SweepFolder]) -> list[Board]:
    """Make one leaderboard for each set of recordings, in the order of the trials.

    Seeds with the same splits are averaged first. Rows are compared on the repetitions that all of them have; a row
    with fewer than half of the repetitions of another row is left out, because it would reduce the common repetitions.
    If rows cut recordings into different windows, metrics of whole recordings are used for order and tests.

    Args:
        results: table from :func:`audio_lightning.compare.trial_table.read_results`.
        monitor: metric that orders the rows, such as ``validation/accuracy``.
        axes: keys that vary, in the order of the command line.
        sweeps: sweep folders with the predictions of the trials.
    """
    results = results.reset_index(drop=True)
    clips = ClipResults({place: _folder(trial, sweeps) for place, trial in enumerate(results.to_dict("records"))})
    done = results[results["state"] == "done"]
    contents = [trials for _, trials in done.groupby(done["content"].map(as_text), sort=False)]
    boards = [_make_board(trials, monitor, list(axes), clips) for trials in contents]
    if len(boards) < 2:
        return boards
    apart = (
        f"The trials are on {len(boards)} different sets of recordings: rows of different tables cannot be compared."
    )
    return [replace(board, notes=[apart, *board.notes]) for board in boards]


def boards_of(results: pd.DataFrame, sweeps: Sequence[SweepFolder], monitor: str | None = None) -> list[Board]:
    """Make the leaderboards of sweeps, with the metric and the axes that are stored in their folders.

    Args:
        results: see :func:`make_boards`.
        sweeps: sweep folders; at least one, unless ``monitor`` is given.
        monitor: metric that orders the rows; None: the monitor of the sweeps.

    Raises:
        ConfigError: the sweeps use different metrics, or a folder contains no sweep.
    """
    facts = [sweep.read_facts() for sweep in sweeps]
    monitors = list(dict.fromkeys([monitor] if monitor else [fact.monitor for fact in facts]))
    if len(monitors) != 1:
        raise ConfigError(
            f"monitor: the sweeps use {' and '.join(monitors) or 'none'}; give monitor, and a sweep"
            + "".join(f", such as --monitor {first}" for first in monitors[:1])
        )
    return make_boards(results, monitors[0], list(dict.fromkeys(axis for fact in facts for axis in fact.axes)), sweeps)


def write_leaderboard(sweep: SweepFolder, boards: Sequence[Board]) -> None:
    """Write ``leaderboard.csv``: one row per setup; the column ``board`` numbers the sets of recordings."""
    records = [
        {"board": number, "rank": rank, **leaderboard_record(board, row)}
        for number, board in enumerate(boards, 1)
        for rank, row in enumerate(board.rows, 1)
    ]
    columns = list(dict.fromkeys(name for record in records for name in record)) or ["board", "rank"]
    choices = [name for name in columns if name.startswith("choice.")]
    header = [name for name in columns if name not in choices] + choices
    cells = ([record.get(name) for name in header] for record in records)
    write_csv(sweep.leaderboard, header, ([None if cell is None else as_text(cell) for cell in row] for row in cells))


def _folder(trial: Mapping[Any, Any], sweeps: Sequence[SweepFolder]) -> Path:
    return Path(trial["sweep"] if "sweep" in trial else sweeps[0].path) / trial["folder"]


def _make_board(trials: pd.DataFrame, monitor: str, axes: list[str], clips: ClipResults) -> Board:
    notes = []
    loss = f"{monitor.partition('/')[0]}/loss"
    if not np.isfinite(numbers(trials, monitor)).any() and np.isfinite(numbers(trials, loss)).any():
        notes.append(f"No trial has a finite {monitor}, so the rows are ordered by {loss}.")
        monitor = loss
    metric = f"test/{monitor.rpartition('/')[2]}"
    ranked = np.isfinite(numbers(trials, monitor))
    usable = trials[ranked].copy()
    if not ranked.all():
        left = zip(trials["trial"][~ranked], trials["reason"][~ranked])
        named = ", ".join(f"trial {number} ({reason})" if reason else f"trial {number}" for number, reason in left)
        notes.append(f"Not ranked, because they have no finite {monitor}: {named}.")
    if usable.empty:
        return Board(metric, monitor, [], "seeds", "", axes, notes, [])
    epochs = numbers(usable, "epochs")
    usable["epoch_seconds"] = numbers(usable, "training_seconds") / np.where(epochs > 0, epochs, np.nan)
    usable["windows"] = [as_text([*pair]) for pair in zip(column_of(usable, CLIP), column_of(usable, HOP))]
    if _cut_differently(usable):
        recording = {name: name.replace("/", "/recording_") for name in (monitor, metric)}
        for name, of_recordings in recording.items():
            usable[of_recordings] = _of_recordings(usable, name, of_recordings)
        if whole := all(np.isfinite(numbers(usable, name)).all() for name in recording.values()):
            monitor, metric = recording[monitor], recording[metric]
        notes.append(windows(monitor, metric, whole))
    unit = unit_of(usable)
    usable["repetition"] = repetitions_of(usable, unit)
    setups, shared = on_common(make_setups(usable, axes, redrawn_parts(usable, unit), clips), unit, notes)

    keys = list(setups)
    places = ordered(list(setups.values()), monitor)
    best_first = [setups[keys[place]] for place in places]
    rows = [_row(keys[place], setups[keys[place]], monitor, metric) for place in places]
    tested = metric if all(row.test for row in rows) else monitor
    on_test = tested == monitor or (shared and is_nested(unit, best_first))
    comparisons = against_best(best_first, tested, shared, on_test)
    sign = -1 if best_first[0].lower_is_better(monitor) else 1
    rows = [
        replace(row, comparison=comparison, pareto=_on_front(row, rows, sign))
        for row, comparison in zip(rows, [None, *comparisons])
    ]
    found = expected(best_first, monitor, metric, unit) if shared or len(rows) == 1 else None
    if found is None and unit != "seeds" and len(rows) > 1 and rows[0].test:
        notes.append(unexpected(unit))
    by_clip = tested == metric and best_first[0].influence(metric) is not None
    notes += caveats(rows, monitor, tested, unit, shared, by_clip, on_test)
    undecided = no_winner(rows, unit, _clips_tested(best_first[0], unit), on_test)
    return Board(
        metric, monitor, rows, unit, interval(rows, unit, by_clip), axes, notes, stamps(rows), found, undecided
    )


def _cut_differently(trials: pd.DataFrame) -> bool:
    return len(set(trials["windows"])) > 1 and any(hop is not None for hop in column_of(trials, HOP))


def _of_recordings(trials: pd.DataFrame, metric: str, recording: str) -> Float[np.ndarray, "trials"]:
    """Return the metric of whole recordings; an uncut recording is one clip."""
    cut = np.array([hop is not None for hop in column_of(trials, HOP)])
    return np.where(cut, numbers(trials, recording), numbers(trials, metric))


def _clips_tested(setup: Setup, unit: Unit) -> float:
    """Return the number of test clips of a row: over all folds, otherwise per repetition; NaN if unknown."""
    counts = setup.means("num_clips/test")
    if counts is None:
        return math.nan
    return float(counts.sum() if unit == "folds" else counts.mean())


def _row(setup: str, found: Setup, monitor: str, metric: str) -> Row:
    validation = found.spread(monitor)
    assert validation is not None  # trials without it are not among these
    trials = found.trials
    leakage = {"cannot be excluded" if known is None else known for known in column_of(trials, "leakage")}
    return Row(
        setup=setup,
        name=found.name,
        choices=choices_of(trials),
        trials=sorted(int(place) for place in trials.index),
        n=len(found.repetitions),
        validation=validation,
        test=found.spread(metric),
        recording=found.spread(metric.replace("/", "/recording_")),
        **{name: found.median(name) for name in COSTS},
        comparison=None,
        leakage=next((known for known in LEAKAGE if known in leakage), "none found"),
        pareto=False,
        validation_redrawn=found.validation_redrawn,
    )


def against_best(best_first: list[Setup], metric: str, shared: bool, chosen_on_test: bool) -> list[Comparison]:
    """Compare all other rows with the first on ``metric``; without shared repetitions, no test is possible."""
    best, *others = best_first
    differences = []
    for other in others:
        pair = (other.means(metric), best.means(metric)) if shared else (None, None)
        differences.append(pair[0] - pair[1] if pair[0] is not None and pair[1] is not None else np.empty(0))
    first = best.influence(metric)
    influences = []
    for other in others:
        found = other.influence(metric) if shared else None
        row, reference = (None, None) if first is None or found is None else matrices(found, first)
        influences.append(None if row is None or reference is None else row - reference)
    return compare(
        differences,
        influences,
        [setup.ratio(metric) for setup in others],
        chosen_on_test=chosen_on_test,
        lower_is_better=best.lower_is_better(metric),
    )


def _on_front(row: Row, rows: list[Row], sign: int) -> bool:
    """Return whether a row is Pareto-optimal: no other row is as good and as cheap, and better in one of the two."""
    if row.macs is None:
        return False

    def dominates(other: Row) -> bool:
        if other.macs is None or row.macs is None:
            return False
        gain, saving = sign * (other.validation.mean - row.validation.mean), row.macs - other.macs
        return gain >= 0 and saving >= 0 and (gain > 0 or saving > 0)

    return not any(dominates(other) for other in rows)


def leaderboard_record(board: Board, row: Row) -> dict[str, Any]:
    """Return the columns of ``leaderboard.csv`` for a row of a board."""
    comparison = row.comparison
    spreads: Mapping[str, Spread | None] = {
        board.monitor: row.validation,
        board.metric: row.test,
        board.metric.replace("/", "/recording_"): row.recording,
    }
    figures = {
        f"{metric} {name}": getattr(found, name)
        for metric, found in spreads.items()
        if found
        for name in ("mean", "std", "low", "high")
    }
    return {
        "name": row.name,
        "setup": row.setup,
        "n": row.n,
        "unit": board.unit,
        **figures,
        **{name: getattr(row, name) for name in COSTS},
        "difference": comparison.difference if comparison and comparison.n else None,
        "comparison": comparison.test if comparison else None,
        "p": comparison.p if comparison else None,
        "p_holm": comparison.p_holm if comparison else None,
        "verdict": comparison.verdict if comparison else "best",
        **_expected(board, row),
        "leakage": row.leakage,
        "pareto": row.pareto,
        "validation_redrawn": row.validation_redrawn,
        **{f"choice.{key}": value for key, value in row.choices.items()},
    }


def _expected(board: Board, row: Row) -> dict[str, Any]:
    """Return the columns of the expected metric, which are empty for all rows but the first, chosen one."""
    found = board.expected
    if found is None:
        return {}
    figures = {name: getattr(found.test, name) for name in ("mean", "low", "high")}
    first = row is board.rows[0]
    return {f"expected {board.metric} {name}": value if first else None for name, value in figures.items()}
