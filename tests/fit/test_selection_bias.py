"""Correction of selection bias, on generated predictions with known accuracy."""

import math
from dataclasses import replace

import numpy as np
import pytest
from generated_predictions import generated
from scipy.special import ndtr
from scipy.stats import norm

from audio_lightning.fit.ensemble_selection import SelectionSettings
from audio_lightning.fit.selection_bias import AfterSelection, bootstrap_groups, correct_for_selection

CHANCE = 0.25
ALONE, THREE, MANY = (SelectionSettings(max_members=most) for most in (1, 3, 20))


def covered(runs: list[AfterSelection], truth: float) -> float:
    return float(np.mean([run.low <= truth <= run.high for run in runs if run.low is not None]))


def noise(
    settings: SelectionSettings, runs: int, *, size: int = 1, within: float = 0.0, bootstraps: int = 100
) -> list[AfterSelection]:
    """20 candidates that guess the labels of 240 clips."""
    return [
        correct_for_selection(
            generated([0.0] * 20, 240, size=size, within=within, seed=seed), "accuracy", settings, bootstraps=bootstraps
        )
        for seed in range(runs)
    ]


@pytest.mark.parametrize("settings", [ALONE, THREE], ids=["best", "ensemble"])
def test_candidates_that_guess_have_chance_accuracy(settings: SelectionSettings) -> None:
    runs = noise(settings, 14)
    assert covered(runs, CHANCE) >= 0.92
    assert np.mean([run.mean for run in runs]) == pytest.approx(CHANCE, abs=0.015)
    assert np.mean([run.apparent for run in runs]) > CHANCE + 0.04
    assert np.mean([run.gap for run in runs]) > 0.04


@pytest.mark.full
@pytest.mark.parametrize("settings", [ALONE, THREE, MANY], ids=["best", "three", "many"])
@pytest.mark.parametrize("size", [1, 6])
def test_intervals_of_noise_cover_chance(settings: SelectionSettings, size: int) -> None:
    """In at least 92 of 100 runs."""
    assert covered(noise(settings, 100, size=size, within=0.6 if size > 1 else 0.0), CHANCE) >= 0.92


def test_groups_are_sampled_as_a_whole() -> None:
    """Clips of a group have their label and most of their logits in common, so that few results are independent."""
    of_groups = noise(ALONE, 20, size=12, within=0.9)
    assert covered(of_groups, CHANCE) >= 0.92
    assert {run.groups for run in of_groups} == {20}
    of_clips = []
    for seed in range(20):
        found = generated([0.0] * 20, 240, size=12, within=0.9, seed=seed)
        found = replace(found, clips=found.clips.assign(group=found.clips["path"]))
        of_clips.append(correct_for_selection(found, "accuracy", ALONE, bootstraps=200))
    assert np.mean([run.mean for run in of_clips]) > CHANCE + 0.05  # what is out of bag was seen in it
    assert covered(of_clips, CHANCE) < 0.75


def test_a_best_candidate_keeps_its_accuracy() -> None:
    signal = 2.5
    step = np.linspace(-8, 8, 20001)
    truth = float(np.trapezoid(norm.pdf(step - signal) * ndtr(step) ** 3, step))  # the label's is the largest of four
    runs = [
        correct_for_selection(generated([signal] + [0.3] * 9, 300, seed=seed), "accuracy", ALONE, bootstraps=200)
        for seed in range(40, 80)
    ]
    assert np.mean([run.mean for run in runs]) == pytest.approx(truth, abs=0.01)
    assert covered(runs, truth) >= 0.9
    assert np.mean([run.gap for run in runs]) < 0.005


def test_one_candidate_has_the_interval_of_its_groups() -> None:
    """Without a choice nothing is corrected, and the interval has the width of the binomial one."""
    run = correct_for_selection(generated([1.0], 400), "accuracy", ALONE, bootstraps=1000)
    assert run.mean == pytest.approx(run.apparent, abs=0.005)
    assert run.high - run.low == pytest.approx(2 * 1.96 * math.sqrt(run.mean * (1 - run.mean) / 400), rel=0.1)


@pytest.mark.parametrize(
    ("metric", "multilabel"),
    [("balanced_accuracy", False), ("f1_macro", False), ("loss", False), ("mean_average_precision", True)],
)
def test_every_metric_is_corrected_towards_the_worse(metric: str, multilabel: bool) -> None:
    found = generated([0.5] * 10, 120, multilabel=multilabel)
    run = correct_for_selection(found, metric, ALONE, bootstraps=200)
    assert run.low < run.mean < run.high
    assert run.gap < 0 if metric == "loss" else run.gap > 0
    low, high = run.gap_interval
    assert low < run.gap < high


def test_the_same_seed_gives_the_same_figure() -> None:
    found = generated([0.5] * 5, 60)
    first, again, other = (
        correct_for_selection(found, "accuracy", THREE, bootstraps=50, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_few_groups(groups: int) -> None:
    run = correct_for_selection(generated([1.0] * 3, 12, size=12 // groups), "accuracy", ALONE, bootstraps=50)
    assert run.groups == groups
    if groups == 1:
        assert run.low is run.high is run.gap_interval is None
        assert math.isnan(run.mean)
    else:
        assert 0 <= run.low <= run.mean <= run.high <= 1


def test_perfect_candidates_have_an_interval() -> None:
    run = correct_for_selection(generated([50.0] * 3, 40), "accuracy", THREE, bootstraps=50)
    assert (run.apparent, run.mean, run.high) == (1, 1, 1)
    assert 0.8 < run.low < 1


def test_a_group_is_left_out_of_every_bootstrap() -> None:
    drawn = bootstrap_groups(3, 500, np.random.default_rng(0))
    assert (drawn.sum(axis=1) == 3).all()
    assert (drawn == 0).any(axis=1).all()
