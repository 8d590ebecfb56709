"""Drawing of groups, and assignment of groups to parts."""

import numpy as np
import pytest

from audio_lightning.data.splitting.group_sampling import deal_groups, deal_singly, draw_groups, draw_singly


@pytest.mark.parametrize("fraction", [0.1, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_every_class_with_three_groups_is_drawn_from(fraction: float, seed: int) -> None:
    """Sixteen instruments with 3 to 10 notes, and different numbers of takes."""
    rng = np.random.RandomState(seed)
    notes = [(label, note) for label in range(16) for note in range(3 + label // 2)]
    counts = np.zeros((len(notes), 16), dtype=int)
    for row, (label, _) in enumerate(notes):
        counts[row, label] = rng.randint(2, 30)
    drawn = draw_groups(counts, fraction, rng)
    assert len(set(drawn)) == len(drawn)
    share = counts[drawn].sum(axis=0) / counts.sum(axis=0)
    assert (share > 0).all()
    assert share.max() < 0.6
    assert counts[drawn].sum() / counts.sum() == pytest.approx(fraction, abs=0.1)


def test_many_groups_of_many_classes_are_drawn_in_proportion() -> None:
    rng = np.random.RandomState(0)
    counts = rng.poisson(1.0, (5000, 10)) * (rng.uniform(size=10) < 0.7)
    share = counts[draw_groups(counts, 0.2, rng)].sum(axis=0) / np.maximum(1, counts.sum(axis=0))
    assert share[counts.sum(axis=0) > 0] == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_keeps_groups_for_the_other_parts(seed: int) -> None:
    """Two small groups are a fifth of the second class; the third class has two groups."""
    counts = np.zeros((26, 3), dtype=int)
    counts[:20, 0] = 10
    counts[20:23, 1] = 1, 1, 8
    counts[23:25, 2] = 2, 8
    counts[25, :] = 4, 0, 0
    drawn = draw_groups(counts, 0.2, np.random.RandomState(seed))
    left = np.setdiff1d(np.arange(26), drawn)
    assert ((counts[left] > 0).sum(axis=0) >= (2, 2, 1)).all()
    assert (counts[drawn, 1] > 0).sum() == 1


def test_last_groups_are_drawn_if_nothing_else_is_left() -> None:
    """Each group has a class of its own besides the shared ones, so some classes are only in the test part."""
    counts = np.column_stack([np.ones((15, 100), dtype=int), np.eye(15, dtype=int)])
    drawn = draw_groups(counts, 0.2, np.random.RandomState(0))
    assert counts[drawn].sum() / counts.sum() == pytest.approx(0.2, abs=0.08)


def test_missing_class_and_large_group() -> None:
    counts = np.array([[90, 0, 60], [3, 0, 2], [4, 0, 3], [3, 0, 4], [5, 0, 3], [4, 0, 2]])
    for seed in range(5):
        assert 0 not in draw_groups(counts, 0.2, np.random.RandomState(seed))
        parts = deal_groups(counts, 3, np.random.RandomState(seed))
        assert (parts[1:] != parts[0]).all()
        assert set(parts) == {0, 1, 2}


def test_as_many_parts_as_groups() -> None:
    counts = np.random.RandomState(0).randint(1, 40, (12, 3))
    assert sorted(deal_groups(counts, 12, np.random.RandomState(0))) == list(range(12))


def test_each_part_may_get_the_largest_group() -> None:
    counts = np.array([100, *range(1, 31)])[:, None]
    assert {int(deal_groups(counts, 3, np.random.RandomState(seed))[0]) for seed in range(20)} == {0, 1, 2}


def test_a_class_of_few_groups_gives_any_of_its_smaller_ones() -> None:
    counts = np.zeros((23, 2), dtype=int)
    counts[:20, 0] = 10
    counts[20:, 1] = 3, 3, 14
    seen = [draw_groups(counts, 0.05, np.random.RandomState(seed)) for seed in range(10)]
    assert {int(group) for drawn in seen for group in drawn if group >= 20} == {20, 21}


def test_clips_are_dealt_evenly() -> None:
    strata = np.random.RandomState(0).randint(4, size=403)
    dealt = deal_singly(strata, 7, np.random.RandomState(1))
    counts = np.zeros((7, 4), dtype=int)
    np.add.at(counts, (dealt, strata), 1)
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) == 1
    assert (dealt != deal_singly(strata, 7, np.random.RandomState(2))).mean() > 0.7


def test_one_clip_at_least_is_drawn_of_each_class_that_has_three() -> None:
    strata = np.repeat([0, 1, 2], [100, 3, 2])
    drawn = draw_singly(strata, 0.1, np.random.RandomState(0))
    assert np.bincount(strata[drawn], minlength=3).tolist() == [10, 1, 0]
