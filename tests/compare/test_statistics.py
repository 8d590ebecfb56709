"""Intervals and tests, compared with independently computed numbers."""

import math

import numpy as np
import pytest
from scipy import stats

from audio_lightning.compare.statistics import (
    ALPHA,
    Comparison,
    Error,
    compare,
    error_of,
    holm,
    needed,
    paired_t,
    spread,
)

VALUES = np.array([0.81, 0.79, 0.84, 0.80, 0.86])


def test_the_interval_is_students() -> None:
    found = spread(VALUES)
    low, high = stats.t.interval(0.95, 4, loc=VALUES.mean(), scale=stats.sem(VALUES))
    assert found.mean == pytest.approx(0.82)
    assert found.std == pytest.approx(math.sqrt(0.0034 / 4))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_overlapping_repetitions_widen_the_interval() -> None:
    plain, corrected = spread(VALUES), spread(VALUES, ratio=0.25)  # 1/5 becomes 1/5 + 1/4
    assert plain.high is not None
    assert corrected.high is not None
    assert corrected.high - 0.82 == pytest.approx((plain.high - 0.82) * math.sqrt(0.45 / 0.2))


def test_one_repetition_has_a_mean_only() -> None:
    found = spread(np.array([0.5]))
    assert (found.mean, found.std, found.low, found.high) == (0.5, None, None, None)


def test_equal_values_have_no_interval() -> None:
    """Equal values have no variance, and neither have three equal differences."""
    found = spread(np.array([0.3, 0.3, 0.1 + 0.2]))
    assert (found.low, found.high) == (None, None)
    assert found.std == pytest.approx(0, abs=1e-12)


def test_the_plain_test_is_students() -> None:
    other = np.array([0.80, 0.80, 0.80, 0.79, 0.81])
    assert paired_t(VALUES - other)[0] == pytest.approx(stats.ttest_rel(VALUES, other).pvalue)


def test_the_corrected_test_by_hand() -> None:
    # Mean 2.5, variance 5/3; (1/4 + 1/4) * 5/3 = 5/6; t = 2.5 / sqrt(5/6) = sqrt(7.5) with 3 degrees of freedom.
    p, _ = paired_t(np.array([1.0, 2.0, 3.0, 4.0]), ratio=0.25)
    assert p == pytest.approx(2 * stats.t.sf(math.sqrt(7.5), 3))
    plain, _ = paired_t(np.array([1.0, 2.0, 3.0, 4.0]))
    assert p is not None
    assert plain is not None
    assert plain < 0.05 < p


def test_equal_classifiers_are_not_distinguishable() -> None:
    assert paired_t(np.zeros(3))[0] == 1.0


def test_a_difference_that_never_varies_is_not_tested() -> None:
    assert paired_t(np.array([0.3, 0.3, 0.1 + 0.2]))[0] is None
    (found,) = compare([np.array([-0.1, -0.1])], [None], [0.2], chosen_on_test=True)
    assert (found.p, found.p_holm) == (None, None)
    assert found.verdict == "-0.1 in every repetition: no test possible"


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([0.03, None, 0.02]) == pytest.approx([0.04, None, 0.04])
    assert holm([0.01, 0.02, 0.005], 6) == pytest.approx([0.05, 0.08, 0.03])  # the best of four rows: six pairs


@pytest.mark.parametrize("rows", [1, 2, 25])
@pytest.mark.parametrize("n", [2, 5, 6, 10])
@pytest.mark.parametrize(
    ("ratio", "by_clip", "test"),
    [
        (0.1, False, "corrected resampled t-test"),
        (0.0, False, "paired t-test"),
        (0.1, True, "paired t-test over clips and repetitions"),
    ],
)
def test_the_test_does_not_depend_on_the_number_of_rows(
    ratio: float, by_clip: bool, test: str, n: int, rows: int
) -> None:
    rng = np.random.default_rng(0)
    differences, influences = rng.normal(size=(rows, n)), rng.normal(size=(rows, n, 30))
    known = list(influences) if by_clip else [None] * rows
    found = compare(list(differences), known, [ratio] * rows, chosen_on_test=True)
    assert {comparison.test for comparison in found} == {test}
    (alone,) = compare([differences[0]], known[:1], [ratio], chosen_on_test=True)
    assert alone.p == found[0].p


@pytest.mark.parametrize(("lower", "words"), [(False, ["worse", "better"]), (True, ["better", "worse"])])
def test_verdicts(lower: bool, words: list[str]) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 10)
    found = compare(
        [noise - 0.1, noise + 0.1, noise], [None] * 3, [0.1] * 3, chosen_on_test=False, lower_is_better=lower
    )
    assert [comparison.verdict for comparison in found] == [f"{word}, p < 0.001" for word in words] + [
        "not distinguishable"
    ]
    assert found[0].difference == pytest.approx(noise.mean() - 0.1)


def test_the_verdict_is_that_of_the_corrected_p() -> None:
    clear, rest = np.array([1.0, 2.0, 3.0, 4.0]) / 100, np.array([1.0, -2.0, 3.0, -2.5]) / 100
    (alone,) = compare([clear], [None], [0.0], chosen_on_test=False)
    assert alone.p == pytest.approx(0.0305, abs=1e-4)
    assert alone.verdict == "better, p = 0.03"
    among = compare([clear, rest, rest], [None] * 3, [0.0] * 3, chosen_on_test=False)[0]
    assert among.p == alone.p
    assert among.p_holm == pytest.approx(3 * 0.0305, abs=1e-3)
    assert among.verdict == "not distinguishable"
    pairs = compare([clear, rest, rest], [None] * 3, [0.0] * 3, chosen_on_test=True)[0]
    assert pairs.p_holm == pytest.approx(6 * 0.0305, abs=1e-3)  # four rows


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0.1], "one split: no test possible"), ([], "no splits in common: no test possible")],
)
def test_one_split_is_not_tested(values: list[float], verdict: str) -> None:
    (found,) = compare([np.array(values)], [None], [0.1], chosen_on_test=True)
    assert (found.p, found.verdict) == (None, verdict)


def right_or_wrong(shape: tuple[int, int], share: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < share).astype(float)


def test_one_repetition_has_wilsons_interval_over_clips() -> None:
    right = np.array([1.0] * 45 + [0.0] * 5)
    found = spread(np.array([0.9]), (right - 0.9)[None] / 50, highest=1.0)
    interval = stats.binomtest(45, 50).proportion_ci(method="wilson")
    # A little wider: n - 1 in the variance, and the t distribution in place of the normal one.
    assert found.low == pytest.approx(interval.low, abs=0.006)
    assert found.low < interval.low
    assert found.high == pytest.approx(interval.high, abs=0.006)
    assert found.std is None


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_all_right_or_all_wrong_has_an_interval(mean: float) -> None:
    found = spread(np.array([mean, mean]), np.zeros((2, 40)), highest=1.0)
    assert found.low is not None
    assert found.high is not None
    assert 0.05 < found.high - found.low < 0.1
    assert found.low == 0.0 if mean == 0.0 else found.high == 1.0


def test_two_splits_have_a_sensible_interval() -> None:
    """Two numbers alone gave 0.285 to 1.000."""
    right = right_or_wrong((2, 100), 0.75)
    influence = (right - right.mean(axis=1, keepdims=True)) / 100
    found = spread(np.array([0.70, 0.79]), influence, ratio=0.3, highest=1.0)
    assert found.low is not None
    assert found.high is not None
    assert 0.1 < found.high - found.low < 0.4
    assert spread(np.array([0.70, 0.79]), ratio=0.3).low is None


def test_the_variance_of_disjoint_folds_counts_their_clips_once() -> None:
    """A difference between folds that is due to their clips is no further source of variance."""
    variances, between = [], []
    for seed in range(200):
        right = right_or_wrong((5, 40), 0.7, seed)
        influence = np.zeros((5, 200))
        for fold in range(5):
            influence[fold, 40 * fold : 40 * (fold + 1)] = (right[fold] - right[fold].mean()) / 40
        error = error_of(right.mean(axis=1), influence)
        variances.append(error.groups)
        between.append(error.repetitions)
    assert np.mean(variances) == pytest.approx(0.7 * 0.3 / 200, rel=0.03)
    assert np.mean(between) < 0.4 * np.mean(variances)  # never below zero, so not zero on average
    assert np.median(between) <= 0.05 * np.mean(variances)


def test_seeds_on_the_same_clips_do_not_make_these_more() -> None:
    right = np.repeat(right_or_wrong((1, 100), 0.7), 5, axis=0)
    influence = (right - right.mean()) / 100
    one, five = error_of(right.mean(axis=1)[:1], influence[:1]), error_of(right.mean(axis=1), influence)
    assert five.groups == pytest.approx(one.groups)
    assert five.repetitions == pytest.approx(0, abs=1e-12)


def test_clips_of_one_group_count_as_correlated() -> None:
    right = np.repeat(right_or_wrong((1, 25), 0.7), 4, axis=1)
    single = (right - right.mean()) / 100
    grouped = single.reshape(1, 25, 4).sum(axis=2)
    ratio = error_of(np.array([0.7]), grouped).groups / error_of(np.array([0.7]), single).groups
    assert ratio == pytest.approx(4, rel=0.05)


def test_a_difference_within_the_variance_of_the_clips_is_not_significant() -> None:
    """Three seeds agree on a difference that comes from the test clips alone: the plain t-test gives p < 0.001."""
    better = np.array([1.0] * 3 + [-1.0] + [0.0] * 36) / 40
    influence = np.repeat((better - better.mean())[None], 3, axis=0)
    differences = np.array([0.05, 0.0501, 0.0499])
    by_seed, by_clip = paired_t(differences)[0], paired_t(differences, influence)[0]
    assert by_seed is not None
    assert by_seed < 0.001
    assert by_clip is not None
    assert by_clip > 0.2


@pytest.mark.parametrize("comparisons", [1, 10])
def test_the_power_calculation_by_simulation(comparisons: int) -> None:
    """With the recommended number of clips, the difference is detected in four of five cases."""
    rng, clips, difference = np.random.default_rng(0), 400, 0.05

    def sample(size: int) -> np.ndarray:
        return rng.choice([1.0, -1.0, 0.0], size=size, p=[0.15, 0.15 - difference, 0.7 + difference])

    error = Error((0.3 - difference - difference**2) / clips, 0.0, clips - 1, clips - 1)
    comparison = Comparison("", 1, difference, 0.5, 0.5, "", error)
    factor = needed(comparison, comparisons, clips_only=False).clips
    assert factor is not None
    assert factor > 1
    size, found = round(factor * clips), 0
    for _ in range(400):
        drawn = sample(size)
        p, _ = paired_t(np.array([drawn.mean()]), (drawn - drawn.mean())[None] / size)
        found += p is not None and p * comparisons < ALPHA
    assert found / 400 == pytest.approx(0.8, abs=0.06)  # three standard errors


def test_more_clips_do_not_reduce_the_variance_of_training() -> None:
    comparison = Comparison("", 3, 0.02, 0.5, 0.5, "", Error(0.00001, 0.001, 2, 2))
    found = needed(comparison, 1, clips_only=False)
    assert found.clips is None
    assert found.repetitions == pytest.approx(0.001 / ((0.02 / (1.959964 + 0.841621)) ** 2 - 0.00001), rel=1e-5)
    assert needed(comparison, 1, clips_only=True).clips == pytest.approx(0.00101 / (0.02 / 2.801585) ** 2, rel=1e-5)
    assert found.both == pytest.approx(0.00101 / (0.02 / 2.801585) ** 2, rel=1e-5)
    same = Comparison("", 3, 0.0, 1.0, 1.0, "", Error(0.001, 0.001, 2, 2))
    assert needed(same, 1, clips_only=False).clips is None
