"""Multi-label metrics against scikit-learn, for several batch sizes; thresholds."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from audio_lightning.core.task import MULTILABEL_METRICS
from audio_lightning.metrics.base import EvaluationMetrics
from audio_lightning.metrics.multiclass import ClassificationMetrics
from audio_lightning.metrics.multilabel import MultilabelMetrics, average_precision, best_threshold


def multilabel_data(
    clips: int = 90, classes: int = 6, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits on a grid with many ties; no clip has the last two labels, and the logits of the last but one are low."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-6, 7, (clips, classes), generator=generator) / 3
    target = (torch.rand(clips, classes, generator=generator) < (logits / 4).sigmoid() * 0.8).float()
    target[:, -2:] = 0
    logits[:, -2] = -3
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return logits, target, losses.mean(1)


@pytest.mark.parametrize("thresholds", [None, [0.3, 0.5, 0.6, 0.4, 0.5, 0.9]], ids=["one half", "chosen"])
@pytest.mark.parametrize("batch", [90, 7, 1])
def test_multilabel_equal_to_scikit_learn_for_any_batch_size(batch: int, thresholds: list[float] | None) -> None:
    logits, target, loss = multilabel_data()
    metrics = MultilabelMetrics(6)
    if thresholds:
        metrics.thresholds = torch.tensor(thresholds)
    for parts in zip(logits.split(batch), target.split(batch), loss.split(batch)):
        metrics.update(*parts)
    found = {name: float(value) for name, value in metrics.compute().items()}
    probabilities, labels = logits.sigmoid().numpy(), target.numpy()
    guesses = probabilities >= np.array(thresholds or [0.5] * 6, dtype=np.float32)
    assert tuple(found) == MULTILABEL_METRICS
    precision = sklearn_metrics.average_precision_score(labels[:, :4], probabilities[:, :4], average=None)
    assert found["mean_average_precision"] == pytest.approx(precision.mean(), rel=1e-12)
    options = {"zero_division": np.nan}
    assert found["f1_macro"] == pytest.approx(sklearn_metrics.f1_score(labels, guesses, average="macro", **options))
    assert found["f1_micro"] == pytest.approx(sklearn_metrics.f1_score(labels, guesses, average="micro"))
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, guesses))
    assert found["loss"] == pytest.approx(float(loss.double().mean()), rel=1e-12)

    columns = {name: values.numpy() for name, values in metrics.per_class().items()}
    assert list(columns) == ["average_precision", "precision", "recall", "f1", "threshold", "clips"]
    np.testing.assert_allclose(columns["average_precision"], [*precision, np.nan, np.nan])
    expected = sklearn_metrics.precision_recall_fscore_support(labels, guesses, zero_division=0)
    for name, wanted in zip(("precision", "recall", "f1", "clips"), expected):
        np.testing.assert_allclose(columns[name], wanted)
    np.testing.assert_array_equal(columns["threshold"], metrics.thresholds)


def test_mean_over_no_class_is_nan() -> None:
    metrics = MultilabelMetrics(3)
    metrics.update(torch.full((4, 3), -2.0), torch.zeros(4, 3), torch.ones(4))
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert {name for name, value in found.items() if np.isnan(value)} == {
        "mean_average_precision",
        "f1_macro",
        "f1_micro",
    }
    assert found["accuracy"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_with_and_without_equal_scores(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for scores in (torch.rand(50, generator=generator), torch.randint(4, (50,), generator=generator) / 4):
        targets = torch.rand(50, generator=generator) < 0.3
        expected = sklearn_metrics.average_precision_score(targets.numpy(), scores.numpy())
        assert float(average_precision(scores, targets)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("values", [4, 15, 1000])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 1.0])
def test_best_threshold_has_the_highest_f1(values: int, share: float) -> None:
    generator = torch.Generator().manual_seed(values)
    scores = torch.randint(values + 1, (60,), generator=generator) / values
    targets = torch.rand(60, generator=generator) < (share if share == 1 else share * 2 * scores)
    targets[0] = True

    def f1(threshold: float) -> float:
        return float(sklearn_metrics.f1_score(targets.numpy(), (scores >= threshold).numpy()))

    everything = [0.0, *np.unique(scores.numpy()).tolist()]
    assert f1(float(best_threshold(scores, targets))) == max(map(f1, everything))


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 0.5),
        ([0.9, 0.7, 0.3], [1, 0, 0], 0.8),
        ([0.6, 0.6, 0.2], [1, 0, 1], 0.1),
        ([0.9, 0.3], [0, 0], 0.5),
        ([0.75, 0.5, 0.375], [1, 0, 1], 0.1875),
        # F1 is 2/3 at 0.85 and at 0.3, which is nearer to 0.5.
        ([0.9, 0.8, 0.5, 0.4, 0.2], [1, 0, 0, 1, 0], 0.3),
        # F1 is 2/3 at 0.75 and at 0.25.
        ([1.0, 0.5, 0.45, 0.375, 0.125], [1, 0, 0, 1, 0], 0.75),
    ],
)
def test_best_threshold_is_halfway_and_near_one_half(scores: list[float], targets: list[int], expected: float) -> None:
    found = best_threshold(torch.tensor(scores), torch.tensor(targets, dtype=torch.bool))
    assert float(found) == pytest.approx(expected)


def test_threshold_between_adjacent_floats_excludes_the_lower_one() -> None:
    lower = torch.tensor(0.3)
    upper = torch.nextafter(lower, torch.tensor(1.0))
    assert best_threshold(torch.stack([lower, upper]), torch.tensor([False, True])) == upper


@pytest.mark.parametrize(
    "metrics", [ClassificationMetrics(6), MultilabelMetrics(6)], ids=lambda value: type(value).__name__
)
def test_no_state_is_float64(metrics: EvaluationMetrics) -> None:
    logits, target, loss = multilabel_data()
    target = target if isinstance(metrics, MultilabelMetrics) else target.argmax(1)
    metrics.update(logits.double(), target, loss.double())
    states = [
        state for value in metrics.metric_state.values() for state in (value if isinstance(value, list) else [value])
    ]
    assert torch.float64 not in {state.dtype for state in states}


def test_metrics_are_nan_without_clips() -> None:
    for metrics in (ClassificationMetrics(2), MultilabelMetrics(2)):
        with pytest.warns(UserWarning, match="before the ``update`` method"):
            assert all(value.isnan() for value in metrics.compute().values())
