"""Notes of a leaderboard: sentences about its intervals, tests and limits."""

import math
from collections.abc import Sequence

from audio_lightning.compare.board import LEAKAGE, Board, Expected, Row, Unit
from audio_lightning.compare.statistics import FEWEST, NOT_DISTINGUISHABLE, POWER, needed

MOST_NAMED = 5
"""Maximum number of rows named in a sentence."""

REALISTIC = 100
"""Largest multiple of the clips or repetitions that is recommended to settle a comparison."""

OUT_OF_PROPORTION = 3
"""More clips alone, or more repetitions alone, are recommended up to this multiple of the factor for both together."""


def interval(rows: list[Row], unit: Unit, by_clip: bool) -> str:
    """Describe the intervals of the rows."""
    n = max(row.n for row in rows)
    shown = [found for row in rows for found in (row.validation, row.test) if found]
    if all(found.low is None for found in shown):
        few = f"one {unit[:-1]} per row" if n < 2 else f"{n} {unit} per row are too few"
        return f"none: {few}" if n < FEWEST else f"none, because all {unit} of a row are equal"
    between = {
        "folds": "with the variance of Nadeau and Bengio (2003), because training parts overlap",
        "splits": "with the variance of Nadeau and Bengio (2003), because the splits overlap",
        "seeds": "for the variance of training alone",
    }[unit]
    if not by_clip:
        gaps = "; none if all of them are equal" if any(found.low is None for found in shown) else ""
        return f"95 % t interval over {n} {unit}, {between}{gaps}"
    if n < 2:
        return "95 % interval over groups of test clips, for classifiers that are trained once"
    return f"95 % interval over groups of test clips and {n} {unit}" + (f", {between}" if unit != "seeds" else "")


def expectation(board: Board) -> str | None:
    """Describe the expected metric of the chosen row; None without a test."""
    found = board.expected
    if found is None:
        return None
    ends = "" if found.test.low is None else f" [{found.test.low:.3f}, {found.test.high:.3f}]"
    figure = f"Expected {board.metric} of the choice: {found.test.mean:.3f}{ends}"
    if not found.nested:
        return f"{figure}, that of the first row: no test clip was used to choose it."
    return f"{figure}, by {nested_selection(found, board.unit)}"


def nested_selection(found: Expected, unit: Unit) -> str:
    """Describe nested selection, the source of the expected metric if selection is repeated in every repetition."""
    chosen = [f"{name} in {times}" for name, times in found.chosen.items()]
    return (
        f"nested selection: the mean over {found.n} {unit} of the row that is best on the validation of that "
        f"{unit[:-1]} alone ({listed(chosen)}). The test metrics of single rows are descriptive, because the clips "
        f"that order the rows are tested on in other {unit}."
    )


def conclusions(board: Board) -> list[str]:
    """Summarize a board: the expected metric of the chosen row, and whether it is better than the others."""
    return [sentence for sentence in (expectation(board), board.no_winner) if sentence]


def no_winner(rows: Sequence[Row], unit: Unit, clips: float, chosen_on_test: bool) -> str | None:
    """Explain why there is no winner yet, and how many more clips or repetitions would settle it; None if there is one.

    Args:
        rows: rows of the board, the best first.
        unit: kind of repetition.
        clips: number of test clips of a row; NaN: unknown.
        chosen_on_test: as in :func:`~audio_lightning.compare.statistics.compare`.
    """
    best, *others = rows
    if not others:
        return None
    if best.n == 1:
        return (
            f"No winner yet: {best.name} is first by validation, but with one {unit[:-1]} per row no test is possible; "
            "add seed=0,1,2 or sweep=folds."
        )
    equal = [row for row in others if row.comparison and row.comparison.verdict == NOT_DISTINGUISHABLE]
    if not equal:
        return None
    nearest = equal[0].comparison
    assert nearest is not None  # every row in ``equal`` has a comparison
    verb = "is" if len(equal) == 1 else "are"
    difference = (
        f"No winner yet: {best.name} is first by validation, but {listed([row.name for row in equal])} {verb} "
        f"{NOT_DISTINGUISHABLE} from it."
    )
    found = needed(nearest, counted(rows, chosen_on_test), clips_only=unit == "folds")
    most = min(REALISTIC, OUT_OF_PROPORTION * (found.both or REALISTIC))
    ways = []
    if found.clips is not None and found.clips <= most:
        ways.append(_more_clips(found.clips, clips))
    if found.repetitions is not None and found.repetitions <= most:
        ways.append(f"{math.ceil(found.repetitions * best.n)} {unit} instead of {best.n}")
    if not ways and found.both is not None and found.both <= REALISTIC:
        repetitions = f"{math.ceil(found.both * best.n)} {unit} instead of {best.n}"
        ways.append(f"{_more_clips(found.both, clips)} together with {repetitions}")
    size = f"A difference of {abs(nearest.difference):.3g}, such as that to {equal[0].name}"
    if ways:
        return f"{difference} {size}, needs about {', or '.join(ways)} to be detected with a power of {POWER:g}."
    alike = [best, *equal]
    costs = {row.name: row.macs for row in alike if row.macs is not None}
    cheaper = f"; the cheapest is {min(costs, key=costs.__getitem__)}" if len(set(costs.values())) > 1 else ""
    return f"{difference} {size}, is too small for any realistic number of clips or {unit}; choose by cost{cheaper}."


def _more_clips(factor: float, clips: float) -> str:
    if math.isfinite(clips):
        return f"{_rounded(factor * clips):,} test clips instead of {clips:,.0f}"
    return f"{factor:.1f} times as many test clips"


def counted(rows: Sequence[Row], chosen_on_test: bool) -> int:
    """Return the number of comparisons for Holm's correction."""
    tested = sum(row.comparison is not None and row.comparison.p is not None for row in rows)
    return tested * (tested + 1) // 2 if chosen_on_test else tested


def listed(names: Sequence[str]) -> str:
    """Join names for a sentence, at most :data:`MOST_NAMED` of them."""
    shown = list(names[:MOST_NAMED])
    if more := len(names) - len(shown):
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _rounded(number: float) -> int:
    """Round up to two significant digits."""
    step = 10 ** max(0, len(str(int(number))) - 2)
    return math.ceil(number / step) * step


def unexpected(unit: Unit) -> str:
    """Explain why nested selection gives no expected metric."""
    return (
        f"The choice has no expected test metric: nested selection needs {unit} that all rows have, with test "
        "metrics. The test metrics of single rows are descriptive, because clips that order the rows can be tested on "
        f"in other {unit}."
    )


def windows(monitor: str, metric: str, whole: bool) -> str:
    """Explain the order of rows whose recordings are cut into windows of different length or hop.

    Args:
        monitor: metric that orders the rows.
        metric: metric of the tests.
        whole: whether both are metrics of whole recordings, which all rows have.
    """
    if whole:
        return (
            "The rows cut recordings into different windows, whose metrics cannot be compared, so they are ordered "
            f"by {monitor} and tested by {metric}, the metrics of whole recordings."
        )
    return (
        "The rows cut recordings into different windows, whose metrics cannot be compared (a longer window is an "
        "easier clip), and not all rows have the metrics of whole recordings: neither the order nor the tests show "
        "which row is better."
    )


def caveats(
    rows: list[Row],
    monitor: str,
    tested: str,
    unit: Unit,
    shared: bool,
    by_clip: bool,
    chosen_on_test: bool,
) -> list[str]:
    """List the limits of the metrics and tests of a board.

    Args:
        rows: rows of the board, the best first.
        monitor: metric that orders the rows.
        tested: metric on which they are compared with the first row.
        unit: kind of repetition.
        shared: whether the rows have repetitions in common.
        by_clip: whether intervals and tests include the variance over clips.
        chosen_on_test: as in :func:`~audio_lightning.compare.statistics.compare`.
    """
    notes = []
    most = max(row.n for row in rows)
    averaged = any(len(row.trials) > row.n for row in rows)
    measures = "standard deviations" if by_clip else "standard deviations, intervals and tests"
    redrawn = [row.name for row in rows if row.validation_redrawn]
    if unit == "seeds" and most > 1 and redrawn:
        of = "all rows" if len(redrawn) == len(rows) else listed(redrawn)
        notes.append(
            "All trials are tested on the same clips; the seed redraws the training and validation clips of "
            f"{of}: "
            f"{measures} of the test metric only measure the variance of training, not that of other test recordings."
            + (" Seeds are averaged within splits first: n counts splits." if averaged else "")
        )
    elif unit == "seeds" and most > 1:
        notes.append(
            f"All trials have the same splits, so {measures} only measure the variance of training, not that of other "
            "recordings."
        )
    elif most == 1:
        notes.append(
            f"One {unit[:-1]} per row does not show how uncertain its metrics are; "
            "repeat the trials with sweep=folds, or at least with seed=0,1,2."
        )
    elif averaged:
        notes.append(f"Seeds are averaged within {unit} first: n counts {unit}.")
    if monitor.startswith("train/"):
        notes.append(f"The order is by {monitor}, which is no evidence for new recordings.")
    if len(rows) > 1 and shared and most > 1:
        comparisons = [row.comparison for row in rows if row.comparison]
        number = counted(rows, chosen_on_test)
        pairs = ", all pairs of rows, because the first row was chosen on the test clips" if chosen_on_test else ""
        notes.append(
            f"Rows are ordered by {monitor} and compared with the first on {tested} ({comparisons[0].test}, "
            f"Holm's correction for {number} comparison{'s' * (number != 1)}{pairs if number > 1 else ''})."
        )
        if tested == monitor:
            notes.append("The first row was chosen by the same metric, so its value is optimistic.")
    if better := [row.name for row in rows if row.comparison and row.comparison.verdict.startswith("better")]:
        notes.append(
            f"Better than the first row on the test clips: {', '.join(better)}. The order stays that of {monitor}: "
            "a choice by test clips could not be tested on them."
        )
    return notes


def stamps(rows: list[Row]) -> list[str]:
    """Return one warning for each kind of leakage."""
    found = []
    for kind, sentence in LEAKAGE.items():
        if named := [row.name for row in rows if row.leakage == kind]:
            found.append(f"{sentence}: {'all rows' if len(named) == len(rows) else ', '.join(named)}.")
    return found
