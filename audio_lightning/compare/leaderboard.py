"""From trials to rows that can be compared: repetitions averaged, the best row found, every other held against it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from audio_lightning.compare.board import COSTS, LEAKAGE, Board, Row, Unit
from audio_lightning.compare.names import choices_of, row_names
from audio_lightning.compare.remarks import interval, remarks, stamps, windows
from audio_lightning.compare.repetitions import redrawn_parts, repetitions_of, unit_of
from audio_lightning.compare.statistics import Comparison, Spread, compare, spread
from audio_lightning.compare.trials import SweepFolder, as_text
from audio_lightning.files import write_csv
from audio_lightning.task import lower_is_better

__all__ = ["Board", "Comparison", "Row", "Spread", "make_boards", "write_leaderboard"]

CLIP, HOP = "config.data.clip_seconds", "config.data.hop_seconds"
"""How a trial cuts recordings into clips; without a hop each is one."""


def make_boards(results: pd.DataFrame, monitor: str, axes: Sequence[str]) -> list[Board]:
    """One board for the finished trials on each content, in the order in which they occur.

    Within a division of the recordings seeds are averaged first, and rows are compared on the divisions that all of
    them have. A row with fewer than half of the divisions of another one is left out, or it would take these from all.
    Where rows cut recordings into different windows, whole recordings take the place of these, for order and tests.

    Args:
        results: as :func:`audio_lightning.compare.results.read_results` gives them.
        monitor: the metric by which rows are ordered and the best is found, such as ``validation/accuracy``.
        axes: the keys that vary, as they were typed.
    """
    results = results.reset_index(drop=True)
    done = results[results["state"] == "done"]
    contents = [trials for _, trials in done.groupby(done["content"].map(as_text), sort=False)]
    boards = [_make_board(trials, monitor, list(axes)) for trials in contents]
    if len(boards) < 2:
        return boards
    apart = (
        f"The trials are on {len(boards)} different sets of recordings: rows of different tables cannot be compared."
    )
    return [replace(board, notes=[apart, *board.notes]) for board in boards]


def write_leaderboard(sweep: SweepFolder, boards: Sequence[Board]) -> None:
    """Write ``leaderboard.csv``: one row a setup; the column ``board`` counts the sets of recordings."""
    records = [
        {"board": number, "rank": rank, **_record(board, row)}
        for number, board in enumerate(boards, 1)
        for rank, row in enumerate(board.rows, 1)
    ]
    columns = list(dict.fromkeys(name for record in records for name in record)) or ["board", "rank"]
    choices = [name for name in columns if name.startswith("choice.")]
    header = [name for name in columns if name not in choices] + choices
    cells = ([record.get(name) for name in header] for record in records)
    write_csv(sweep.leaderboard, header, ([None if cell is None else as_text(cell) for cell in row] for row in cells))


@dataclass(frozen=True)
class _Setup:
    """The trials of a setup, by repetition; ``redrawn``: the parts of the data whose clips these do not share."""

    name: str
    repetitions: dict[str, pd.DataFrame]
    redrawn: tuple[str, ...]

    def over(self, repetitions: Sequence[str]) -> "_Setup":
        return replace(self, repetitions={key: self.repetitions[key] for key in repetitions})

    @property
    def trials(self) -> pd.DataFrame:
        return pd.concat(self.repetitions.values())

    def means(self, column: str) -> Float[np.ndarray, "n"] | None:
        """A metric, averaged within every repetition; None where a trial lacks it."""
        found = np.array([_numbers(trials, column).mean() for trials in self.repetitions.values()])
        return found if np.isfinite(found).all() else None

    def spread(self, column: str) -> Spread | None:
        values = self.means(column)
        if values is None:
            return None
        found = spread(values, ratio=self.ratio(column) if _part(column) in self.redrawn else 0.0)
        if found.low is None or found.high is None:
            return found
        # With few repetitions the t interval leaves the range of the metric: all lie between 0 and 1, the loss above 0.
        highest = math.inf if lower_is_better(column) else 1.0
        return replace(found, low=max(0.0, found.low), high=min(highest, found.high))

    def ratio(self, column: str) -> float:
        """Clips of the part that the metric is of / clips trained on."""
        trials = self.trials
        return float(np.mean(_numbers(trials, f"clips/{_part(column)}") / _numbers(trials, "clips/train")))

    def median(self, column: str) -> float | None:
        known = _numbers(self.trials, column)
        known = known[np.isfinite(known)]
        return float(np.median(known)) if len(known) else None


def _make_board(trials: pd.DataFrame, monitor: str, axes: list[str]) -> Board:
    metric = f"test/{monitor.rpartition('/')[2]}"
    usable = trials[np.isfinite(_numbers(trials, monitor))].copy()
    notes = []
    if lacking := len(trials) - len(usable):
        notes.append(f"Left out, because they have no {monitor}: {lacking} finished trials.")
    if usable.empty:
        return Board(metric, monitor, [], "seeds", "", axes, notes, [])
    usable["epoch_seconds"] = _numbers(usable, "training_seconds") / _numbers(usable, "epochs")
    usable["windows"] = [as_text([*pair]) for pair in zip(_column(usable, CLIP), _column(usable, HOP))]
    if _cut_differently(usable):
        recording = {name: name.replace("/", "/recording_") for name in (monitor, metric)}
        for name, of_recordings in recording.items():
            usable[of_recordings] = _of_recordings(usable, name, of_recordings)
        if whole := all(np.isfinite(_numbers(usable, name)).all() for name in recording.values()):
            monitor, metric = recording[monitor], recording[metric]
        notes.append(windows(monitor, metric, whole))
    unit = unit_of(usable)
    usable["repetition"] = repetitions_of(usable, unit)
    setups, shared = _on_common(_setups(usable, axes, redrawn_parts(usable, unit)), unit, notes)

    sign = -1 if lower_is_better(monitor) else 1
    rows = [_row(setup, found, monitor, metric) for setup, found in setups.items()]
    rows.sort(key=lambda row: -sign * row.validation.mean)  # stable: of equals the one that was typed first
    ordered = [setups[row.setup] for row in rows]
    tested = metric if all(row.test for row in rows) else monitor
    comparisons = _against_best(ordered, tested, unit if shared else None)
    rows = [
        replace(row, comparison=comparison, pareto=_on_front(row, rows, sign))
        for row, comparison in zip(rows, [None, *comparisons])
    ]
    notes += remarks(rows, monitor, tested, unit, shared, bool(unit == "seeds" and ordered[0].redrawn))
    return Board(metric, monitor, rows, unit, interval(rows, unit), axes, notes, stamps(rows))


def _cut_differently(trials: pd.DataFrame) -> bool:
    return len(set(trials["windows"])) > 1 and any(hop is not None for hop in _column(trials, HOP))


def _of_recordings(trials: pd.DataFrame, metric: str, recording: str) -> Float[np.ndarray, "trials"]:
    """The metric of whole recordings; where these are not cut, every one is a clip."""
    cut = np.array([hop is not None for hop in _column(trials, HOP)])
    return np.where(cut, _numbers(trials, recording), _numbers(trials, metric))


def _setups(trials: pd.DataFrame, axes: list[str], redrawn: tuple[str, ...]) -> dict[str, _Setup]:
    by_setup = {str(setup): found for setup, found in trials.groupby("setup", sort=False)}
    names = row_names(by_setup, axes)
    return {
        setup: _Setup(names[setup], {str(key): same for key, same in found.groupby("repetition", sort=False)}, redrawn)
        for setup, found in by_setup.items()
    }


def _on_common(setups: dict[str, _Setup], unit: Unit, notes: list[str]) -> tuple[dict[str, _Setup], bool]:
    """The setups on the repetitions that they share, and whether there are such; what is amiss goes into ``notes``."""
    most = max(len(setup.repetitions) for setup in setups.values())
    kept = {key: setup for key, setup in setups.items() if 2 * len(setup.repetitions) >= most}
    if few := [setup for key, setup in setups.items() if key not in kept]:
        named = ", ".join(f"{setup.name} ({len(setup.repetitions)} of {most})" for setup in few)
        notes.append(f"Left out, because they have fewer than half as many finished {unit} as another row: {named}.")
    everything = dict.fromkeys(key for setup in kept.values() for key in setup.repetitions)
    common = [key for key in everything if all(key in setup.repetitions for setup in kept.values())]
    if not common:
        notes.append(
            f"The rows have no {unit} in common, so each stands for itself and none is tested against another."
        )
        return kept, False
    if lacking := [setup for setup in kept.values() if len(setup.repetitions) < len(everything)]:
        named = ", ".join(f"{setup.name} ({len(setup.repetitions)} of {len(everything)})" for setup in lacking)
        shared = f"the {len(common)} that all rows have" if len(common) > 1 else "the only one that all rows have"
        notes.append(f"Of the {unit}, only {shared} are compared; incomplete: {named}.")
    return {key: setup.over(common) for key, setup in kept.items()}, True


def _row(setup: str, found: _Setup, monitor: str, metric: str) -> Row:
    validation = found.spread(monitor)
    assert validation is not None  # trials without it are not among these
    trials = found.trials
    leakage = set(trials["leakage"].fillna("cannot be excluded"))
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
    )


def _against_best(ordered: list[_Setup], metric: str, unit: Unit | None) -> list[Comparison]:
    """Every row but the first against the first, on the ``metric``; without a unit none is possible."""
    best, *others = ordered
    differences = []
    for other in others:
        pair = (other.means(metric), best.means(metric)) if unit else (None, None)
        differences.append(pair[0] - pair[1] if pair[0] is not None and pair[1] is not None else np.empty(0))
    ratios = [setup.ratio(metric) for setup in others]
    if _part(metric) in best.redrawn:
        unit = "splits"
    return compare(differences, ratios, unit or "splits", lower_is_better=lower_is_better(metric))


def _on_front(row: Row, rows: list[Row], sign: int) -> bool:
    """Whether no other row is at least as good and as cheap, and one of both more so."""
    if row.macs is None:
        return False

    def dominates(other: Row) -> bool:
        if other.macs is None or row.macs is None:
            return False
        gain, saving = sign * (other.validation.mean - row.validation.mean), row.macs - other.macs
        return gain >= 0 and saving >= 0 and (gain > 0 or saving > 0)

    return not any(dominates(other) for other in rows)


def _part(metric: str) -> str:
    """The part of the data that a metric is of."""
    return metric.partition("/")[0]


def _column(trials: pd.DataFrame, name: str) -> list[Any]:
    return trials[name].tolist() if name in trials else [None] * len(trials)


def _numbers(trials: pd.DataFrame, column: str) -> Float[np.ndarray, "trials"]:
    """A column; NaN for what is not known."""
    return (
        trials[column].to_numpy(dtype=float, na_value=math.nan) if column in trials else np.full(len(trials), math.nan)
    )


def _record(board: Board, row: Row) -> dict[str, Any]:
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
        for name in ("mean", "deviation", "low", "high")
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
        "leakage": row.leakage,
        "pareto": row.pareto,
        **{f"choice.{key}": value for key, value in row.choices.items()},
    }
