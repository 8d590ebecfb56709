"""Intervals and tests against numbers worked out elsewhere."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from audio_lightning.compare.statistics import compare, holm, paired_t, spread, wilcoxon

VALUES = np.array([0.81, 0.79, 0.84, 0.80, 0.86])


def test_the_interval_is_students() -> None:
    found = spread(VALUES)
    low, high = stats.t.interval(0.95, 4, loc=VALUES.mean(), scale=stats.sem(VALUES))
    assert found.mean == pytest.approx(0.82)
    assert found.deviation == pytest.approx(math.sqrt(0.0034 / 4))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_overlapping_repetitions_widen_the_interval() -> None:
    plain, corrected = spread(VALUES), spread(VALUES, ratio=0.25)  # 1/5 becomes 1/5 + 1/4
    assert plain.high is not None
    assert corrected.high is not None
    assert corrected.high - 0.82 == pytest.approx((plain.high - 0.82) * math.sqrt(0.45 / 0.2))


def test_one_repetition_has_a_mean_only() -> None:
    found = spread(np.array([0.5]))
    assert (found.mean, found.deviation, found.low, found.high) == (0.5, None, None, None)


def test_equal_values_have_no_interval() -> None:
    """They say nothing of how sure they are; as little as three equal differences of how sure the difference is."""
    found = spread(np.array([0.3, 0.3, 0.1 + 0.2]))
    assert (found.low, found.high) == (None, None)
    assert found.deviation == pytest.approx(0, abs=1e-12)


def test_the_plain_test_is_students() -> None:
    other = np.array([0.80, 0.80, 0.80, 0.79, 0.81])
    assert paired_t(VALUES - other) == pytest.approx(stats.ttest_rel(VALUES, other).pvalue)


def test_the_corrected_test_by_hand() -> None:
    # Mean 2.5, variance 5/3; (1/4 + 1/4) * 5/3 = 5/6; t = 2.5 / sqrt(5/6) = sqrt(7.5) with 3 degrees of freedom.
    p = paired_t(np.array([1.0, 2.0, 3.0, 4.0]), ratio=0.25)
    assert p == pytest.approx(2 * stats.t.sf(math.sqrt(7.5), 3))
    plain = paired_t(np.array([1.0, 2.0, 3.0, 4.0]))
    assert p is not None
    assert plain is not None
    assert plain < 0.05 < p


def test_equal_classifiers_are_not_told_apart() -> None:
    assert paired_t(np.zeros(3)) == 1.0
    assert wilcoxon(np.zeros(6)) == 1.0


def test_a_difference_that_never_varies_is_not_tested() -> None:
    assert paired_t(np.array([0.3, 0.3, 0.1 + 0.2])) is None
    (found,) = compare([np.array([-0.1, -0.1])], [0.2], "splits")
    assert (found.p, found.p_holm) == (None, None)
    assert found.verdict == "-0.1 every time: no test possible"


@pytest.mark.parametrize("seed", range(4))
def test_wilcoxon_is_scipys(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.4, 1.0, 11)
    assert wilcoxon(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


@pytest.mark.parametrize("values", [[3, 3, -3, 1, 1, 2, -5], [0, 0.1, -(0.3 - 0.2), 0.4, 0.5], [2, 2, 2, 2, 2, 2]])
def test_wilcoxon_with_ties_counts_every_assignment_of_signs(values: list[float]) -> None:
    kept = np.round([value for value in values if value != 0], 9)
    ranks = stats.rankdata(np.abs(kept))
    smaller = min(ranks[kept > 0].sum(), ranks[kept < 0].sum())
    signs = np.array(list(itertools.product([0, 1], repeat=len(kept))))
    assert wilcoxon(np.array(values)) == pytest.approx(min(1.0, 2 * np.mean(signs @ ranks <= smaller)))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([0.03, None, 0.02]) == pytest.approx([0.04, None, 0.04])


@pytest.mark.parametrize(
    ("unit", "n", "rows", "test"),
    [
        ("folds", 5, 1, "corrected resampled t-test"),
        ("folds", 6, 1, "Wilcoxon signed-rank test"),
        ("folds", 6, 2, "corrected resampled t-test"),  # the smallest p would be 2 * 2 / 64
        ("folds", 10, 25, "Wilcoxon signed-rank test"),
        ("splits", 10, 1, "corrected resampled t-test"),
        ("seeds", 10, 1, "paired t-test"),
        ("seeds", 1, 1, ""),
    ],
)
def test_which_test_is_right(unit: str, n: int, rows: int, test: str) -> None:
    differences = np.random.default_rng(0).normal(size=(rows, n))
    assert {found.test for found in compare(list(differences), [0.1] * rows, unit)} == {test}


@pytest.mark.parametrize(("lower", "words"), [(False, ["worse", "better"]), (True, ["better", "worse"])])
def test_verdicts(lower: bool, words: list[str]) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 10)
    found = compare([noise - 0.1, noise + 0.1, noise], [0.1] * 3, "splits", lower_is_better=lower)
    assert [comparison.verdict for comparison in found] == [f"{word}, p < 0.001" for word in words] + [
        "not distinguishable"
    ]
    assert found[0].difference == pytest.approx(noise.mean() - 0.1)


def test_the_verdict_is_that_of_the_corrected_p() -> None:
    clear, rest = np.array([1.0, 2.0, 3.0, 4.0]) / 100, np.array([1.0, -2.0, 3.0, -2.5]) / 100
    (alone,) = compare([clear], [0.0], "splits")
    assert alone.p == pytest.approx(0.0305, abs=1e-4)
    assert alone.verdict == "better, p = 0.03"
    among = compare([clear, rest, rest], [0.0] * 3, "splits")[0]
    assert among.p == alone.p
    assert among.p_holm == pytest.approx(3 * 0.0305, abs=1e-3)
    assert among.verdict == "not distinguishable"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0.1], "one split: no test possible"), ([], "no splits in common: no test possible")],
)
def test_one_split_is_not_tested(values: list[float], verdict: str) -> None:
    (found,) = compare([np.array(values)], [0.1], "splits")
    assert (found.p, found.verdict) == (None, verdict)
