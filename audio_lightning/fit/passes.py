"""Passes of a fit: the trainings of the first budget, and the trainings that a larger budget adds.

Earlier trainings stay available for selection. A further pass trains longer, with another seed and on all folds tested
before, so that its candidates are comparable with earlier ones on the same clips.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from audio_lightning.fit.budget import (
    LEAST_STEPS,
    Allocation,
    Workers,
    allocate,
    aside_seconds,
    enough_steps,
    most_steps,
)
from audio_lightning.fit.refitting import share_of_refit
from audio_lightning.fit.state import FitState, Pass

LONGER = (2.0, 1.5, 1.0)
"""Factors by which the trainings of a further pass should be longer, in order of preference. Slightly longer trainings
gain little themselves, but with another seed they still improve the ensemble."""

PLANNED_AGAIN = 3
"""Number of iterations of planning trainings and the refit that follows them."""

FINISH = 0.25
"""Maximum share of the time of a further pass for training earlier candidates on additional folds."""


def pass_name(candidate: str, number: int) -> str:
    """Return the name of a candidate in a pass; passes are counted from 0."""
    return candidate if number == 0 else f"{candidate} ({number + 1})"


def tried_names(passes: Sequence[Pass]) -> dict[str, tuple[str, int]]:
    """Return candidate and pass number by :func:`pass_name`, in the order in which they were tried."""
    return {
        pass_name(candidate, number): (candidate, number)
        for number, one in enumerate(passes)
        for candidate in (*one.allocation.candidates, *one.allocation.aside, *one.allocation.extra)
    }


def preferred(candidates: Iterable[str], passes: Sequence[Pass]) -> list[str]:
    """Sort candidates for a further pass: earlier survivors, untried candidates, then earlier losers."""
    tried = tried_names(passes)
    won = {tried[name][0] for one in passes for name in one.survivors}
    known = {candidate for candidate, _ in tried.values()}
    return sorted(candidates, key=lambda name: 0 if name in won else 1 if name not in known else 2)


def folds_tested(passes: Sequence[Pass]) -> dict[str, int]:
    """Return the number of folds of every candidate that was trained on all folds of its pass or of a later one."""
    tested: dict[str, int] = {}
    for one in passes:
        tested |= dict.fromkeys([*one.survivors, *one.finish], one.allocation.folds)
    return tested


def next_edition(state: FitState, begun: float, *, keeps: bool) -> FitState:
    """Return the initial state after the recordings have changed.

    Args:
        state: state before the change.
        begun: seconds on the clock when the change was found.
        keeps: keep the list of candidates that lost, because most recordings are unchanged.
    """
    tried = tried_names(state.passes)
    won = {tried[name][0] for one in state.passes for name in one.survivors}
    stopped = {tried[name][0]: why for one in state.passes for name, why in one.stopped.items()}
    lost = {name: why for name, why in {**state.lost, **stopped}.items() if name not in won}
    return FitState(asked=state.asked, edition=state.edition + 1, begun=begun, lost=lost if keeps else {})


def plan_pass(
    budget: float,
    seconds: float,
    step_seconds: Mapping[str, float],
    steps_an_epoch: int,
    passes: Sequence[Pass],
    training_seconds: Mapping[str, float],
    *,
    workers: Workers,
    folds: int,
    members: int,
    refit: bool,
    aside: Sequence[str] = (),
) -> Pass | None:
    """Plan the first pass, or a further pass for a larger budget.

    Args:
        budget: seconds of the whole fit.
        seconds: remaining time for trainings.
        step_seconds: seconds per step of every candidate.
        steps_an_epoch: steps per epoch.
        passes: earlier passes; empty for the first one.
        training_seconds: seconds per training of each candidate that was tried.
        workers: workers that run the trainings.
        folds: number of folds.
        members: maximum number of ensemble members.
        refit: whether to reserve time to train the members on all recordings.
        aside: candidates on frozen embeddings, which train in seconds. A further pass trains them on its additional
            folds only.
    """
    aside = () if passes else tuple(aside)
    kept = aside_seconds(len(aside), folds, workers=workers)
    available, planned = seconds - kept, None
    for _ in range(PLANNED_AGAIN if refit else 1):
        if passes:
            planned = further_pass(
                budget,
                available,
                step_seconds,
                steps_an_epoch,
                passes,
                training_seconds,
                workers=workers,
                folds=folds,
                members=members,
            )
        else:
            allocation = allocate(
                available, step_seconds, steps_an_epoch, workers=workers, folds=folds, members=members
            )
            planned = Pass(budget, replace(allocation, aside=aside))
        if planned is None:
            return None
        planned.kept = seconds - available
        if refit:
            share = share_of_refit(planned.allocation, step_seconds, workers=workers, folds=folds)
            available = (seconds - kept) * (1 - share)
    return planned


def further_pass(
    budget: float,
    seconds: float,
    step_seconds: Mapping[str, float],
    steps_an_epoch: int,
    passes: Sequence[Pass],
    training_seconds: Mapping[str, float],
    *,
    workers: Workers,
    folds: int,
    members: int,
) -> Pass | None:
    """Plan a further pass for a larger budget.

    Args:
        budget: seconds of the whole fit.
        seconds: remaining time for trainings.
        step_seconds: seconds per step of every candidate, from strong to quick.
        steps_an_epoch: steps per epoch.
        passes: earlier passes, at least one.
        training_seconds: seconds per training of each candidate that was tried, by name.
        workers: workers that run the trainings.
        folds: number of folds.
        members: maximum number of ensemble members.

    Returns:
        The pass; None if there is too little time for trainings as long as the earlier ones.
    """
    tested = folds_tested(passes)
    before = max((one.allocation.folds for one in passes), default=1)
    steps = max(one.allocation.steps for one in passes)
    tried = tried_names(passes)
    lost = {name for name, _ in tried.values()} - {tried[name][0] for one in passes for name in one.survivors}
    ordered = {name: step_seconds[name] for name in preferred(step_seconds, passes)}
    hopeful = {name: taken for name, taken in ordered.items() if name not in lost} or ordered

    def within(available: float) -> Allocation | None:
        most, enough = most_steps(steps_an_epoch), enough_steps(steps_an_epoch)
        longest = min(most, max(enough, LONGER[0] * steps))
        wanted = [longest, *(min(most, factor * steps) for factor in LONGER), max(steps, LEAST_STEPS), steps + 1]
        schemes = [(longest, ordered), *((least, hopeful) for least in wanted if least <= most)]
        for least, candidates in schemes:
            found = allocate(
                available,
                candidates,
                steps_an_epoch,
                workers=workers,
                folds=folds,
                members=members,
                wanted_steps=max(least, LEAST_STEPS),
                fewest_folds=before,
            )
            if found.steps >= least and not lost.issuperset(found.candidates):
                return found
        return None

    found = within(seconds)
    if found is None:
        return None
    finish = [name for name, count in tested.items() if count == before]
    cost = sum(training_seconds.get(name, 0.0) for name in finish) * (found.folds - before) / workers.number
    if found.folds > before and cost <= FINISH * seconds and (less := within(seconds - cost)):
        return Pass(budget, less, finish if less.folds > before else [])
    return Pass(budget, found)
