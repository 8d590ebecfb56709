"""What is said beside the figures of a leaderboard."""

from audio_lightning.compare.board import LEAKAGE, Row, Unit


def interval(rows: list[Row], unit: Unit) -> str:
    """Which interval stands in the rows, over what."""
    n = max(row.n for row in rows)
    if n < 2:
        return f"none: one {unit[:-1]} a row"
    spreads = [found for row in rows if row.n > 1 for found in (row.validation, row.test) if found]
    if all(found.low is None for found in spreads):
        return f"none, since all {unit} of a row are equal"
    return (
        f"95 % t interval over {n} {unit}, "
        + {
            "folds": "taken for independent, although they share clips that they train on",
            "splits": "with the variance of Nadeau and Bengio (2003), because the splits overlap",
            "seeds": "for the noise of training alone",
        }[unit]
        + ("; none where all of them are equal" if any(found.low is None for found in spreads) else "")
    )


def windows(monitor: str, metric: str, whole: bool) -> str:
    """What is said where the rows cut recordings into windows of different length or hop.

    Args:
        monitor: by which the rows are ordered.
        metric: by which they are tested.
        whole: whether these are of whole recordings, which all rows have.
    """
    if whole:
        return (
            "The rows cut recordings into different windows, whose metrics cannot be compared, so they are ordered "
            f"by {monitor} and tested by {metric}, of whole recordings."
        )
    return (
        "The rows cut recordings into different windows, whose metrics cannot be compared (a longer window is an "
        "easier clip), and not all rows have the metrics of whole recordings: neither the order nor the tests say "
        "which row is better."
    )


def remarks(rows: list[Row], monitor: str, tested: str, unit: Unit, shared: bool, redrawn: bool) -> list[str]:
    """What the figures do not say by themselves.

    Args:
        rows: the best first.
        monitor: the metric by which they are ordered.
        tested: the metric by which they are compared with the first.
        unit: what a repetition is.
        shared: whether the rows have repetitions in common.
        redrawn: whether trials that are tested on the same clips differ in those for training and validation.
    """
    notes = []
    most = max(row.n for row in rows)
    averaged = any(len(row.trials) > row.n for row in rows)
    if unit == "seeds" and most > 1 and redrawn:
        notes.append(
            "All trials are tested on the same clips and differ in those for training and validation: deviations, "
            "intervals and tests of the test metric only measure the noise of training, not what another choice of "
            "test recordings would change."
            + (" Seeds are averaged within divisions first: n counts divisions." if averaged else "")
        )
    elif unit == "seeds" and most > 1:
        notes.append(
            "All trials divide the recordings alike, so deviations, intervals and tests only measure the noise of "
            "training, not what another choice of recordings would change."
        )
    elif most == 1:
        notes.append(
            f"There is one {unit[:-1]} a row, which does not say how sure its figures are; "
            "repeat them with sweep=folds, or at least with seed=0,1,2."
        )
    elif averaged:
        notes.append(f"Seeds are averaged within {unit} first: n counts {unit}.")
    if monitor.startswith("train/"):
        notes.append(f"The order is by {monitor}, which says nothing about recordings that were not trained on.")
    if len(rows) > 1 and shared and most > 1:
        comparisons = [row.comparison for row in rows if row.comparison]
        notes.append(
            f"Rows are ordered by {monitor} and held against the first on {tested} ({comparisons[0].test}, "
            f"Holm's correction for {len(comparisons)} comparisons)."
        )
        if tested == monitor:
            notes.append("The first row was chosen by the same metric, which flatters it.")
    if better := [row.name for row in rows if row.comparison and row.comparison.verdict.startswith("better")]:
        notes.append(
            f"Better than the first row on the test clips: {', '.join(better)}. The order stays that of {monitor}: "
            "a choice by test clips would leave none to test it on."
        )
    return notes


def stamps(rows: list[Row]) -> list[str]:
    """One sentence for each kind of leakage."""
    found = []
    for kind, sentence in LEAKAGE.items():
        if named := [row.name for row in rows if row.leakage == kind]:
            found.append(f"{sentence}: {'all rows' if len(named) == len(rows) else ', '.join(named)}.")
    return found
