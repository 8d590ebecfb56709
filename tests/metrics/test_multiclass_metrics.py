"""Single-label metrics against scikit-learn, for several batch sizes."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from audio_lightning.core.task import METRICS
from audio_lightning.metrics.multiclass import ClassificationMetrics


def data(clips: int, classes: int, present: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(clips, classes, generator=generator)
    target = torch.randint(present, (clips,), generator=generator)
    return logits, target, torch.nn.functional.cross_entropy(logits, target, reduction="none")


@pytest.mark.parametrize("present", [7, 4], ids=["every class occurs", "some classes never occur"])
@pytest.mark.parametrize("batch", [100, 7, 1])
def test_equal_to_scikit_learn_for_any_batch_size(present: int, batch: int) -> None:
    logits, target, loss = data(100, 7, present)
    metrics = ClassificationMetrics(7)
    for parts in zip(logits.split(batch), target.split(batch), loss.split(batch)):
        metrics.update(*parts)
    found = {name: float(value) for name, value in metrics.compute().items()}
    guess = logits.argmax(1).numpy()
    label = target.numpy()
    assert tuple(found) == METRICS
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(label, guess))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # about predictions of classes without clips
        assert found["balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(label, guess))
    assert found["f1_macro"] == pytest.approx(sklearn_metrics.f1_score(label, guess, average="macro"))
    assert found["loss"] == pytest.approx(float(loss.mean()), rel=1e-6)


def test_per_class() -> None:
    logits, target, loss = data(60, 5, 4)
    metrics = ClassificationMetrics(5)
    metrics.update(logits, target, loss)
    expected = sklearn_metrics.precision_recall_fscore_support(
        target.numpy(), logits.argmax(1).numpy(), labels=range(5), zero_division=0
    )
    for found, wanted in zip(metrics.per_class().values(), expected):
        np.testing.assert_allclose(found.numpy(), wanted)


def test_reset_clears_the_state() -> None:
    metrics = ClassificationMetrics(5)
    metrics.update(*data(10, 5, 5))
    metrics.reset()
    metrics.update(*data(20, 5, 5, seed=1))
    assert metrics.confusion.sum() == 20
