"""How long a fit has taken, over all the times that its command was given, and what there is time for."""

import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from audio_lightning.core.errors import FileError
from audio_lightning.core.files import read_json, write_json

BEAT = 5.0
"""Seconds between notes of the time that has passed: what a kill can lose of it."""

RESERVE = 0.08
"""Share of the budget for what comes after the trainings: selection, the model's file, the page; and for estimates that
were too low."""

LEAST_RESERVE = 8.0
"""Seconds that it takes at least."""

TRIAL_SECONDS = 8.0
"""What a training takes besides its steps, before one was measured: its process, its data, its test."""

BETWEEN = 0.08
"""Time for what happens between steps, as a share of that of the steps, and :data:`VALIDATION`, that for validation.
Assumptions, as :data:`MORE_THREADS` is: none of them was measured by itself."""

VALIDATION = 0.17

WANTED_STEPS = 2500
"""Steps of a training below which more trainings are no gain: fewer candidates and folds are trained longer instead.
Two networks together had 74.1 % of fold 2 of UrbanSound8K right after 3,000 steps and 75.3 after 7,500
(``best_urbansound``); after 500 they were far behind."""

FEW_STEPS = 1200
"""Steps of a training below which a second and third fold are no gain: the first one is trained longer instead. An
assumption; other numbers were not compared."""

WANTED_EPOCHS = 100
"""Epochs that are enough where clips are so few that they make fewer steps."""

LEAST_STEPS = 900
"""Steps below which the quickest candidate is a better answer than the strongest one: in three minutes it had 0.53 of
UrbanSound8K right after 1,323 steps (two folds), the strongest one 0.35 after 449 (the first of them). Single runs; no
number in between was tried."""

MOST_STEPS, MOST_EPOCHS = 5000, 200
"""Steps and epochs beyond which a training from scratch gains little
(:data:`audio_lightning.planning.rules.STEPS`)."""

MORE_THREADS = 0.75
"""What threads beyond the first one add, where fewer trainings run than could: a part of a core each."""


class Clock:
    """Time spent on a fit, noted in a file every few seconds, so that a killed fit knows it when it goes on.

    Args:
        file: where it is noted.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._before = _noted(file)
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    @property
    def spent(self) -> float:
        """Seconds so far, those of earlier times among them."""
        return self._before + time.monotonic() - self._started

    def __enter__(self) -> "Clock":
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beating.join()
        self._note()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            self._note()

    def _note(self) -> None:
        try:
            write_json(self._file, {"spent_seconds": round(self.spent, 1)})
        except OSError:  # a full disk, which the trainings say
            return


@dataclass(frozen=True)
class Allocation:
    """What there is time for.

    Attributes:
        candidates: names of those that are tried on the first fold.
        survivors: how many of them, chosen by their validation, are trained on the other folds.
        folds: how many folds are tested.
        steps: of every training.
        at_once: folds that are tested at once in the beginning: more than one where there is nothing to choose.
    """

    candidates: tuple[str, ...]
    survivors: int
    folds: int
    steps: int
    at_once: int = 1


def allocate(
    seconds: float,
    step_seconds: Mapping[str, float],
    steps_an_epoch: int,
    *,
    workers: int,
    folds: int,
    members: int,
    trial_seconds: float = TRIAL_SECONDS,
    wanted_steps: float | None = None,
    fewest_folds: int = 1,
) -> Allocation:
    """Choose how much is tried: the most for which every training is as long as is wanted.

    Args:
        seconds: that there are for trainings.
        step_seconds: of every candidate, from strong to quick, where as many run at once as ``workers``.
        steps_an_epoch: of a training.
        workers: trainings at once.
        folds: that there are.
        members: most candidates of the answer.
        trial_seconds: what a training takes besides its steps.
        wanted_steps: of a training, before more of them are worth it; None: :func:`enough_steps`.
        fewest_folds: that are tested.
    """
    names = tuple(step_seconds)
    wanted = wanted_steps or enough_steps(steps_an_epoch)
    few, least = min(FEW_STEPS, wanted), min(LEAST_STEPS, wanted)

    def scheme(tested: int, tried: Sequence[str], kept: int) -> Allocation:
        at_once = tested if len(tried) == 1 and tested % workers == 0 else 1  # no worker waits for a first fold
        return Allocation(tuple(tried), min(members, len(tried), kept), tested, 0, at_once)

    quickest = min(step_seconds, key=lambda name: step_seconds[name])
    single = [count for count in (3, 2) if fewest_folds < count <= folds]
    ladder = [(scheme(count, names[:tried], kept), wanted) for count, tried, kept in _several(len(names), folds)]
    ladder = [(one, enough) for one, enough in ladder if one.folds >= fewest_folds]
    ladder += [(scheme(count, names[:1], 1), few) for count in single]
    ladder.append((scheme(fewest_folds, names[:1], 1), least))
    ladder += [(scheme(count, [quickest], 1), few) for count in single]
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
    scheme: Allocation, seconds: float, step_seconds: Mapping[str, float], workers: int, trial_seconds: float
) -> int:
    """Steps that every training has; survivors are taken for the slowest ones."""
    times = sorted((step_seconds[name] for name in scheme.candidates), reverse=True)
    rounds = [times * scheme.at_once, times[: scheme.survivors] * (scheme.folds - scheme.at_once)]
    overhead = sum(trial_seconds * math.ceil(len(trials) / workers) for trials in rounds)
    first, others = (_round_seconds(trials, workers) for trials in rounds)
    a_step = (1 + BETWEEN) * (first + others) + VALIDATION * first * (len(times) > 1)
    return int(max(0.0, seconds - overhead) / a_step)


def _round_seconds(times: Sequence[float], workers: int) -> float:
    """What a step of each of the trainings of a round takes, where some workers may have nothing to do at its end."""
    if not times:
        return 0.0
    if len(times) >= workers:
        return max(sum(times) / workers, math.ceil(len(times) / workers) * sum(times) / len(times))
    return max(times) / threads_gain(len(times), workers)


def threads_gain(trainings: int, workers: int) -> float:
    """How much faster a training is where fewer of them run than could, so that each has more threads."""
    return 1 + MORE_THREADS * (max(workers, trainings) / trainings - 1)


def reserve(budget: float) -> float:
    """Seconds that trainings leave to what comes after them."""
    return max(LEAST_RESERVE, RESERVE * budget)


def _noted(file: Path) -> float:
    if not os.path.exists(file):
        return 0.0
    try:
        value = read_json(file).get("spent_seconds")
    except FileError:
        return 0.0
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) and value >= 0 else 0.0
