"""Coverage of confidence intervals for accuracy."""

import math

import numpy as np
import pytest

from audio_lightning.training.intervals import (
    accuracy_interval,
    balanced_accuracy_interval,
    difference_interval,
    jackknife_interval,
    wilson,
)

ROUNDS = 400


def drawn(
    rng: np.random.Generator, groups: int, clips: int, correlation: float, accuracy: float
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate correct and wrong clips in groups of about ``clips``, each group with its own accuracy."""
    sizes = np.maximum(1, rng.poisson(clips, groups)) if clips > 1 else np.ones(groups, dtype=int)
    group = np.repeat(np.arange(groups), sizes)
    strength = 1 / correlation - 1 if correlation else None
    own = rng.beta(accuracy * strength, (1 - accuracy) * strength, groups) if strength else np.full(groups, accuracy)
    return rng.random(len(group)) < own[group], group


@pytest.mark.parametrize("accuracy", [0.6, 0.9, 0.97])
@pytest.mark.parametrize(
    ("groups", "clips", "correlation"),
    [(10, 10, 0.6), (20, 5, 0.2), (50, 4, 0.6), (60, 1, 0.0)],
)
def test_coverage_is_at_least_what_is_said(groups: int, clips: int, correlation: float, accuracy: float) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(ROUNDS):
        found = accuracy_interval(*drawn(rng, groups, clips, correlation, accuracy))
        assert found is not None
        covered.append(found.low <= accuracy <= found.high)
    # 400 rounds have a standard deviation of 0.01.
    assert np.mean(covered) >= 0.93


def test_clips_of_a_group_do_not_count_as_independent() -> None:
    rng = np.random.default_rng(0)
    covered = [wilson(correct.mean(), len(correct)) for correct, _ in (drawn(rng, 20, 5, 0.6, 0.9) for _ in range(300))]
    assert np.mean([low <= 0.9 <= high for low, high in covered]) < 0.8


@pytest.mark.parametrize("nested", [True, False])
def test_coverage_of_balanced_accuracy(nested: bool) -> None:
    rng = np.random.default_rng(1)
    recall = np.array([0.5, 0.7, 0.95])
    odds = np.log(recall / (1 - recall))
    covered = []
    for _ in range(ROUNDS):
        group = np.repeat(np.arange(30), 6)
        target = (group % 3) if nested else rng.integers(0, 3, len(group))
        luck = rng.normal(0, 0.5, 30)[group]  # of a group, in units of log-odds
        right = 1 / (1 + np.exp(-odds[target] - luck))
        found = balanced_accuracy_interval(rng.random(len(group)) < right, target, group)
        assert found is not None
        covered.append((found.low, found.high))
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    chance = weights / math.sqrt(2 * math.pi)
    true = np.mean([np.sum(chance / (1 + np.exp(-one - 0.5 * nodes))) for one in odds])
    assert np.mean([low <= true <= high for low, high in covered]) >= 0.93


def test_clips_that_are_groups_of_their_own_have_the_interval_of_wilson() -> None:
    correct = np.arange(50) < 40
    found = accuracy_interval(correct, np.arange(50))
    assert found is not None
    low, high = wilson(0.8, 50)
    assert (found.low, found.high, found.groups) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3), 50)
    assert wilson(0.8, 50) == (pytest.approx(0.6696, abs=1e-4), pytest.approx(0.8876, abs=1e-4))  # the textbook's


def test_the_variance_is_that_of_a_bootstrap_over_groups() -> None:
    rng = np.random.default_rng(2)
    correct, group = drawn(rng, 400, 5, 0.5, 0.7)
    right, clips = np.bincount(group, weights=correct), np.bincount(group)
    times = rng.multinomial(400, np.full(400, 1 / 400), size=4000)
    deviation = ((times @ right) / (times @ clips)).std()
    found = accuracy_interval(correct, group)
    assert found is not None
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize("right", [True, False])
def test_all_correct_or_all_wrong_has_an_interval(right: bool) -> None:
    correct, group = np.full(100, right), np.repeat(np.arange(10), 10)
    found = accuracy_interval(correct, group)
    assert found is not None
    expected = (0.66, 1.0) if right else (0.0, 0.34)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.01)


def test_one_group_has_no_interval() -> None:
    assert accuracy_interval(np.array([True, False]), np.zeros(2, int)) is None


@pytest.mark.parametrize(("groups", "clips"), [(10, 10), (50, 4), (60, 1)])
@pytest.mark.parametrize(("before", "kept"), [(0.9, 0.7), (0.97, 0.95)])
def test_coverage_of_paired_differences(groups: int, clips: int, before: float, kept: float) -> None:
    """Of the clips that were right, some stay right, more in some groups than in others."""
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(ROUNDS):
        first, group = drawn(rng, groups, clips, 0.6 if clips > 1 else 0.0, before)
        stays = rng.random(len(group)) < rng.beta(kept * 2, (1 - kept) * 2, groups)[group]
        found = difference_interval((first & stays).astype(float) - first, group)
        assert found is not None
        covered.append(found.low <= before * (kept - 1) <= found.high)
    assert np.mean(covered) >= 0.92


def test_ten_clips_that_agree_do_not_prove_that_all_do() -> None:
    found = difference_interval(np.zeros(10), np.arange(10))
    assert found is not None
    assert found.low < -0.1 < 0.1 < found.high
    assert difference_interval(np.zeros(10), np.zeros(10)) is None


def test_the_jackknife_of_a_mean_is_its_t_interval() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=40)
    found = jackknife_interval(lambda some: float(values[some].mean()), np.arange(40))
    half = 2.0227 * values.std(ddof=1) / math.sqrt(40)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-4)


def test_the_jackknife_leaves_groups_out_as_a_whole() -> None:
    rng = np.random.default_rng(3)
    values, group = np.repeat(rng.normal(size=30), 5), np.repeat(np.arange(30), 5)
    together = jackknife_interval(lambda some: float(values[some].mean()), group)
    alone = jackknife_interval(lambda some: float(values[some].mean()), np.arange(150))
    assert together is not None
    assert alone is not None
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert jackknife_interval(lambda some: float("nan"), group) is None
    assert jackknife_interval(lambda some: 0.5, np.zeros(5)) is None
