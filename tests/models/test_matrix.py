"""Every model on every feature: compatible pairs train, all others are refused in one line."""

from functools import cache
from typing import Any

import choices
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from audio_lightning.classifier.catalog import cells
from audio_lightning.config import choices as names
from audio_lightning.core.task import AudioTask, FeatureShape
from audio_lightning.models import IncompatibleInput

RATE = 16000
NUM_CLASSES = 3
TASK = AudioTask(("a", "b", "c"), RATE, RATE)

NO_SOUND = [
    (feature, model) for feature in ("embedding", "spectrogram_flat") for model in ("published", "sincnet", "wav2vec2")
]
"""Vector features, and models that accept true waveforms only."""

NARROW: dict[str, dict[str, Any]] = {
    "ast": {"embed_dim": 24, "num_layers": 2, "num_heads": 2},
    "wav2vec2": {"embed_dim": 32, "num_layers": 2, "num_heads": 2, "channels": 16},
}
"""Smaller sizes of slow models, which do not affect compatibility."""


@cache
def features(name: str) -> tuple[FeatureShape, Tensor]:
    """The output of a front end for two clips of one second."""
    front_end = choices.front_end(name, sample_rate=RATE, num_samples=RATE)
    waveforms = 0.1 * torch.randn(2, RATE, generator=torch.Generator().manual_seed(0))
    if front_end.needs_statistics:
        front_end.fit([waveforms])
    return front_end.output_shape, front_end(waveforms)


@pytest.mark.full
@pytest.mark.parametrize("feature", names("feature"))
@pytest.mark.parametrize("model", names("model"))
def test_compatible_pairs_train_and_others_are_refused(model: str, feature: str) -> None:
    kind, minimum = choices.smallest(model)
    shape, x = features(feature)
    (cell,) = cells([feature], [model], TASK, [])
    if cell.reason is not None:
        with pytest.raises(IncompatibleInput, match=r"^[^\n]+ (takes a|needs at least) [^\n]+$") as raised:
            choices.model(model, shape)
        assert cell.reason.startswith(str(raised.value)), "behind it are settings that would do"
        assert (
            shape.kind != kind
            or any(found < needed for found, needed in zip(shape.dims[1:], minimum))
            or (feature, model) in NO_SOUND
        )
        return
    assert cell.shape == shape

    torch.manual_seed(0)
    network = choices.model(model, shape, num_classes=NUM_CLASSES, **NARROW.get(model, {})).train()
    target = torch.tensor([0, 2])
    logits = choices.memorized(network, torch.cat([x, x.flip(0)]), torch.cat([target, target]))(x)
    functional.cross_entropy(logits, target).backward()

    assert logits.shape == (2, NUM_CLASSES)
    assert logits.isfinite().all()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)
