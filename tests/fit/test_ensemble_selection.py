"""Greedy ensemble selection."""

from dataclasses import replace

import numpy as np
import pytest
from generated_predictions import generated

from audio_lightning.fit.ensemble_selection import Library, SelectionSettings, combined, select_ensemble
from audio_lightning.fit.group_scores import GroupScores
from audio_lightning.fit.settings import METRICS

SUPPORTED = [(metric, multilabel) for multilabel in METRICS for metric in METRICS[multilabel]]


@pytest.mark.parametrize(("metric", "multilabel"), SUPPORTED)
def test_one_member_is_the_best_candidate(metric: str, multilabel: bool) -> None:
    found = select_ensemble(generated([0.5, 2.0, 1.0], multilabel=multilabel), metric, SelectionSettings(max_members=1))
    assert found.weights == {"candidate 01": 1.0}
    assert found.score == pytest.approx(found.single["candidate 01"])


@pytest.mark.parametrize(("metric", "multilabel"), SUPPORTED)
def test_candidates_that_err_independently_are_better_together(metric: str, multilabel: bool) -> None:
    predictions = generated([1.0] * 6 + [0.0], 300, multilabel=multilabel)
    scores = [select_ensemble(predictions, metric, SelectionSettings(max_members=most)).score for most in (1, 2, 3, 7)]
    assert scores == sorted(scores, reverse=metric == "loss")
    assert len(set(scores)) == 4


def test_max_members_and_weights() -> None:
    predictions = generated([1.0] * 8, 300)
    found = select_ensemble(predictions, "accuracy", SelectionSettings(max_members=3, rounds=10, initial=5))
    assert len(found.weights) == 3
    assert sum(found.weights.values()) == pytest.approx(1)
    assert list(found.weights.values()) == sorted(found.weights.values(), reverse=True)


def test_the_score_is_that_of_the_weighted_mean() -> None:
    predictions = generated([1.0, 0.8, 0.9], 300)
    found = select_ensemble(predictions, "accuracy", SelectionSettings(max_members=3))
    right = combined(predictions, found).argmax(axis=1) == predictions.targets.argmax(axis=1)
    assert found.score == pytest.approx(right.mean())


@pytest.mark.parametrize("settings", [SelectionSettings(3, 8, 1), SelectionSettings(4, 6, 3)])
def test_selection_equals_a_reference_implementation(settings: SelectionSettings) -> None:
    """Against one that adds candidates one by one, as it is written there."""
    predictions = generated([1.0, 0.9, 0.8, 1.0, 0.7], 150, seed=3)
    assert select_ensemble(predictions, "accuracy", settings).weights == written_out(predictions, settings)


def written_out(predictions, settings: SelectionSettings) -> dict[str, float]:  # type: ignore[no-untyped-def]
    label = predictions.targets.argmax(axis=1)

    def accuracy(members: list[int]) -> float:
        return float((predictions.probabilities[members].sum(axis=0).argmax(axis=1) == label).mean())

    order = sorted(range(len(predictions.candidates)), key=lambda place: (-accuracy([place]), place))
    starts = [order[: size + 1] for size in range(min(settings.initial, settings.max_members))]
    best = members = max(starts, key=lambda members: (accuracy(members), -len(members)))
    while len(members) < settings.rounds:
        full = len(set(members)) >= settings.max_members
        allowed = sorted(set(members)) if full else range(len(predictions.candidates))
        members = max(([*members, place] for place in allowed), key=lambda grown: (accuracy(grown), -grown[-1]))
        if accuracy(members) > accuracy(best):
            best = members
    counts = np.bincount(best, minlength=len(predictions.candidates))
    return {predictions.candidates[place]: counts[place] / len(best) for place in np.argsort(-counts, kind="stable")
            if counts[place]}  # fmt: skip


def test_the_first_of_equal_candidates_is_chosen() -> None:
    predictions = generated([1.0], 100)
    same = replace(
        predictions, candidates=("a", "b", "c"), probabilities=np.repeat(predictions.probabilities, 3, axis=0)
    )
    assert select_ensemble(same, "accuracy", SelectionSettings(max_members=3)).weights == {"a": 1.0}


def test_total_cost_is_limited() -> None:
    predictions = generated([1.2, 1.0, 1.0, 0.9, 0.2], 300)
    names = predictions.candidates
    free = select_ensemble(predictions, "accuracy", SelectionSettings(max_members=5))
    assert len(free.weights) >= 3
    costs = (5.0, 2.0, 2.0, 1.5, 1.0)
    found = select_ensemble(predictions, "accuracy", SelectionSettings(5, costs=costs, most_cost=4.0))
    assert len(found.weights) == 2
    assert sum(costs[names.index(name)] for name in found.weights) <= 4.0
    only = select_ensemble(predictions, "accuracy", SelectionSettings(5, costs=costs, most_cost=1.2))
    assert only.weights == {names[4]: 1.0}
    ample = SelectionSettings(5, costs=costs, most_cost=11.5)
    assert select_ensemble(predictions, "accuracy", ample).weights == free.weights


@pytest.mark.parametrize("most", [1, 3])
def test_samples_are_independent(most: int) -> None:
    predictions = generated([1.0] * 4, 80)
    library = Library(predictions.probabilities, GroupScores("accuracy", predictions.targets, predictions.group))
    weights = np.random.default_rng(0).integers(0, 3, size=(20, 80)).astype(float)
    settings = SelectionSettings(max_members=most)
    together = library.select(weights, settings)
    alone = np.concatenate([library.select(weights[[place]], settings) for place in range(20)])
    assert (together == alone).all()
    assert len(np.unique(together, axis=0)) >= 2
