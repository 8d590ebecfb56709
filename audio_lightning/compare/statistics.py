"""Intervals for means over repetitions, paired tests between setups, and corrections for multiple comparisons.

One estimator covers clips and repetitions. The variance of a mean over repetitions (folds, splits or seeds) is

    variance = groups + (1 / n + n_test / n_train) * excess

* ``groups``: the cluster-robust variance over groups of clips. Each group (recording, speaker, subject) shifts the mean
  by its influence, in all repetitions that test it: ``G / (G - 1) * sum(influence ** 2)``. It is the linear form of a
  cluster bootstrap over groups across repetitions (Cameron and Miller, "A Practitioner's Guide to Cluster-Robust
  Inference", Journal of Human Resources 50, 2015), with no random numbers in it.
* ``excess``: the variance between repetitions that their different test clips do not explain (analysis of variance, at
  least zero). Its sources are other training clips, other seeds and another chosen row. Training sets overlap, so the
  factor follows Nadeau and Bengio, "Inference for the Generalization Error" (Machine Learning 52, 2003). Seeds with the
  same splits are independent; their ratio is 0.

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
"""Significance level of the tests; intervals have the confidence ``1 - ALPHA``."""

POWER = 0.8
"""Power of the test in :func:`needed` (Cohen's convention)."""

SAME = 1e-12
"""Tolerance for equal values, which differ by rounding only."""

FEWEST = 3
"""Minimum number of repetitions for an interval without per-clip results."""

NOT_DISTINGUISHABLE = "not distinguishable"

Influence = Float[np.ndarray, "n groups"]
"""Influence of each group of clips on the value of each repetition; rows sum to zero (:mod:`.clip_results`)."""


@dataclass(frozen=True)
class Error:
    """Variance of a mean over repetitions, by source.

    Attributes:
        groups: variance over groups of clips; 0.0 without per-clip results.
        repetitions: variance between repetitions that their different clips do not explain.
        freedom: degrees of freedom for intervals.
        freedom_of_tests: degrees of freedom for tests. They use the full variance between repetitions, so that few
            repetitions give heavy tails even if the clips explain all of it. Many comparisons depend on the tails: with
            3 folds, 3 seeds and 20 rows, ``freedom`` would give a family-wise error of 0.08 (benchmarks/selection.py).
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
    """Mean over repetitions with its confidence interval.

    Attributes:
        mean: mean over the repetitions.
        std: sample standard deviation (divided by n - 1); None for a single repetition.
        low, high: ends of the interval of the mean. None if there are no per-clip results and fewer than :data:`FEWEST`
            repetitions, or if all repetitions are equal.
    """

    mean: float
    std: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of a leaderboard row with the best row.

    Attributes:
        test: name of the test; empty if none is possible.
        n: number of pairs (repetitions).
        difference: mean of the row minus mean of the best row, in units of the metric.
        p: two-sided p-value; None if no test is possible.
        p_holm: p-value with Holm's correction for the number of comparisons.
        verdict: readable result: ``not distinguishable``, ``worse, p = 0.01``, or why no test is possible.
        error: variance of the difference; None if no test is possible.
    """

    test: str
    n: int
    difference: float
    p: float | None
    p_holm: float | None
    verdict: str
    error: Error | None = None


def error_of(values: Float[np.ndarray, "n"], influence: Influence | None = None, *, ratio: float = 0.0) -> Error:
    """Estimate the variance of the mean of ``values``; see the module docstring.

    Args:
        values: one value per repetition.
        influence: influence of the groups on each value; None if unknown: all variance is then between repetitions.
        ratio: ratio of evaluated clips to training clips, if the training sets of the repetitions overlap; 0.0 if the
            repetitions are independent.
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
    """Compute mean, standard deviation and confidence interval of a metric.

    With per-clip results and a metric bounded by 1, this is the Wilson interval ("Probable Inference, the Law of
    Succession, and Statistical Inference", Journal of the American Statistical Association 22, 1927) with two changes.
    Its sample size is the effective one, the number of clips with the same variance (Dean and Pagano, "Evaluating
    Confidence Interval Methods for Binomial Proportions in Clustered Surveys", Journal of Survey Statistics and
    Methodology 3, 2015). Its quantile is that of the t distribution. Otherwise it is the t interval, clipped to the
    range of the metric.

    Args:
        values: one value per repetition.
        influence: influence of the groups of clips on each value; None if unknown.
        ratio: as in :func:`error_of`.
        lowest: lower bound of the metric.
        highest: upper bound of the metric.
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
    """Compute the two-sided paired t-test with the variance of :func:`error_of`.

    Without per-clip results and with a ratio, this is the corrected resampled t-test of Nadeau and Bengio. For repeated
    k-fold cross-validation it is the corrected test of Bouckaert and Frank, "Evaluating the Replicability of
    Significance Tests for Comparing Learning Algorithms" (PAKDD 2004).

    Args:
        differences: at least two differences, one per repetition.
        influence: influence of the groups on each difference; None if unknown.
        ratio: as in :func:`error_of`.

    Returns:
        The p-value and the variance. The p-value is 1.0 if the mean is zero, and None if all differences are equal and
        there are no per-clip results, because the variance is then unknown.
    """
    mean, error = float(differences.mean()), error_of(differences, influence, ratio=ratio)
    if abs(mean) <= SAME:
        return 1.0, error
    if error.variance <= SAME**2:
        return None, error
    return float(2 * stdtr(error.freedom_of_tests, -abs(mean) / math.sqrt(error.variance))), error


def holm(p: Sequence[float | None], comparisons: int | None = None) -> list[float | None]:
    """Apply Holm's correction for multiple comparisons, which bounds the family-wise error rate by :data:`ALPHA`.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (Scandinavian Journal of Statistics 6, 1979). None
    stays None, and does not count.

    Args:
        p: p-values of the comparisons.
        comparisons: number of possible comparisons; None: the number of p-values.
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
    """Compare rows with the best row, by the same test for any number of rows.

    Args:
        differences: for every row, its metric minus that of the best row, one value per repetition.
        influences: for every row, the influence of the groups on the differences; ignored if it is None for any row.
        ratios: for every row, n_test / n_train if repetitions overlap, otherwise 0.0.
        chosen_on_test: whether clips that chose the best row are among its test clips, as with rotated folds. Holm's
            correction then counts all m * (m - 1) / 2 pairs of the m rows.
        lower_is_better: whether lower is better for the metric.
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
    """Sample size needed to distinguish two rows, as multiples of the present one; None if no multiple is enough.

    Attributes:
        clips: multiple of the test clips alone.
        repetitions: multiple of the seeds or splits alone.
        both: common multiple of both together.
    """

    clips: float | None
    repetitions: float | None
    both: float | None


def needed(comparison: Comparison, comparisons: int, *, clips_only: bool) -> Needed:
    """Compute the sample size that detects the observed difference with a power of :data:`POWER` (power analysis).

    A two-sided test at ``ALPHA / comparisons`` finds a true difference d with this power if its variance is at most
    ``(d / (z[1 - ALPHA / (2 * comparisons)] + z[POWER])) ** 2`` (Cohen, "Statistical Power Analysis for the Behavioral
    Sciences", 1988). The variance over groups decreases with the number of clips, the variance between repetitions with
    the number of repetitions.

    Args:
        comparison: comparison with an error.
        comparisons: number of comparisons in Holm's correction.
        clips_only: whether the number of repetitions is fixed, as the number of folds of a data set. More clips then
            enlarge each fold and reduce both variances.
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
        return f"{comparison.difference:+.3g} in every repetition: no test possible"
    if comparison.p_holm >= ALPHA:
        return NOT_DISTINGUISHABLE
    p = "p < 0.001" if comparison.p_holm < 0.001 else f"p = {comparison.p_holm:.2g}"
    return f"{'worse' if worse else 'better'}, {p}"
