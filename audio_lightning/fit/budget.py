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

VALIDATION = 0.25
"""Time for validation and what happens between steps, as a share of that of the steps."""

WANTED_STEPS = 800
"""Steps of a training below which more trainings are no gain: fewer candidates and folds are trained longer instead.
An assumption: 500 steps were clearly too few on UrbanSound8K, and other numbers were not compared."""

LEAST_STEPS = 300
"""Steps below which the quickest candidate is a better answer than the strongest one."""

MOST_STEPS = 5000
"""Steps beyond which a training from scratch gains little (:data:`audio_lightning.planning.rules.STEPS`)."""


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
    """

    candidates: tuple[str, ...]
    survivors: int
    folds: int
    steps: int


def allocate(
    seconds: float,
    step_seconds: Mapping[str, float],
    *,
    workers: int,
    folds: int,
    members: int,
    trial_seconds: float = TRIAL_SECONDS,
    wanted_steps: float = WANTED_STEPS,
    fewest_folds: int = 1,
) -> Allocation:
    """Choose how much is tried: the most for which every training has the wanted steps.

    Args:
        seconds: that there are for trainings.
        step_seconds: of every candidate, from strong to quick, where as many run at once as ``workers``.
        workers: trainings at once.
        folds: that there are.
        members: most candidates of the answer.
        trial_seconds: what a training takes besides its steps.
        wanted_steps: of a training, before more of them are worth it.
        fewest_folds: that are tested.
    """
    names = tuple(step_seconds)
    schemes = [
        Allocation(names[:tried], min(members, tried, kept), tested, 0)
        for tested, tried, kept in _schemes(len(names), folds, fewest_folds)
    ]
    quickest = min(step_seconds, key=lambda name: step_seconds[name])
    tried = [*((scheme, wanted_steps) for scheme in schemes), (schemes[-1], LEAST_STEPS)]
    for scheme, wanted in (*tried, (Allocation((quickest,), 1, fewest_folds, 0), 0)):
        steps = _steps(scheme, seconds, step_seconds, workers, trial_seconds)
        if steps >= wanted:
            break
    return replace(scheme, steps=min(max(1, steps), MOST_STEPS))


def _schemes(candidates: int, folds: int, fewest: int) -> Sequence[tuple[int, int, int]]:
    """Folds that are tested, candidates that are tried, and those that are trained on all folds, from most to least."""
    tested = sorted({folds, *(count for count in (5, 3) if fewest <= count < folds)}, reverse=True)
    found = [(count, candidates, kept) for count in tested for kept in (3, 2) if kept <= candidates]
    found += [(count, min(2, candidates), 1) for count in tested]
    found += [(count, 1, 1) for count in tested if count <= max(3, fewest)]
    return [*found, (fewest, 1, 1)]


def _steps(
    scheme: Allocation, seconds: float, step_seconds: Mapping[str, float], workers: int, trial_seconds: float
) -> int:
    """Steps that every training has; survivors are taken for the slowest ones."""
    times = [step_seconds[name] for name in scheme.candidates]
    slowest = sorted(times, reverse=True)[: scheme.survivors]
    others = scheme.folds - 1
    trials = len(times) + scheme.survivors * others
    # What the last round of workers leaves idle counts, too.
    idle = math.ceil(trials / workers) * workers / trials
    a_step = (sum(times) + others * sum(slowest)) * (1 + VALIDATION) * idle
    available = seconds * workers - trials * trial_seconds * idle
    return int(available / a_step) if available > 0 else 0


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
