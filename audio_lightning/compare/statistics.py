"""How sure a mean is, and whether two classifiers differ: intervals, paired tests, and many comparisons at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr, stdtrit

ALPHA = 0.05
"""Probability of calling a difference one where there is none; intervals have the confidence ``1 - ALPHA``."""

SAME = 1e-12
"""Values that vary by less are equal but for rounding."""

NOT_DISTINGUISHABLE = "not distinguishable"


@dataclass(frozen=True)
class Spread:
    """A mean over repetitions, and how sure it is.

    Attributes:
        mean: over the repetitions.
        deviation: sample standard deviation (divided by n - 1); None for a single repetition.
        low, high: ends of the interval for the mean; None for a single repetition, and where all are equal: the
            interval takes its measure of chance from how they vary, and would be certain of whatever it is given.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """A row of the leaderboard against the best one, repetition by repetition.

    Attributes:
        test: name of the test; empty where none is possible.
        n: number of pairs.
        difference: mean of the row minus that of the best one, in units of the metric.
        p: two-sided; None where no test is possible.
        p_holm: the same, corrected for the number of rows that are compared.
        verdict: for people: ``not distinguishable``, ``worse, p = 0.01``, or why no test is possible.
    """

    test: str
    n: int
    difference: float
    p: float | None
    p_holm: float | None
    verdict: str


def spread(values: Float[np.ndarray, "n"], *, ratio: float = 0.0) -> Spread:
    """Mean, deviation and the t interval for the mean.

    Args:
        values: one for each repetition.
        ratio: clips measured on / clips trained on, where repetitions are drawn anew from the same recordings and so
            overlap; see :func:`paired_t`. 0.0: the repetitions are taken for independent.
    """
    n = len(values)
    if n < 2:
        return Spread(float(values[0]), None, None, None)
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if deviation <= SAME:
        return Spread(mean, deviation, None, None)
    half = float(stdtrit(n - 1, 1 - ALPHA / 2)) * deviation * math.sqrt(1 / n + ratio)
    return Spread(mean, deviation, mean - half, mean + half)


def paired_t(differences: Float[np.ndarray, "n"], *, ratio: float = 0.0) -> float | None:
    """The paired t-test, two-sided; with a ``ratio`` the corrected resampled t-test.

    Repetitions that are drawn from the same recordings share most of what they train on, and the plain test finds
    differences where there are none. Nadeau and Bengio, "Inference for the Generalization Error" (Machine Learning 52,
    2003), estimate the variance of the mean by ``(1 / n + n_test / n_train)`` times that of the differences in place
    of ``1 / n``.

    Args:
        differences: two at least.
        ratio: n_test / n_train; 0.0: the plain test.

    Returns:
        p: 1.0 where all differences are zero. None where they are all equal but not zero: the test takes its measure
        of chance from how they vary, and would be certain of whatever it is given.
    """
    n, mean, deviation = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    if deviation <= SAME:
        return 1.0 if abs(mean) <= SAME else None
    return float(2 * stdtr(n - 1, -abs(mean) / (deviation * math.sqrt(1 / n + ratio))))


def wilcoxon(differences: Float[np.ndarray, "n"]) -> float:
    """Wilcoxon's signed-rank test, two-sided and exact, also with ties.

    Wilcoxon, "Individual Comparisons by Ranking Methods" (Biometrics Bulletin 1, 1945): differences of zero are left
    out, equal ones share the mean of their ranks. With n differences the smallest possible p is ``2 ** (1 - n)``.

    Returns:
        p: 1.0 where all differences are zero.
    """
    exact = np.round(differences, 12)  # so that rounding parts no ties
    size = np.abs(exact[exact != 0])
    ordered = np.sort(size)
    doubled = np.searchsorted(ordered, size, "left") + np.searchsorted(ordered, size, "right") + 1  # whole numbers
    total = int(doubled.sum())
    chance = np.zeros(total + 1)  # of each sum of the ranks that got a plus, every sign being as likely as the other
    chance[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(chance)
        shifted[rank:] = chance[:-rank]
        chance = (chance + shifted) / 2
    positive = int(doubled[exact[exact != 0] > 0].sum())
    return min(1.0, 2 * float(chance[: min(positive, total - positive) + 1].sum()))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for many comparisons: the chance of even one false difference stays below :data:`ALPHA`.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian Journal of Statistics 6, 1979). None
    stays None, and does not count.
    """
    order = sorted((value, place) for place, value in enumerate(p) if value is not None)
    corrected: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * value))
        corrected[place] = largest
    return corrected


def compare(
    differences: Sequence[Float[np.ndarray, "n"]],
    ratios: Sequence[float],
    unit: str,
    *,
    lower_is_better: bool = False,
) -> list[Comparison]:
    """Hold rows against the best one.

    Seeds of one division: the paired t-test, which then speaks of the noise of training only. Folds, whose test parts
    are disjoint: Wilcoxon's test, if there are enough of them for it to find anything at all after the correction
    (six for one comparison). Everything else: the corrected resampled t-test.

    Args:
        differences: for every row, its metric minus that of the best one, repetition by repetition.
        ratios: for every row, n_test / n_train.
        unit: what a repetition is: ``folds``, ``splits`` or ``seeds``.
        lower_is_better: a smaller value of the metric is the better one.
    """
    tested = [_test(values, ratio, unit, len(differences)) for values, ratio in zip(differences, ratios)]
    found = []
    for values, (name, p), p_holm in zip(differences, tested, holm([p for _, p in tested])):
        mean = float(values.mean()) if len(values) else math.nan
        comparison = Comparison(name, len(values), mean, p, p_holm, "")
        worse = (mean > 0) == lower_is_better
        found.append(replace(comparison, verdict=_verdict(comparison, worse)))
    return found


def _test(differences: Float[np.ndarray, "n"], ratio: float, unit: str, rows: int) -> tuple[str, float | None]:
    n = len(differences)
    if n < 2:
        return "", None
    if unit == "seeds":
        return "paired t-test", paired_t(differences)
    if unit == "folds" and 2 ** (1 - n) * rows < ALPHA:
        return "Wilcoxon signed-rank test", wilcoxon(differences)
    return "corrected resampled t-test", paired_t(differences, ratio=ratio)


def _verdict(comparison: Comparison, worse: bool) -> str:
    if comparison.n < 2:
        return f"{'one split' if comparison.n else 'no splits in common'}: no test possible"
    if comparison.p_holm is None:
        return f"{comparison.difference:+.3g} every time: no test possible"
    if comparison.p_holm >= ALPHA:
        return NOT_DISTINGUISHABLE
    p = "p < 0.001" if comparison.p_holm < 0.001 else f"p = {comparison.p_holm:.2g}"
    return f"{'worse' if worse else 'better'}, {p}"
