"""Exact effects of single augmentations of spectrograms."""

import pytest
import torch
from torch import Tensor

from audio_lightning.augment.frequency_shift import FrequencyShift
from audio_lightning.augment.spec_augment import SpecAugment
from audio_lightning.core.errors import ConfigError

RATE = 8000


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def pictures(clips: int = 1000, bins: int = 40, frames: int = 100) -> Tensor:
    return torch.randn(clips, 2, bins, frames)


def masked(x: Tensor, **options: object) -> Tensor:
    """Mask of the cells that an augmentation masks, [B, F, N]."""
    usual: dict[str, object] = {"n_freq_masks": 0, "n_time_masks": 0, "p": 1.0}
    hidden = SpecAugment(sample_rate=RATE, **{**usual, **options})(x) != x
    assert torch.equal(hidden[:, 0], hidden[:, 1]), "all channels behind the same stripes"
    return hidden[:, 0]


def is_one_stripe(hidden: Tensor) -> bool:
    """Whether each row of [B, size] has at most one run of True."""
    return bool((hidden.int().diff(dim=1) > 0).sum(dim=1).add(hidden[:, 0]).max() <= 1)


@pytest.mark.parametrize(("axis", "size"), [("freq", 40), ("time", 100)])
def test_mask_width_is_bounded_and_position_is_uniform(axis: str, size: int) -> None:
    options = {f"n_{axis}_masks": 1, f"{axis}_mask_param": 7, "time_fraction": 1.0}

    hidden = masked(pictures(), **options)

    stripes = hidden.any(dim=1 if axis == "time" else 2)
    assert torch.equal(hidden, (stripes[:, None] if axis == "time" else stripes[:, :, None]).expand_as(hidden))
    assert is_one_stripe(stripes)
    widths = stripes.sum(dim=1)
    assert widths.bincount().tolist() == pytest.approx([1000 / 8] * 8, rel=0.35)
    assert stripes.any(dim=0).all(), "every place is hidden at some time"


def test_masks_are_filled_with_the_mean_of_the_clip() -> None:
    x = pictures(8) + torch.arange(8)[:, None, None, None]

    changed = SpecAugment(sample_rate=RATE, p=1.0)(x)

    mean = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    hidden = changed != x
    assert hidden.any()
    torch.testing.assert_close(changed[hidden], mean[hidden], atol=0, rtol=0)


def test_masks_are_filled_with_the_given_value() -> None:
    x = torch.randn(4, 1, 40, 60)
    changed = SpecAugment(sample_rate=RATE, fill=0.615, p=1.0)(x)
    hidden = changed != x
    assert hidden.any()
    assert (changed[hidden] == 0.615).all()


def test_number_of_masks() -> None:
    hidden = masked(pictures(bins=400), n_freq_masks=3, freq_mask_param=4).any(dim=2)

    runs = (hidden.int().diff(dim=1) > 0).sum(dim=1) + hidden[:, 0]
    assert runs.max() == 3
    assert hidden.sum(dim=1).max() > 8


def test_a_fraction_of_the_frames_is_never_exceeded() -> None:
    hidden = masked(pictures(frames=50), n_time_masks=1, time_mask_param=30, time_fraction=0.1)

    assert hidden.any(dim=1).sum(dim=1).max() == 5


def test_masks_are_not_wider_than_the_spectrogram() -> None:
    hidden = masked(pictures(bins=3), n_freq_masks=1, freq_mask_param=100)

    assert set(hidden.any(dim=2).sum(dim=1).tolist()) == {0, 1, 2, 3}


def test_zero_masks_change_nothing() -> None:
    assert not masked(pictures()).any()
    assert not masked(pictures(), n_freq_masks=2, freq_mask_param=0, n_time_masks=2, time_mask_param=0).any()


def test_frequencies_move_by_whole_bins_and_the_outermost_is_repeated() -> None:
    x = torch.arange(10.0)[None, None, :, None].expand(700, 2, 10, 5)

    shifted = FrequencyShift(sample_rate=RATE, max_bins=3, p=1.0)(x)

    amounts = (5 - shifted[:, 0, 5, 0]).long()
    assert (amounts + 3).bincount().tolist() == pytest.approx([100] * 7, rel=0.35)
    for amount in range(-3, 4):
        expected = (torch.arange(10.0) - amount).clamp(0, 9)[None, :, None].expand(2, 10, 5)
        assert torch.equal(shifted[amounts == amount][0], expected)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (SpecAugment, {"n_freq_masks": -1}, "n_freq_masks is -1, expected at least 0"),
        (SpecAugment, {"time_mask_param": -1}, "time_mask_param is -1, expected at least 0"),
        (SpecAugment, {"time_fraction": 1.5}, "time_fraction is 1.5, expected a number from 0 to 1"),
        (FrequencyShift, {"max_bins": 0}, "max_bins is 0, expected at least 1"),
    ],
    ids=str,
)
def test_invalid_options_are_explained(cls: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cls(sample_rate=RATE, **options)
