"""What is said beside the figures of a leaderboard."""

from audio_lightning.compare.board import LEAKAGE, Row, Unit


def interval(rows: list[Row], unit: Unit) -> str:
    """Which interval stands in the rows, over what."""
    n = max(row.n for row in rows)
    if n < 2:
        return f"none: one {unit[:-1]} a row"
    return (
        f"95 % t interval over {n} {unit}, "
        + {
            "folds": "taken for independent, although they share clips that they train on",
            "splits": "with the variance of Nadeau and Bengio (2003), because the splits overlap",
            "seeds": "for the noise of training alone",
        }[unit]
    )


def remarks(rows: list[Row], monitor: str, tested: str, unit: Unit, shared: bool) -> list[str]:
    """What the figures do not say by themselves.

    Args:
        rows: the best first.
        monitor: the metric by which they are ordered.
        tested: the metric by which they are compared with the first.
        unit: what a repetition is.
        shared: whether the rows have repetitions in common.
    """
    notes = []
    most = max(row.n for row in rows)
    if unit == "seeds" and most > 1:
        notes.append(
            "All trials divide the recordings alike, so deviations, intervals and tests only measure the noise of "
            "training, not what another choice of recordings would change."
        )
    elif most == 1:
        notes.append(
            f"There is one {unit[:-1]} a row, which does not say how sure its figures are; "
            "repeat them with sweep=folds, or at least with seed=0,1,2."
        )
    elif any(len(row.trials) > row.n for row in rows):
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
