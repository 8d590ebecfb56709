"""HTML report of a sweep: leaderboard, heat map, main effects, cost, learning curves and mistakes with audio.

The page is a single file without external resources. All text from configurations, file names and classes is escaped
and outside of the script, and the content security policy of the page allows no other script.

Its size is bounded: :data:`MOST_ROWS` setups and reasons, :data:`~audio_lightning.report.charts.MOST_DOTS` dots per
value, a confusion matrix of :data:`~audio_lightning.report.mistakes.MOST_CLASSES` classes, and
:data:`~audio_lightning.report.mistakes.MOST_CLIPS` clips of at most 5 s at 16 kHz (2 MB) for each of the first
:data:`BOARDS_WITH_CLIPS` boards.
"""

import base64
import hashlib
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from audio_lightning.compare.notes import nested_selection
from audio_lightning.compare.trials import REPETITION_KEYS, SweepFacts, SweepFolder, TrialFolder, as_text
from audio_lightning.report import charts, effects, mistakes
from audio_lightning.report.confidence import reliability_chart
from audio_lightning.report.pages import duration, write_page
from audio_lightning.report.svg import clipped, short

if TYPE_CHECKING:
    from audio_lightning.compare.board import Board, Row

MOST_ROWS = 500
BOARDS_WITH_CLIPS = 3

STATES = ("done", "failed", "skipped", "pruned", "interrupted", "running", "queued")


def write_sweep_page(sweep: SweepFolder, results: pd.DataFrame, boards: "list[Board]") -> Path:
    """Write ``report.html`` into the folder of a sweep.

    Args:
        sweep: folder of the sweep; recordings are read again if they still exist.
        results: table of :func:`audio_lightning.compare.trial_table.read_results`, one row per trial.
        boards: leaderboards of these results.

    Returns:
        Path of the page.
    """
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    facts = sweep.read_facts()
    states = results["state"].value_counts()
    data = _data_names(results)
    write_page(
        sweep.report,
        "sweep_page.html.j2",
        title=_title(facts, data),
        data=data,
        facts=facts,
        command=shlex.join(["python", "sweep.py", *facts.overrides]),
        states=[(state, int(states[state])) for state in STATES if state in states],
        duration=duration(float(pd.to_numeric(results["seconds"]).fillna(0).sum())),
        boards=[_board(sweep, results, board, number) for number, board in enumerate(boards, 1)],
        troubles=_troubles(results, facts.axes),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        short=short,
        clipped=clipped,
    )
    return sweep.report


UNNAMED = re.compile("[0-9a-f]{12}")
"""Default name of a sweep: the hash of its grid."""


def _title(facts: SweepFacts, data: Sequence[str]) -> str:
    """Title of the page: the name of the sweep, or its axes and data sets if it has the default name."""
    if not UNNAMED.fullmatch(facts.name):
        return facts.name
    compared = [axis for axis in facts.axes if axis not in REPETITION_KEYS] or facts.axes or ["one setup"]
    title = " × ".join(compared) + (f" on {', '.join(data)}" if data and "data" not in compared else "")
    return title[0].upper() + title[1:]


def _data_names(results: pd.DataFrame) -> list[str]:
    """Data sets of the trials with the names of their folders, such as ``folder (birds)``."""
    names: dict[str, None] = {}
    for trial in results.to_dict("records"):
        choice, root = trial.get("choice.data"), trial.get("config.data.root")
        if isinstance(choice, str):
            folder = Path(root).name if isinstance(root, str) else ""
            names[f"{choice} ({folder})" if folder.casefold() not in ("", choice) else choice] = None
    return list(names)


def _board(sweep: SweepFolder, results: pd.DataFrame, board: "Board", number: int) -> dict[str, Any]:
    """Values of the template for a leaderboard."""
    folders = [[_folder(sweep, results, trial) for trial in row.trials] for row in board.rows[: charts.MOST_CURVES]]
    quality = board.monitor.removeprefix("validation/")
    setups = pd.DataFrame(
        [
            {axis: effects.named(row.choices[axis]) for axis in board.axes if axis in row.choices}
            | {effects.VALUE: row.validation.mean}
            for row in board.rows
        ]
    )
    found = mistakes.confusion(folders[0]) if folders else None
    clips, unreadable = mistakes.mistaken_clips(found) if found and number <= BOARDS_WITH_CLIPS else ([], None)
    return {
        "id": f"-{number}" if number > 1 else "",
        "board": board,
        "quality": quality.replace("_", " "),
        "rows": board.rows[:MOST_ROWS],
        "columns": _columns(board),
        "answer": _answer(board),
        "reliability": reliability_chart(found.predictions) if found else None,
        "nested": nested_selection(board.expected, board.unit) if board.expected else None,
        "heat": _heat_map(setups, results, board.axes),
        "effects": charts.effect_charts(effects.main_effects(setups), board.monitor),
        "interactions": effects.interactions(setups),
        "costs": charts.cost_charts(board.rows[:MOST_ROWS], board.monitor),
        "whiskers": any(row.pareto and row.validation.low is not None for row in board.rows),
        "curves": charts.learning_curves(
            list(zip(board.rows, folders)), dict.fromkeys((board.monitor, "validation/loss", "train/loss"))
        ),
        "curve_names": [row.name for row in board.rows[: charts.MOST_CURVES]],
        "confusion": found,
        "clips": clips,
        "unreadable": unreadable,
        "differences": _differences(results, board.rows),
    }


def _folder(sweep: SweepFolder, results: pd.DataFrame, trial: int) -> TrialFolder:
    row = results.iloc[trial]
    return TrialFolder(Path(row["sweep"] if "sweep" in results else sweep.path) / row["folder"])


def _answer(board: "Board") -> dict[str, Any] | None:
    """The best setup and its comparison with the others; it is the winner if all others are significantly worse."""
    if not board.rows:
        return None
    others = [row for row in board.rows[1:] if row.comparison]
    verdicts = {row.name: row.comparison.verdict for row in others if row.comparison}
    worse = [name for name, verdict in verdicts.items() if verdict.startswith("worse")]
    return {
        "best": board.rows[0],
        "worse": worse,
        "winner": 0 < len(worse) == len(board.rows) - 1,
        "untested": sum(row.comparison is None or row.comparison.p is None for row in board.rows[1:]),
        "others": len(board.rows) - 1,
    }


def _columns(board: "Board") -> dict[str, bool]:
    """Whether each optional column of the leaderboard has values."""
    names = ("test", "recording", "parameters", "macs", "latency_ms", "epoch_seconds", "peak_memory_mb", "comparison")
    known = {name: any(getattr(row, name) is not None for row in board.rows) for name in names}
    leaks = {row.leakage for row in board.rows}
    return known | {
        "leakage": len(leaks) > 1,  # the stamp above the table is for values common to all rows
        "interval": any(_shown(row).low is not None for row in board.rows),
    }


def _shown(row: "Row") -> Any:
    return row.test or row.validation


def _heat_map(setups: pd.DataFrame, results: pd.DataFrame, axes: list[str]) -> dict[str, Any] | None:
    """Heat map of two axes; cells without a result have the reason."""
    columns = [axis for axis in setups if axis != effects.VALUE and f"choice.{axis}" in results]
    if setups.empty:
        return None
    tried = pd.DataFrame({axis: [effects.named(value) for value in results[f"choice.{axis}"]] for axis in columns})
    chosen = effects.heat_axes(setups, tried)
    if chosen is None:
        return None
    one, other = chosen
    means = {axis: setups.groupby(axis)[effects.VALUE].mean() for axis in chosen}
    names = {axis: effects.ordered(list(tried[axis]), means[axis]) for axis in chosen}
    cells: dict[tuple[str, str], list[float]] = {}
    for a, b, value in zip(setups[one], setups[other], setups[effects.VALUE]):
        cells.setdefault((a, b), []).append(value)
    low, high = (end(sum(values) / len(values) for values in cells.values()) for end in (min, max))
    reasons: dict[tuple[str, str], tuple[str, str | None]] = {}
    for a, b, state, reason in zip(tried[one], tried[other], results["state"], results["reason"]):
        if state != "done" and (isinstance(reason, str) or (a, b) not in reasons):
            reasons[a, b] = state, reason

    def cell(place: tuple[str, str]) -> dict[str, Any]:
        if place in cells:
            mean = sum(cells[place]) / len(cells[place])
            share = (mean - low) / (high - low) if high > low else 0.5
            return {"mean": mean, "share": share, "size": len(cells[place])}
        state, reason = reasons.get(place, ("", None))
        return {"mean": None, "state": state, "reason": reason if isinstance(reason, str) else None}

    return {
        "axes": chosen,
        "columns": names[other],
        "rows": [(name, [cell((name, column)) for column in names[other]]) for name in names[one]],
        "averaged": any(len(values) > 1 for values in cells.values()),
        "gaps": len(cells) < len(names[one]) * len(names[other]),
    }


def _differences(results: pd.DataFrame, rows: "list[Row]") -> dict[str, Any] | None:
    """Configuration keys that differ between the two best setups, except keys that vary within one of them."""
    if len(rows) < 2:
        return None
    best, second = (results.iloc[row.trials] for row in rows[:2])
    differ = []
    for column in results.columns[results.columns.str.startswith("config.")]:
        values = [{_typed(value) for value in part[column]} for part in (best, second)]
        if all(len(found) == 1 for found in values) and values[0] != values[1]:
            differ.append((column.removeprefix("config."), *(found.pop() for found in values)))
    return {"names": [row.name for row in rows[:2]], "keys": differ[:MOST_ROWS]}


def _typed(value: Any) -> str | None:
    """A value as on the command line; None if the key is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return as_text(value)


def _troubles(results: pd.DataFrame, axes: list[str]) -> list[dict[str, Any]]:
    """Trials without a result, grouped by state and reason."""
    columns = [f"choice.{axis}" for axis in axes if f"choice.{axis}" in results]
    found: dict[tuple[str, str], list[str]] = {}
    for trial in results[results["state"].isin(["failed", "skipped", "interrupted"])].to_dict("records"):
        reason = trial["reason"] if isinstance(trial["reason"], str) else "no reason is known"
        found.setdefault((trial["state"], reason), []).append(_cell_name(trial, columns))
    order = sorted(found.items(), key=lambda entry: (STATES.index(entry[0][0]), -len(entry[1])))
    return [{"state": state, "reason": reason, "trials": names} for (state, reason), names in order[:MOST_ROWS]]


def _cell_name(trial: Mapping[Any, Any], columns: list[str]) -> str:
    values = [f"{column.removeprefix('choice.')}={effects.named(trial[column])}" for column in columns]
    return f"{trial['trial']}: " + (" ".join(values) or str(trial["folder"]))
