"""Cached features equal computed ones."""

import pytest
import torch

from audio_lightning.features.memory import FeatureMemory

CLIPS, LENGTH = 12, 5
WAVEFORMS = torch.randn(CLIPS, LENGTH, generator=torch.Generator().manual_seed(0))
GB_A_CLIP = 4 * LENGTH / 1e9


class Doubled:
    """A front end that counts its inputs."""

    def __init__(self) -> None:
        self.computed = 0

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        self.computed += len(waveform)
        return 2 * waveform[:, None]


def fixed(*other: int) -> torch.Tensor:
    return torch.tensor([number not in other for number in range(CLIPS)])


@pytest.mark.parametrize(
    ("memory", "in_second_epoch"),
    [
        (FeatureMemory(fixed(), 1.0), 0),
        (FeatureMemory(fixed(2, 7), 1.0), 2),
        (FeatureMemory(fixed(), 9.5 * GB_A_CLIP), 3),
        (FeatureMemory(fixed(), 0.5 * GB_A_CLIP), CLIPS),
        (FeatureMemory(fixed(*range(CLIPS)), 1.0), CLIPS),
    ],
    ids=["room for all", "some change", "room for some", "room for none", "all change"],
)
def test_later_epochs_compute_only_features_that_are_not_cached(memory: FeatureMemory, in_second_epoch: int) -> None:
    compute = Doubled()
    generator = torch.Generator().manual_seed(1)
    for epoch in range(3):
        compute.computed = 0
        for clip in torch.randperm(CLIPS, generator=generator).split(5):
            torch.testing.assert_close(
                memory(clip, WAVEFORMS[clip], compute), 2 * WAVEFORMS[clip][:, None], rtol=0, atol=0
            )
        assert compute.computed == (in_second_epoch if epoch else CLIPS)


def test_a_clip_may_come_twice_in_a_batch() -> None:
    memory, compute = FeatureMemory(fixed(), 1.0), Doubled()
    for clip in (torch.tensor([3, 3, 1]), torch.tensor([1, 4, 4, 3])):
        torch.testing.assert_close(memory(clip, WAVEFORMS[clip], compute), 2 * WAVEFORMS[clip][:, None])
    assert compute.computed == 3 + 2


def test_changing_returned_features_does_not_change_the_cache() -> None:
    memory, compute = FeatureMemory(fixed(), 1.0), Doubled()
    clip = torch.tensor([0, 1])
    for _ in range(3):
        features = memory(clip, WAVEFORMS[clip], compute)
        torch.testing.assert_close(features, 2 * WAVEFORMS[clip][:, None])
        features.zero_()
