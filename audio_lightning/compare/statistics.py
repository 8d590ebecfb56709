"""Intervals for means over repetitions, paired tests between setups, and corrections for multiple comparisons.

One estimator has clips and repetitions in it. The variance of a mean over repetitions (folds, splits or seeds) is

    variance = groups + (1 / n + n_test / n_train) * excess

* ``groups``: the cluster-robust variance over groups of clips. Each group (recording, speaker, subject) moves the mean
  by its influence, in all repetitions that test it: ``G / (G - 1) * sum(influence ** 2)``. It is the linear form of a
  cluster bootstrap over groups across repetitions (Cameron and Miller, "A Practitioner's Guide to Cluster-Robust
  Inference", Journal of Human Resources 50, 2015), with no random numbers in it.
* ``excess``: the variance between repetitions beyond what their different clips explain (analysis of variance, not
  below zero): other training clips, other seeds, another row chosen. Training parts overlap, so it is divided as in
  Nadeau and Bengio, "Inference for the Generalization Error" (Machine Learning 52, 2003); seeds of one division are
  independent, with a ratio of 0.

Degrees of freedom follow Satterthwaite, "An Approximate Distribution of Estimates of Variance Components" (Biometrics
Bulletin 2, 1946). ``benchmarks/selection.py`` prints simulated bias, coverage and type I error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtr, stdtrit

ALPHA = 0.05
"""Probability of calling a difference one where there is none; intervals have the confidence ``1 - ALPHA``."""

POWER = 0.8
"""Probability of finding a difference that is there, in :func:`needed` (Cohen's convention)."""

SAME = 1e-12
"""Values that vary by less are equal but for rounding."""

FEWEST = 3
"""Repetitions from which on their variance alone, without that over clips, gives an interval."""

NOT_DISTINGUISHABLE = "not distinguishable"

Influence = Float[np.ndarray, "n groups"]
"""What each group of clips adds to the value of each repetition; rows sum to zero (:mod:`.clips`)."""


@dataclass(frozen=True)
class Error:
    """Variance of a mean over repetitions, by source.

    Attributes:
        groups: over groups of clips; 0.0 where results by clip are not known.
        repetitions: between repetitions, beyond what their different clips explain.
        freedom: degrees of freedom, for intervals.
        freedom_of_tests: the same with the variance between repetitions counted in full, so that few repetitions
            have heavy tails even where clips happen to explain all of it. Many comparisons look far into the tails:
            with 3 folds, 3 seeds and 20 rows the family-wise error is 0.08 without it (benchmarks/selection.py).
    """

    groups: float
    repetitions: float
    freedom: float
    freedom_of_tests: float

    @property
    def variance(self) -> float:
        """The sum of both sources."""
        return self.groups + self.repetitions


@dataclass(frozen=True)
class Spread:
    """A mean over repetitions with its interval.

    Attributes:
        mean: over the repetitions.
        std: sample standard deviation (divided by n - 1); None for a single repetition.
        low, high: ends of the interval for the mean. None where nothing is known of single clips and there are fewer
            than :data:`FEWEST` repetitions, or all of these are equal.
    """

    mean: float
    std: float | None
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
        p_holm: the same, corrected for the number of comparisons.
        verdict: for people: ``not distinguishable``, ``worse, p = 0.01``, or why no test is possible.
        error: of the difference; None where no test is possible.
    """

    test: str
    n: int
    difference: float
    p: float | None
    p_holm: float | None
    verdict: str
    error: Error | None = None


def error_of(values: Float[np.ndarray, "n"], influence: Influence | None = None, *, ratio: float = 0.0) -> Error:
    """Variance of the mean of ``values``; see the head of this module.

    Args:
        values: one for each repetition.
        influence: of the groups on each of them; None: not known, so that all variance is that between repetitions.
        ratio: clips measured on / clips trained on, where the repetitions train on overlapping parts of the same
            recordings; 0.0: they are independent.
    """
    n = len(values)
    between = float(values.var(ddof=1)) if n > 1 else 0.0
    factor = 1 / n + ratio
    if influence is None:
        return Error(0.0, factor * between, max(n - 1, 1), max(n - 1, 1))
    number = max(influence.shape[1], 2)
    small = number / (number - 1)
    groups = small * float((influence.mean(axis=0) ** 2).sum())
    single = small * float((influence**2).sum())  # the sum over repetitions, each on its own
    explained = (single - n * groups) / (n - 1) if n > 1 else 0.0
    repetitions = factor * max(0.0, between - explained)

    def freedom(part: float) -> float:
        parts = groups**2 / (number - 1) + (part**2 / (n - 1) if n > 1 else 0.0)
        return (groups + part) ** 2 / parts if parts > 0 else number - 1

    return Error(groups, repetitions, freedom(repetitions), freedom(max(repetitions, between / n)))


def spread(
    values: Float[np.ndarray, "n"],
    influence: Influence | None = None,
    *,
    ratio: float = 0.0,
    lowest: float = 0.0,
    highest: float = math.inf,
) -> Spread:
    """Mean, standard deviation and interval of a metric.

    With results by clip and a metric that ends at 1 the interval is Wilson's ("Probable Inference, the Law of
    Succession, and Statistical Inference", Journal of the American Statistical Association 22, 1927) for the number of
    clips that has the same variance, the effective sample size (Dean and Pagano, "Evaluating Confidence Interval
    Methods for Binomial Proportions in Clustered Surveys", Journal of Survey Statistics and Methodology 3, 2015), with
    the quantile of the t distribution. Otherwise it is the t interval, cut at the ends of the metric.

    Args:
        values: one for each repetition.
        influence: of the groups of clips on each of them, where that is known.
        ratio: as in :func:`error_of`.
        lowest: smallest value that the metric can have.
        highest: largest one.
    """
    n, mean = len(values), float(values.mean())
    std = float(values.std(ddof=1)) if n > 1 else None
    if influence is None and (n < FEWEST or std is None or std <= SAME):
        return Spread(mean, std, None, None)
    error = error_of(values, influence, ratio=ratio)
    t = float(stdtrit(error.freedom, 1 - ALPHA / 2))
    if influence is not None and highest == 1.0:
        binomial = mean * (1 - mean)
        known = error.variance > SAME**2 and binomial > 0
        square = t**2 / (binomial / error.variance if known else influence.shape[1])
        middle = (mean + square / 2) / (1 + square)
        half = math.sqrt(square * binomial + square**2 / 4) / (1 + square)
        return Spread(mean, std, max(0.0, middle - half), min(1.0, middle + half))
    half = t * math.sqrt(error.variance)
    return Spread(mean, std, max(lowest, mean - half), min(highest, mean + half))


def paired_t(
    differences: Float[np.ndarray, "n"], influence: Influence | None = None, *, ratio: float = 0.0
) -> tuple[float | None, Error]:
    """The paired t-test, two-sided, with the variance of :func:`error_of`.

    Without results by clip and with a ratio it is the corrected resampled t-test of Nadeau and Bengio, and for folds
    that are drawn repeatedly the corrected repeated k-fold test of Bouckaert and Frank, "Evaluating the Replicability
    of Significance Tests for Comparing Learning Algorithms" (PAKDD 2004).

    Args:
        differences: two at least.
        influence: of the groups on each of them, where it is known.
        ratio: as in :func:`error_of`.

    Returns:
        p, and the variance. p is 1.0 where the mean is zero, and None where all differences are equal and no results by
        clip are known: nothing says then how far chance goes.
    """
    mean, error = float(differences.mean()), error_of(differences, influence, ratio=ratio)
    if abs(mean) <= SAME:
        return 1.0, error
    if error.variance <= SAME**2:
        return None, error
    return float(2 * stdtr(error.freedom_of_tests, -abs(mean) / math.sqrt(error.variance))), error


def holm(p: Sequence[float | None], comparisons: int | None = None) -> list[float | None]:
    """Holm's correction for many comparisons: the chance of even one false difference stays below :data:`ALPHA`.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian Journal of Statistics 6, 1979). None
    stays None, and does not count.

    Args:
        p: of the comparisons that are made.
        comparisons: how many could have been made; by default those in ``p``.
    """
    order = sorted((value, place) for place, value in enumerate(p) if value is not None)
    total = len(order) if comparisons is None else comparisons
    corrected: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, (total - rank) * value))
        corrected[place] = largest
    return corrected


def compare(
    differences: Sequence[Float[np.ndarray, "n"]],
    influences: Sequence[Influence | None],
    ratios: Sequence[float],
    *,
    chosen_on_test: bool,
    lower_is_better: bool = False,
) -> list[Comparison]:
    """Compare rows with the best one; the test does not depend on how many rows there are.

    Args:
        differences: for every row, its metric minus that of the best one, repetition by repetition.
        influences: for every row, those of the groups on the differences; one None leaves them out for all.
        ratios: for every row, n_test / n_train where repetitions overlap, otherwise 0.0.
        chosen_on_test: the clips that chose the best row are among those that it is tested on, as with rotated folds.
            The best of m rows is then the best of all m * (m - 1) / 2 pairs, which Holm's correction has to count.
        lower_is_better: a smaller value of the metric is the better one.
    """
    rows = len(differences) + 1
    by_clip = all(known is not None for known in influences)
    tested = [
        _test(values, influence if by_clip else None, ratio)
        for values, influence, ratio in zip(differences, influences, ratios)
    ]
    possible = sum(p is not None for _, p, _ in tested) + 1
    corrected = holm([p for _, p, _ in tested], possible * (possible - 1) // 2 if chosen_on_test else None)
    found = []
    for values, (name, p, error), p_holm in zip(differences, tested, corrected):
        mean = float(values.mean()) if len(values) else math.nan
        comparison = Comparison(name, len(values), mean, p, p_holm, "", error)
        worse = (mean > 0) == lower_is_better
        found.append(replace(comparison, verdict=_verdict(comparison, worse)))
    assert len(found) == rows - 1
    return found


@dataclass(frozen=True)
class Needed:
    """How many times as many would tell two rows apart; None where no number of them alone does.

    Attributes:
        clips: as a multiple of the test clips.
        repetitions: as a multiple of the seeds or splits.
        both: as the same multiple of the one and of the other.
    """

    clips: float | None
    repetitions: float | None
    both: float | None


def needed(comparison: Comparison, comparisons: int, *, clips_only: bool) -> Needed:
    """Power calculation: how much more would find the difference that was observed, with a power of :data:`POWER`.

    A two-sided test at ``ALPHA / comparisons`` finds a true difference d with this power where its variance is at most
    ``(d / (z[1 - ALPHA / (2 * comparisons)] + z[POWER])) ** 2`` (Cohen, "Statistical Power Analysis for the Behavioral
    Sciences", 1988). The variance over groups falls with the number of clips, that between repetitions with their
    number.

    Args:
        comparison: with an error.
        comparisons: for how many of them p is corrected.
        clips_only: the number of repetitions cannot be raised, as that of folds that come with the data; more clips
            then are more of each fold, and take down both.
    """
    error = comparison.error
    if error is None or abs(comparison.difference) <= SAME:
        return Needed(None, None, None)
    quantiles = float(ndtri(1 - ALPHA / (2 * max(comparisons, 1))) + ndtri(POWER))
    wanted = (comparison.difference / quantiles) ** 2
    if clips_only:
        return Needed(max(1.0, error.variance / wanted), None, None)

    def factor(part: float, rest: float) -> float | None:
        return max(1.0, part / (wanted - rest)) if part > 0 and rest < wanted else None

    both = factor(error.groups + error.repetitions, 0.0) if error.groups > 0 and error.repetitions > 0 else None
    return Needed(factor(error.groups, error.repetitions), factor(error.repetitions, error.groups), both)


def _test(
    differences: Float[np.ndarray, "n"], influence: Influence | None, ratio: float
) -> tuple[str, float | None, Error | None]:
    if len(differences) < 2:
        return "", None, None
    if influence is not None:
        name = "paired t-test over clips and repetitions"
    else:
        name = "corrected resampled t-test" if ratio > 0 else "paired t-test"
    return (name, *paired_t(differences, influence, ratio=ratio))


def _verdict(comparison: Comparison, worse: bool) -> str:
    if comparison.n < 2:
        return f"{'one split' if comparison.n else 'no splits in common'}: no test possible"
    if comparison.p_holm is None:
        return f"{comparison.difference:+.3g} every time: no test possible"
    if comparison.p_holm >= ALPHA:
        return NOT_DISTINGUISHABLE
    p = "p < 0.001" if comparison.p_holm < 0.001 else f"p = {comparison.p_holm:.2g}"
    return f"{'worse' if worse else 'better'}, {p}"
