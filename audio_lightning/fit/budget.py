"""What there is time for in a fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

RESERVE = 0.08
"""Share of the budget for what comes after the trainings: selection, the model's file, the page; and for estimates that
were too low."""

LEAST_RESERVE = 8.0
"""Seconds that it takes at least."""

TRIAL_SECONDS = 8.0
"""What a training takes besides its steps, before one was measured: its process, its data, its test."""

BETWEEN = 0.08
"""Time for what happens between steps, as a share of that of the steps, and :data:`VALIDATION`, that for validation.
Assumptions: neither was measured by itself."""

VALIDATION = 0.17

WANTED_STEPS = 2500
"""Steps of a training below which more trainings are no gain: fewer candidates and folds are trained longer instead.
Two networks together had 74.1 % of fold 2 of UrbanSound8K right after 3,000 steps and 75.3 after 7,500
(``best_urbansound``); after 500 they were far behind."""

FEW_STEPS = 1200
"""Steps of a training below which a second and third fold are no gain, where these are trained at the same time: the
first one is trained longer instead. An assumption; other numbers were not compared."""

FEW_STEPS_AFTER_ONE_ANOTHER = 2000
"""The same, where they take further time: two networks together had 0.83 of the words of one fold of Speech Commands
right after 1,408 steps and 0.88 after 2,640 (35 classes, 198 words; single runs)."""

WANTED_EPOCHS = 100
"""Epochs that are enough where clips are so few that they make fewer steps."""

LEAST_STEPS = 900
"""Steps below which the quickest candidate is a better answer than the strongest one: in three minutes it had 0.53 of
UrbanSound8K right after 1,323 steps (two folds), the strongest one 0.35 after 449 (the first of them). Single runs; no
number in between was tried."""

MOST_STEPS, MOST_EPOCHS = 5000, 200
"""Steps and epochs beyond which a training from scratch gains little
(:data:`audio_lightning.planning.rules.STEPS`)."""

MARGIN = 1.1
"""How much longer than those before further trainings may take for which there must be time."""


@dataclass(frozen=True)
class Workers:
    """What trains.

    Attributes:
        number: trainings at once.
        alone: how much faster a training is that has the threads of all of them to itself.
    """

    number: int
    alone: float = 1.0

    def gain(self, trainings: int) -> float:
        """How much faster trainings are where fewer of them run than could, so that each has more threads."""
        if trainings >= self.number:
            return 1.0
        return 1 + (self.alone - 1) * (self.number / trainings - 1) / (self.number - 1)

    def round_seconds(self, times: Sequence[float]) -> float:
        """What the trainings of a round take together, where some workers may have nothing to do at its end.

        Args:
            times: of each, where all workers train.
        """
        if not times:
            return 0.0
        if len(times) < self.number:
            return max(times) / self.gain(len(times))
        return max(*times, sum(times) / self.number, math.ceil(len(times) / self.number) * sum(times) / len(times))


@dataclass(frozen=True)
class Allocation:
    """What there is time for.

    Attributes:
        candidates: names of those that are tried on the first fold.
        survivors: how many of them, chosen by their validation, are trained on the other folds.
        folds: how many folds are tested.
        steps: of every training.
        at_once: folds that are tested at once in the beginning: more than one where there is nothing to choose.
        aside: names of those whose trainings take next to nothing, and that are trained on all tested folds in the end.
        extra: names of those that the time left after all others is enough for, on all tested folds.
        extra_steps: of a training of each of them.
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
    """Choose how much is tried: the most for which every training is as long as is wanted.

    Args:
        seconds: that there are for trainings.
        step_seconds: of every candidate, from strong to quick, where all workers train.
        steps_an_epoch: of a training.
        workers: that train.
        folds: that there are.
        members: most candidates of the answer.
        trial_seconds: what a training takes besides its steps.
        wanted_steps: of a training, before more of them are worth it; None: :func:`enough_steps`.
        fewest_folds: that are tested.
    """
    names = tuple(step_seconds)
    wanted = wanted_steps or enough_steps(steps_an_epoch)
    least = min(LEAST_STEPS, wanted)

    def few(tested: int) -> float:
        return min(FEW_STEPS if tested <= workers.number else FEW_STEPS_AFTER_ONE_ANOTHER, wanted)

    def scheme(tested: int, tried: Sequence[str], kept: int) -> Allocation:
        at_once = tested if len(tried) == 1 and tested % workers.number == 0 else 1  # no worker waits for a first fold
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
    """Steps of a training that more trainings are worth more than."""
    return min(WANTED_STEPS, WANTED_EPOCHS * steps_an_epoch)


def most_steps(steps_an_epoch: int) -> int:
    """Steps that a training has at most."""
    return min(MOST_STEPS, MOST_EPOCHS * steps_an_epoch)


def _several(candidates: int, folds: int) -> Sequence[tuple[int, int, int]]:
    """Folds that are tested, candidates that are tried, and those that are trained on all folds, from most to least."""
    tested = sorted({folds, *(count for count in (5, 3) if count < folds)}, reverse=True)
    several = [(candidates, kept) for kept in (3, 2) if kept <= candidates] + [(min(2, candidates), 1)]
    return [(count, *tried) for count in tested for tried in several]


def _steps(
    scheme: Allocation, seconds: float, step_seconds: Mapping[str, float], workers: Workers, trial_seconds: float
) -> int:
    """Steps that every training has; survivors are taken for the slowest ones."""
    times = sorted((step_seconds[name] for name in scheme.candidates), reverse=True)
    rounds = [times * scheme.at_once, times[: scheme.survivors] * (scheme.folds - scheme.at_once)]
    overhead = sum(trial_seconds * math.ceil(len(trials) / workers.number) for trials in rounds)
    first, others = (workers.round_seconds(trials) for trials in rounds)
    a_step = (1 + BETWEEN) * (first + others) + VALIDATION * first * (len(times) > 1)
    return int(max(0.0, seconds - overhead) / a_step)


def more_folds(seconds: float, training_seconds: Sequence[float], folds: int, *, workers: Workers) -> int:
    """How many more folds there is time to test.

    Args:
        seconds: that are left for trainings.
        training_seconds: of a training of each survivor, where all workers train.
        folds: that were not tested.
        workers: that train.
    """
    for count in range(folds, 0, -1):
        if MARGIN * workers.round_seconds([*training_seconds] * count) <= seconds:
            return count
    return 0


def extra_candidate(
    seconds: float, step_seconds: Mapping[str, float], steps_an_epoch: int, most: int, folds: int, *, workers: Workers
) -> tuple[str, int] | None:
    """The first candidate whose trainings the time that is left is enough for, and the steps of each.

    Args:
        seconds: that are left for trainings.
        step_seconds: of every candidate that was not tried, from strong to quick, where all workers train.
        steps_an_epoch: of a training.
        most: steps of a training.
        folds: that each is tested on.
        workers: that train.

    Returns:
        None where a training of each would be shorter than :func:`enough_steps`.
    """
    least = min(most, enough_steps(steps_an_epoch))
    processes = TRIAL_SECONDS * math.ceil(folds / workers.number)
    for name, taken in step_seconds.items():
        steps = int((seconds - processes) / (MARGIN * (1 + BETWEEN) * workers.round_seconds([taken] * folds)))
        if steps >= least:
            return name, min(steps, most)
    return None


def aside_seconds(candidates: int, folds: int, *, workers: Workers) -> float:
    """What the trainings take that take next to nothing: their processes."""
    return TRIAL_SECONDS * math.ceil(candidates * folds / workers.number)


def reserve(budget: float) -> float:
    """Seconds that trainings leave to what comes after them."""
    return max(LEAST_RESERVE, RESERVE * budget)
