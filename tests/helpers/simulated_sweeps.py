"""Simulated sweeps: correct clips of every candidate, and its true accuracy.

All candidates are equally good on average, so that whatever a procedure finds beyond that is its own bias, and every
difference that it calls one is a false one. Two kinds:

* :func:`drawn`: right and wrong are drawn for each clip and candidate, with a share that candidates have in common.
* :func:`fitted`: logistic regressions are fitted to generated features, so that repetitions have overlapping training
  parts. Candidates have features of their own, which are equally informative. True accuracies are known in closed form.

What is judged is what leaderboards show: :func:`audio_lightning.compare.selection.expected` and
:func:`audio_lightning.compare.leaderboard.against_best`, on setups whose metrics are simulated.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.special import expit, ndtr, ndtri, stdtr, stdtrit
from scipy.stats import wilcoxon

from audio_lightning.compare.board import Unit
from audio_lightning.compare.clip_results import ClipResults, Sparse
from audio_lightning.compare.leaderboard import against_best
from audio_lightning.compare.selection import DIGITS, choose, expected, is_nested, ordered
from audio_lightning.compare.setups import Setup
from audio_lightning.compare.statistics import ALPHA, holm

Design = Literal["folds", "splits", "fixed"]
"""``folds``: rotated. ``splits``: parts drawn again in every repetition. ``fixed``: one division, repeated by seed."""

UNITS: dict[Design, Unit] = {"folds": "folds", "splits": "splits", "fixed": "seeds"}

MONITOR, METRIC = "validation/accuracy", "test/accuracy"

FEATURES = 4


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        design: how clips are divided.
        repetitions: number of folds or splits; seeds where the division is fixed.
        rows: number of candidates.
        clips: number of clips.
        group: clips a group.
        seeds: trainings of each fold or split, averaged.
    """

    design: Design
    repetitions: int
    rows: int
    clips: int = 200
    group: int = 2
    seeds: int = 1


@dataclass(frozen=True)
class Swept:
    """Simulated sweeps with one plan.

    Attributes:
        plan: of all of them.
        right: whether a clip is classified rightly.
        accuracy: true one of each classifier.
        validation, test: the parts of each repetition.
    """

    plan: Plan
    right: Bool[np.ndarray, "sweeps rows repetitions seeds clips"]
    accuracy: Float[np.ndarray, "sweeps rows repetitions seeds"]
    validation: Bool[np.ndarray, "sweeps repetitions clips"]
    test: Bool[np.ndarray, "sweeps repetitions clips"]


@dataclass(frozen=True)
class Outcome:
    """Results of a procedure on simulated sweeps.

    Attributes:
        bias: mean of the figure of the chosen row minus its true accuracy, in points.
        coverage: share of the intervals that hold the true accuracy of the classifiers that were chosen; 0.0 without
            intervals.
        coverage_mean: the same for the mean of that over all sweeps, as a sweep on other recordings has it.
        width: mean width of the intervals, in points.
        false: share of the sweeps in which any row is called different from the first (family-wise type I error).
        tested: share of the comparisons that have a p value.
    """

    bias: float
    coverage: float
    coverage_mean: float
    width: float
    false: float
    tested: float


class Candidate(Setup):
    """A setup whose metrics are simulated, in place of those of trials.

    Args:
        name: of the row.
        validation: accuracy of every repetition.
        test: the same on the test part.
        influence: of every group on the test accuracy of every repetition.
        ratio: clips tested on / clips trained on, where the training parts of repetitions overlap; otherwise 0.0.
    """

    def __init__(
        self,
        name: str,
        validation: np.ndarray,
        test: np.ndarray,
        influence: Float[np.ndarray, "n groups"],
        ratio: float,
    ) -> None:
        nothing = pd.DataFrame()
        super().__init__(name, {str(number): nothing for number in range(len(test))}, (), ClipResults({}))
        groups = np.arange(influence.shape[1])
        values = {MONITOR: validation, METRIC: test}
        influences: list[Sparse] = [(groups, row) for row in influence]
        for key, value in (("values", values), ("influences", influences), ("overlap", ratio)):
            object.__setattr__(self, key, value)

    values: dict[str, np.ndarray]
    influences: list[Sparse]
    overlap: float

    def averages(self, column: str) -> np.ndarray:
        return self.values.get(column, np.full(len(self.repetitions), np.nan))

    def influence(self, column: str) -> list[Sparse] | None:
        return self.influences if column == METRIC else None

    def ratio(self, column: str) -> float:
        return self.overlap

    def median(self, column: str) -> None:
        return None


def drawn(
    plan: Plan, sweeps: int, seed: int, *, accuracy: float = 0.75, common: float = 0.0, noise: float = 0.0
) -> Swept:
    """Right and wrong from a normal variable with a threshold.

    Args:
        plan: of the sweeps.
        sweeps: how many.
        seed: of the random numbers.
        accuracy: of all candidates.
        common: share of the variance that candidates have in common (clips that are hard for all).
        noise: share of the rest that differs between repetitions and seeds (noise of training).
    """
    rng = np.random.default_rng(seed)
    trainings = plan.repetitions, plan.seeds
    shared = rng.normal(size=(sweeps, 1, 1, 1, plan.clips))
    own = np.sqrt(1 - noise) * rng.normal(size=(sweeps, plan.rows, 1, 1, plan.clips))
    if noise:
        own = own + np.sqrt(noise) * rng.normal(size=(sweeps, plan.rows, *trainings, plan.clips))
    right = np.sqrt(common) * shared + np.sqrt(1 - common) * own < ndtri(accuracy)
    right = np.broadcast_to(right, (sweeps, plan.rows, *trainings, plan.clips))
    return Swept(plan, right, np.full(right.shape[:-1], accuracy), *_parts(plan, sweeps, rng)[1:])


def fitted(
    plan: Plan, sweeps: int, seed: int, *, common: float = 0.5, group: float = 0.4, signal: float = 0.45
) -> Swept:
    """Ridge-penalised logistic regressions, fitted by Newton's method.

    The noise of training is a random weight for each training clip (the Bayesian bootstrap, Rubin 1981), where there
    are several seeds.

    Args:
        plan: of the sweeps.
        sweeps: how many.
        seed: of the random numbers.
        common: share of the noise of the features that candidates have in common.
        group: share of it that the clips of a group have in common; they have their class in common, too.
        signal: distance of a class from the middle, in standard deviations of each of :data:`FEATURES` features.
    """
    rng = np.random.default_rng(seed)
    groups = plan.clips // plan.group
    target = np.repeat(rng.integers(0, 2, size=(sweeps, groups)), plan.group, axis=1)

    def noise(rows: int) -> np.ndarray:
        of_groups = np.repeat(rng.normal(size=(sweeps, rows, groups, FEATURES)), plan.group, axis=2)
        return np.sqrt(group) * of_groups + np.sqrt(1 - group) * rng.normal(size=(sweeps, rows, plan.clips, FEATURES))

    features = np.sqrt(common) * noise(1) + np.sqrt(1 - common) * noise(plan.rows)
    features = features + signal * (2 * target[:, None, :, None] - 1)
    features = np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)
    train, validation, test = _parts(plan, sweeps, rng)
    seeds = plan.repetitions if plan.design == "fixed" else plan.seeds
    trainings = plan.repetitions * plan.seeds
    weight = np.repeat(train, plan.seeds, axis=1)[:, None].astype(float)
    if seeds > 1:
        weight = weight * rng.exponential(size=(sweeps, plan.rows, trainings, plan.clips))
    weights = _fit(features, target, np.broadcast_to(weight, (sweeps, plan.rows, trainings, plan.clips)))
    right = ((weights @ features.swapaxes(-1, -2)) > 0) == (target[:, None, None] > 0)
    size = np.sqrt((weights[..., :-1] ** 2).sum(axis=-1))
    ahead, offset = signal * weights[..., :-1].sum(axis=-1), weights[..., -1]
    accuracy = (ndtr((ahead + offset) / size) + ndtr((ahead - offset) / size)) / 2
    shape = (sweeps, plan.rows, plan.repetitions, plan.seeds)
    return Swept(plan, right.reshape(*shape, plan.clips), accuracy.reshape(shape), validation, test)


def merged(parts: list[Swept]) -> Swept:
    """Several lots of sweeps with one plan; each alone needs less memory."""
    names = ("right", "accuracy", "validation", "test")
    return Swept(parts[0].plan, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def nested(swept: Swept) -> Outcome:
    """Leaderboard procedure: nested selection, variance over clips and repetitions, tests of all pairs."""
    return _outcome(swept, [_today(*one, swept.plan) for one in _each(swept)])


def best_mean(swept: Swept) -> Outcome:
    """The row with the best mean validation, its t interval, and Wilcoxon's test from six folds on."""
    return _outcome(swept, [_formerly(*one, swept.plan) for one in _each(swept)])


_Found = tuple[float, float, float | None, float | None, bool, float]
"""Figure, true accuracy, both ends of the interval, whether any row is called different from the first, and the share
of the rows that have a p value."""


def _today(validation: np.ndarray, test: np.ndarray, accuracy: np.ndarray, influence: np.ndarray, plan: Plan) -> _Found:
    rows, n = validation.shape
    unit, ratio = UNITS[plan.design], _ratio(plan) if plan.design != "fixed" else 0.0
    every = [Candidate(str(row), validation[row], test[row], influence[row], ratio) for row in range(rows)]
    places = ordered(every, MONITOR)
    by_name = sorted(range(rows), key=str) if is_nested(unit, every) else places
    best_first = [every[place] for place in places]
    found = expected(best_first, MONITOR, METRIC, unit)
    assert found is not None
    chosen = choose([-np.round(validation[by_name], DIGITS)]) if is_nested(unit, every) else np.zeros(n, dtype=int)
    assert found.chosen == Counter(str(by_name[place]) for place in chosen)
    compared = against_best(best_first, METRIC, True, is_nested(unit, best_first))
    different = any(one.p_holm is not None and one.p_holm < ALPHA for one in compared)
    tested = float(np.mean([one.p is not None for one in compared]))
    truth = float(accuracy[by_name][chosen, np.arange(n)].mean())
    return found.test.mean, truth, found.test.low, found.test.high, different, tested


def _formerly(
    validation: np.ndarray, test: np.ndarray, accuracy: np.ndarray, influence: np.ndarray, plan: Plan
) -> _Found:
    rows, n = validation.shape
    first = int(validation.mean(axis=1).argmax())
    values, mean = test[first], float(test[first].mean())
    ratio = _ratio(plan) if plan.design == "splits" else 0.0

    def p(differences: np.ndarray) -> float:
        if plan.design == "folds" and 2 ** (1 - n) * (rows - 1) < ALPHA:
            return float(wilcoxon(differences, method="exact").pvalue) if differences.any() else 1.0
        deviation = float(differences.std(ddof=1))
        if deviation <= 1e-12:
            return 1.0
        factor = 1 / n + (0.0 if plan.design == "fixed" else _ratio(plan))
        return float(2 * stdtr(n - 1, -abs(differences.mean()) / (deviation * np.sqrt(factor))))

    corrected = holm([p(test[row] - values) for row in range(rows) if row != first]) if n > 1 else []
    different = any(found is not None and found < ALPHA for found in corrected)
    truth = float(accuracy[first].mean())
    if n < 2 or values.std() <= 1e-12:
        return mean, truth, None, None, different, float(n > 1)
    half = float(stdtrit(n - 1, 1 - ALPHA / 2)) * float(values.std(ddof=1)) * np.sqrt(1 / n + ratio)
    return mean, truth, max(0.0, mean - half), min(1.0, mean + half), different, 1.0


def _outcome(swept: Swept, found: list[_Found]) -> Outcome:
    figure, truth = np.array([one[:2] for one in found]).T
    ends = [(low, high, t) for _, t, low, high, *_ in found if low is not None and high is not None]
    low, high, of_those = np.array(ends).T if ends else np.full((3, 1), np.nan)
    return Outcome(
        bias=100 * float((figure - truth).mean()),
        coverage=float(((low <= of_those) & (of_those <= high)).mean()),
        coverage_mean=float(((low <= truth.mean()) & (truth.mean() <= high)).mean()),
        width=100 * float((high - low).mean()),
        false=float(np.mean([one[4] for one in found])),
        tested=float(np.mean([one[5] for one in found])),
    )


def _each(swept: Swept) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Validation, test and true accuracy (``[rows, repetitions]``) of every sweep, and influences of the groups."""
    for right, accuracy, validation, test in zip(swept.right, swept.accuracy, swept.validation, swept.test):
        of_clips = right.mean(axis=2)  # over seeds: [rows, repetitions, clips]
        tested = (of_clips * test).sum(axis=-1) / test.sum(axis=-1)
        validated = (of_clips * validation).sum(axis=-1) / validation.sum(axis=-1)
        influence = (of_clips - tested[..., None]) * test / test.sum(axis=-1)[:, None]
        influence = influence.reshape(*influence.shape[:2], -1, swept.plan.group).sum(axis=-1)
        groups = test.any(axis=0).reshape(-1, swept.plan.group).any(axis=1)
        yield validated, tested, accuracy.mean(axis=2), influence[..., groups]


def _parts(plan: Plan, sweeps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test part of every repetition; a fifth each for the latter two, unless by folds."""
    groups = plan.clips // plan.group
    drawings = plan.repetitions if plan.design == "splits" else 1
    order = rng.random((sweeps, drawings, groups)).argsort(axis=-1)
    if plan.design == "folds":
        fold, place = order % plan.repetitions, np.arange(plan.repetitions)[:, None]
        test, validation = fold == place, fold == (place + 1) % plan.repetitions
    else:
        test, validation = order < groups // 5, (order >= groups // 5) & (order < 2 * (groups // 5))
    test, validation = (
        np.repeat(np.broadcast_to(part, (sweeps, plan.repetitions, groups)), plan.group, axis=-1)
        for part in (test, validation)
    )
    return ~(test | validation), validation, test


def _ratio(plan: Plan) -> float:
    return 1 / (plan.repetitions - 2) if plan.design == "folds" else 1 / 3


def _fit(features: np.ndarray, target: np.ndarray, weight: np.ndarray, steps: int = 6) -> np.ndarray:
    """Coefficients ``[sweeps, rows, trainings, features + 1]`` with a ridge penalty of 1."""
    sweeps, rows, trainings, _ = weight.shape
    size = features.shape[-1]
    found = np.zeros((sweeps, rows, trainings, size))
    for _ in range(steps):
        chance = expit(found @ features.swapaxes(-1, -2))
        gradient = (weight * (target[:, None, None] - chance)) @ features - found
        curvature = weight * chance * (1 - chance)
        hessian = np.stack(
            [(curvature[:, :, k, :, None] * features).swapaxes(-1, -2) @ features for k in range(trainings)], axis=2
        )
        found = found + np.linalg.solve(hessian + np.eye(size), gradient[..., None])[..., 0]
    return found
