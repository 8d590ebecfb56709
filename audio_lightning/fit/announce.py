"""Messages of a running fit."""

from collections.abc import Sequence

from audio_lightning.compare.fit_summary import FitSummary
from audio_lightning.fit.passes import tried_names
from audio_lightning.fit.state import Pass
from audio_lightning.fit.survey import Survey
from audio_lightning.fit.time_limit import as_text
from audio_lightning.sweeps.progress import duration

FEW_STEPS = 100
"""Number of training steps below which a network is hardly trained."""

OVERRUN = 1.1
"""Time of a fit as a multiple of its budget above which the page says that the budget was exceeded."""


def say(line: str) -> None:
    """Print a line without buffering, also into a pipe."""
    print(line, flush=True)


def say_survey(found: Survey) -> None:
    """Print the settings that were derived from the recordings, and the candidates."""
    for row in found.choices:
        say(f"{row['key']}={'null' if row['value'] is None else row['value']} (auto): {row['why']}")
    for name, one in found.candidates.items():
        steps = "trained in seconds" if one.frozen else f"{1000 * one.step_seconds:.0f} ms per step"
        timed = f"{steps}, predicts a clip in {as_text(one.predict_seconds)}"
        status = f"cannot be tried: {one.impossible}" if one.impossible else timed
        say(f"candidate {name}: {one.title}, {status}")
    for note in found.notes:
        say(f"note: {note}")


def say_pass(passes: Sequence[Pass], found: Survey, left: float) -> None:
    """Print the plan of the last pass.

    Args:
        passes: all passes so far.
        found: survey of the data and the candidates.
        left: remaining seconds of the budget.
    """
    *before, one = passes
    chosen = one.allocation
    ever = {candidate for candidate, _ in tried_names(passes).values()}
    names = ", ".join(chosen.candidates)
    start = f"in {duration(one.budget)}: time for {names}"
    if before:
        start = (
            f"earlier trainings are kept; {duration(left)} of {duration(one.budget)} left: {names} with another seed"
        )
    if len(chosen.candidates) == 1:
        parts = [f"{start} on {chosen.folds} fold{'s' * (chosen.folds > 1)}"]
    else:
        kept = f"the best {chosen.survivors} of them" if chosen.survivors > 1 else "the best of them"
        parts = [f"{start} on a first fold"] + ([f"{kept} on {chosen.folds} folds"] if chosen.folds > 1 else [])
    steps = max((earlier.allocation.steps for earlier in before), default=0)
    parts.append(f"{chosen.steps:,} steps each" + (f" ({steps:,} before)" if before else ""))
    if chosen.aside:
        parts.append(f"{', '.join(chosen.aside)} on the same folds")
    if one.finish:
        parts.append(f"{', '.join(one.finish)} on the folds not tested before")
    tried = (*chosen.candidates, *chosen.aside, *one.finish)
    if lost := [name for name in found.candidates if name in ever and name not in tried]:
        parts.append(f"not {', '.join(lost)} again")
    known = ever | one.slow.keys() | {name for name, each in found.candidates.items() if each.impossible is not None}
    if left_out := [name for name in found.candidates if name not in known]:
        parts.append(f"no time for {', '.join(left_out)}")
    say(", ".join(parts))
    if too_few := few_steps(max(chosen.steps, steps)):
        say(f"note: {too_few}")
    for name, why in one.slow.items():
        say(f"not {name}: {why}")


def few_steps(steps: int) -> str | None:
    """Return a note if the networks of a fit are hardly trained; None otherwise."""
    if steps >= FEW_STEPS:
        return None
    return (
        f"the budget allows {steps:,} training step{'s' * (steps != 1)} only, too few to learn much; give a larger one"
    )


def over_budget(summary: FitSummary) -> list[str]:
    """Return a note if a fit took clearly longer than its budget; an empty list otherwise."""
    spent, budget = summary.spent_seconds or 0.0, summary.budget_seconds
    if not budget or spent <= OVERRUN * budget:
        return []
    return [
        f"the fit took {duration(spent)} of a budget of {duration(budget)}: a budget does not shorten starting, "
        "measuring, one short training and the page"
    ]
