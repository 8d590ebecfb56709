"""Time budget of a fit: the candidates, folds and steps that fit into it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

RESERVE = 0.08
"""Share of the budget reserved for the work after the trainings (selection, model file, page) and for estimates that
were too low."""

LEAST_RESERVE = 8.0
"""Minimum of the reserve in seconds."""

TRIAL_SECONDS = 8.0
"""Assumed overhead of a training in seconds: its process, its data and its test."""

BETWEEN = 0.08
"""Overhead between steps as a share of the time of the steps; an assumption, because it was not measured alone."""

VALIDATION = 0.17
"""Duration of validation as a share of the time of the steps; an assumption like :data:`BETWEEN`."""

WANTED_STEPS = 900
"""Steps per training below which fewer candidates and folds are trained longer instead
(``benchmarks/results/optimizers.csv``)."""

FEW_STEPS = 400
"""Steps per training below which the first fold is trained longer, instead of two or three folds in parallel.
An assumption; other numbers were not compared."""

FEW_STEPS_AFTER_ONE_ANOTHER = 600
"""The same for folds that are trained one after another; an assumption, too."""

WANTED_EPOCHS = 40
"""Number of epochs that is enough for data sets so small that they give fewer steps; an assumption."""

LEAST_STEPS = 250
"""Steps per training below which the quickest candidate is assumed to be better than the strongest one."""

MOST_STEPS, MOST_EPOCHS = 2500, 150
"""Numbers of steps and epochs above which no training is made longer; the steps are those of ``experiment=best``."""

MARGIN = 1.1
"""Safety factor: further trainings must fit even if they take this many times as long as the earlier ones."""


@dataclass(frozen=True)
class Workers:
    """Workers that run trainings.

    Attributes:
        number: number of trainings at the same time.
        alone: speed-up of a training that uses the threads of all workers.
    """

    number: int
    alone: float = 1.0

    def gain(self, trainings: int) -> float:
        """Return the speed-up of each training if fewer trainings than workers run, each with more threads."""
        if trainings >= self.number:
            return 1.0
        return 1 + (self.alone - 1) * (self.number / trainings - 1) / (self.number - 1)

    def round_seconds(self, times: Sequence[float]) -> float:
        """Estimate the seconds of a round of trainings; some workers may be idle at its end.

        Args:
            times: seconds of each training if all workers train.
        """
        if not times:
            return 0.0
        if len(times) < self.number:
            return max(times) / self.gain(len(times))
        return max(*times, sum(times) / self.number, math.ceil(len(times) / self.number) * sum(times) / len(times))


@dataclass(frozen=True)
class Allocation:
    """Trainings that fit into the budget.

    Attributes:
        candidates: names of the candidates that are trained on the first fold.
        survivors: number of candidates, chosen by validation, that are trained on the other folds.
        folds: number of tested folds.
        steps: steps of every training.
        at_once: number of folds trained in parallel at the beginning; more than one if there is only one candidate.
        aside: names of candidates on frozen embeddings, which train in seconds, at the end, on all tested folds.
        extra: names of candidates that are trained in the remaining time, on all tested folds.
        extra_steps: steps of a training of each ``extra`` candidate.
    """

    candidates: tuple[str, ...]
    survivors: int
    folds: int
    steps: int
    at_once: int = 1
    aside: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    extra_steps: tuple[int, ...] = ()


def allocate(
    seconds: float,
    step_seconds: Mapping[str, float],
    steps_an_epoch: int,
    *,
    workers: Workers,
    folds: int,
    members: int,
    trial_seconds: float = TRIAL_SECONDS,
    wanted_steps: float | None = None,
    fewest_folds: int = 1,
) -> Allocation:
    """Choose candidates, folds and steps: as many trainings as possible with the wanted number of steps each.

    Args:
        seconds: time for trainings.
        step_seconds: seconds per step of every candidate, from strong to quick, while all workers train.
        steps_an_epoch: steps per epoch.
        workers: workers that run the trainings.
        folds: number of folds.
        members: maximum number of ensemble members.
        trial_seconds: overhead of a training besides its steps, in seconds.
        wanted_steps: steps per training that take precedence over more trainings; None: :func:`enough_steps`.
        fewest_folds: minimum number of tested folds.
    """
    names = tuple(step_seconds)
    wanted = wanted_steps or enough_steps(steps_an_epoch)
    least = min(LEAST_STEPS, wanted)

    def few(tested: int) -> float:
        return min(FEW_STEPS if tested <= workers.number else FEW_STEPS_AFTER_ONE_ANOTHER, wanted)

    def scheme(tested: int, tried: Sequence[str], kept: int) -> Allocation:
        at_once = tested if len(tried) == 1 and tested % workers.number == 0 else 1  # no idle workers at first
        return Allocation(tuple(tried), min(members, len(tried), kept), tested, 0, at_once)

    quickest = min(step_seconds, key=lambda name: step_seconds[name])
    single = [count for count in (3, 2) if fewest_folds < count <= folds]
    ladder = [(scheme(count, names[:tried], kept), wanted) for count, tried, kept in _several(len(names), folds)]
    ladder = [(one, enough) for one, enough in ladder if one.folds >= fewest_folds]
    ladder += [(scheme(count, names[:1], 1), few(count)) for count in single]
    ladder.append((scheme(fewest_folds, names[:1], 1), least))
    ladder += [(scheme(count, [quickest], 1), few(count)) for count in single]
    ladder.append((scheme(fewest_folds, [quickest], 1), 0))
    for chosen, enough in ladder:
        steps = _steps(chosen, seconds, step_seconds, workers, trial_seconds)
        if steps >= enough:
            break
    return replace(chosen, steps=min(max(1, steps), most_steps(steps_an_epoch)))


def enough_steps(steps_an_epoch: int) -> int:
    """Return the steps per training above which more trainings are better than longer ones."""
    return min(WANTED_STEPS, WANTED_EPOCHS * steps_an_epoch)


def most_steps(steps_an_epoch: int) -> int:
    """Return the maximum number of steps of a training."""
    return min(MOST_STEPS, MOST_EPOCHS * steps_an_epoch)


def _several(candidates: int, folds: int) -> Sequence[tuple[int, int, int]]:
    """List schemes of tested folds, tried candidates and survivors, the largest first."""
    tested = sorted({folds, *(count for count in (5, 3) if count < folds)}, reverse=True)
    several = [(candidates, kept) for kept in (3, 2) if kept <= candidates] + [(min(2, candidates), 1)]
    return [(count, *tried) for count in tested for tried in several]


def _steps(
    scheme: Allocation, seconds: float, step_seconds: Mapping[str, float], workers: Workers, trial_seconds: float
) -> int:
    """Return the steps per training of a scheme, with the slowest candidates as survivors (the worst case)."""
    times = sorted((step_seconds[name] for name in scheme.candidates), reverse=True)
    rounds = [times * scheme.at_once, times[: scheme.survivors] * (scheme.folds - scheme.at_once)]
    overhead = sum(trial_seconds * math.ceil(len(trials) / workers.number) for trials in rounds)
    first, others = (workers.round_seconds(trials) for trials in rounds)
    a_step = (1 + BETWEEN) * (first + others) + VALIDATION * first * (len(times) > 1)
    return int(max(0.0, seconds - overhead) / a_step)


def more_folds(seconds: float, training_seconds: Sequence[float], folds: int, *, workers: Workers) -> int:
    """Return how many more folds can be tested in the remaining time.

    Args:
        seconds: remaining time for trainings.
        training_seconds: seconds per training of each survivor, while all workers train.
        folds: number of untested folds.
        workers: workers that run the trainings.
    """
    for count in range(folds, 0, -1):
        if MARGIN * workers.round_seconds([*training_seconds] * count) <= seconds:
            return count
    return 0


def extra_candidate(
    seconds: float, step_seconds: Mapping[str, float], steps_an_epoch: int, most: int, folds: int, *, workers: Workers
) -> tuple[str, int] | None:
    """Return the first untried candidate that can be trained in the remaining time, and the steps per training.

    Args:
        seconds: remaining time for trainings.
        step_seconds: seconds per step of every untried candidate, from strong to quick, while all workers train.
        steps_an_epoch: steps per epoch.
        most: maximum number of steps per training.
        folds: number of folds to train on.
        workers: workers that run the trainings.

    Returns:
        None if the trainings of every candidate would be shorter than :func:`enough_steps`.
    """
    least = min(most, enough_steps(steps_an_epoch))
    processes = TRIAL_SECONDS * math.ceil(folds / workers.number)
    for name, taken in step_seconds.items():
        steps = int((seconds - processes) / (MARGIN * (1 + BETWEEN) * workers.round_seconds([taken] * folds)))
        if steps >= least:
            return name, min(steps, most)
    return None


def aside_seconds(candidates: int, folds: int, *, workers: Workers) -> float:
    """Estimate the seconds of trainings on frozen embeddings, which consist of the overhead of their processes."""
    return TRIAL_SECONDS * math.ceil(candidates * folds / workers.number)


def reserve(budget: float) -> float:
    """Return the seconds reserved for the work after the trainings."""
    return max(LEAST_RESERVE, RESERVE * budget)
