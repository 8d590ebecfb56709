"""Scores of groups agree with scikit-learn on repeated clips."""

import numpy as np
import pytest
from generated_predictions import generated
from sklearn import metrics

from audio_lightning.core.errors import ConfigError
from audio_lightning.fit.group_scores import GroupScores
from audio_lightning.fit.settings import METRICS


@pytest.mark.parametrize(
    ("metric", "multilabel"), [(metric, multilabel) for multilabel in METRICS for metric in METRICS[multilabel]]
)
def test_scores_of_samples_are_those_of_repeated_clips(metric: str, multilabel: bool) -> None:
    found = generated([0.5, 1.0], 60, size=2, multilabel=multilabel)
    rounded = found.probabilities.round(1) if metric == "mean_average_precision" else found.probabilities  # with ties
    scores = GroupScores(metric, found.targets, found.group, multilabel=multilabel)
    weights = np.random.default_rng(0).integers(0, 3, size=(4, 30)).astype(float)
    values = scores.of(np.moveaxis(rounded, -1, 0))(weights)
    assert values.shape == (4, 2)
    for sample, row in zip(weights, values):
        clips = np.repeat(np.arange(60), sample[found.group].astype(int))
        for chances, value in zip(rounded[:, clips], row):
            assert value == pytest.approx(reference(metric, found.targets[clips], chances, multilabel), abs=1e-6)


def reference(metric: str, targets: np.ndarray, chances: np.ndarray, multilabel: bool) -> float:
    label, predicted = targets.argmax(axis=1), chances.argmax(axis=1)
    match metric:
        case "accuracy":
            return float(metrics.accuracy_score(label, predicted))
        case "balanced_accuracy":
            return float(metrics.recall_score(label, predicted, labels=np.unique(label), average="macro"))
        case "f1_macro":
            return float(metrics.f1_score(label, predicted, average="macro"))
        case "loss" if multilabel:
            return -float(np.mean([metrics.log_loss(t, p, labels=[0, 1]) for t, p in zip(targets.T, chances.T)]))
        case "loss":
            return -float(metrics.log_loss(label, chances / chances.sum(axis=1, keepdims=True), labels=range(4)))
        case _:
            return float(metrics.average_precision_score(targets, chances, average="macro"))


@pytest.mark.parametrize("classes", [3, 200])
def test_the_first_class_wins_a_tie(classes: int) -> None:
    targets = np.eye(classes, dtype=bool)[[0, classes - 1]]
    chances = np.full((classes, 1, 2), 1 / classes)
    scores = GroupScores("accuracy", targets, np.arange(2))
    assert scores.of(chances)(np.eye(2)).tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize(("metric", "multilabel"), [("accuracy", True), ("mean_average_precision", False)])
def test_other_metrics_are_refused_with_the_choices(metric: str, multilabel: bool) -> None:
    found = generated([0.5], multilabel=multilabel)
    with pytest.raises(ConfigError, match=f"metric={metric}: .* one of .*loss"):
        GroupScores(metric, found.targets, found.group, multilabel=multilabel)
