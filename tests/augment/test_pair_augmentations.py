"""Exact effects of mixing on clips and targets."""

import math

import pytest
import torch
from torch import Tensor

from audio_lightning.augment import PairAugmentation
from audio_lightning.augment.between_class import BetweenClass, a_weighting
from audio_lightning.augment.cutmix import CutMix
from audio_lightning.augment.mixup import Mixup
from audio_lightning.core.errors import ConfigError

RATE = 8000
MIXING = [Mixup, CutMix, BetweenClass]
each = pytest.mark.parametrize("cls", MIXING, ids=lambda cls: cls.__name__)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def made(cls: type[PairAugmentation], **options: object) -> PairAugmentation:
    return cls(sample_rate=RATE, **{"p": 1.0, **options})  # type: ignore[arg-type]


@each
def test_soft_targets_name_the_clip_and_one_other_and_sum_to_one(cls: type[PairAugmentation]) -> None:
    _, target = made(cls)(torch.randn(64, 2000), torch.eye(64))

    torch.testing.assert_close(target.sum(dim=1), torch.ones(64))
    assert (target >= 0).all()
    others = target.clone().fill_diagonal_(0)
    assert (others > 0).sum(dim=1).max() == 1
    assert others.amax(dim=0).count_nonzero() == others.amax(dim=1).count_nonzero(), "each is the other one of one clip"
    assert others.count_nonzero() > 32


@each
def test_mixed_multilabel_targets_stay_between_0_and_1(cls: type[PairAugmentation]) -> None:
    labels = (torch.rand(64, 10) < 0.3).float()
    labels[:, 0] = 1
    labels[:, 1] = 0

    _, target = made(cls)(torch.randn(64, 2000), labels)

    torch.testing.assert_close(target[:, 0], torch.ones(64))
    assert not target[:, 1].any()
    assert target.min() >= 0
    assert target.max() <= 1 + 1e-6
    assert ((target > 0.01) & (target < 0.99)).any()


@each
def test_mixed_targets_may_be_mixed_again(cls: type[PairAugmentation]) -> None:
    x, target = made(cls)(*made(cls)(torch.randn(16, 2000), torch.eye(16)))

    torch.testing.assert_close(target.sum(dim=1), torch.ones(16))
    assert x.isfinite().all()


@each
def test_only_the_clips_that_are_drawn_are_mixed(cls: type[PairAugmentation]) -> None:
    x = torch.randn(400, 50)

    mixed, target = made(cls, p=0.3)(x, torch.eye(400))

    kept = target.diagonal() == 1
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.1)
    assert torch.equal(mixed[kept], x[kept])


@pytest.mark.parametrize("shape", [(400,), (1, 400), (2, 40, 10)], ids=str)
def test_mixup_weights_clips_and_targets_equally(shape: tuple[int, ...]) -> None:
    x = torch.randn(32, *shape)

    mixed, target = made(Mixup, alpha=1.0)(x, torch.eye(32))

    torch.testing.assert_close(mixed.flatten(1), target @ x.flatten(1))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_weights_follow_the_beta_distribution(alpha: float) -> None:
    _, target = made(Mixup, alpha=alpha)(torch.zeros(3000, 1), torch.eye(3000))

    weights = target.diagonal()
    assert weights.mean().item() == pytest.approx(0.5, abs=0.02)
    assert weights.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize("shape", [(200,), (2, 8, 200)], ids=str)
def test_cutmix_replaces_one_segment_and_weights_targets_by_its_length(shape: tuple[int, ...]) -> None:
    # Every value identifies its clip.
    x = torch.arange(64.0).view(-1, *[1] * len(shape)).expand(-1, *shape)

    mixed, target = made(CutMix)(x, torch.eye(64))

    flat = mixed.reshape(64, -1, 200)
    assert torch.equal(flat, flat[:, :1].expand_as(flat)), "the same stretch in all channels and bins"
    for clip, source in enumerate(flat[:, 0].long()):
        torch.testing.assert_close(target[clip], source.bincount(minlength=64) / 200)
        other = source != clip
        assert (other.int().diff() > 0).sum() + other[0].int() <= 1, "one stretch"


def test_between_class_mixes_by_the_published_formula() -> None:
    x = torch.randn(32, RATE) * torch.logspace(-2, 0, 32)[:, None]
    module = made(BetweenClass)
    assert isinstance(module, BetweenClass)

    mixed, target = module(x, torch.eye(32))

    loudness = module.loudness(x).double()
    partner = target.clone().fill_diagonal_(0).argmax(dim=1)
    for clip, other in enumerate(partner.tolist()):
        r = target[clip, clip].item()
        p = 1 / (1 + 10 ** ((loudness[clip] - loudness[other]).item() / 20) * (1 - r) / r)
        expected = (p * x[clip] + (1 - p) * x[other]) / math.sqrt(p**2 + (1 - p) ** 2)
        torch.testing.assert_close(mixed[clip], expected, atol=1e-4, rtol=1e-3)


def test_the_ratios_of_between_class_are_uniform() -> None:
    _, target = made(BetweenClass)(torch.zeros(3000, 10), torch.eye(3000))

    ratios = target.diagonal()
    assert ratios.mean().item() == pytest.approx(1 / 2, abs=0.02)
    assert ratios.var().item() == pytest.approx(1 / 12, rel=0.1)


def test_loudness_is_a_weighted_maximum() -> None:
    module = BetweenClass(sample_rate=RATE, p=1.0)

    def tone(hertz: float) -> Tensor:
        return torch.sin(2 * math.pi * hertz * torch.arange(RATE) / RATE)

    kilohertz, low, half = module.loudness(torch.stack([tone(1000), tone(125), tone(1000)])).tolist()
    assert low - kilohertz == pytest.approx(-16.1, abs=0.1), "the standard's figure"
    once = tone(1000)
    once[4000:] = 0
    assert module.loudness(once[None]).item() == pytest.approx(half, abs=0.1)
    assert module.loudness(torch.zeros(1, RATE)).item() == pytest.approx(-80)


STANDARD = {
    31.5: -39.4,
    63: -26.2,
    125: -16.1,
    250: -8.6,
    500: -3.2,
    1000: 0,
    2000: 1.2,
    4000: 1,
    8000: -1.1,
    16000: -6.6,
}


@pytest.mark.parametrize(("hertz", "decibels"), STANDARD.items())
def test_the_weighting_is_that_of_the_standard(hertz: float, decibels: float) -> None:
    exact = 1000 * 10 ** (round(10 * math.log10(hertz / 1000)) / 10)  # the table has rounded frequencies
    weights = a_weighting(480_000, 48_000)

    assert 10 * math.log10(weights[round(10 * exact)]) == pytest.approx(decibels, abs=0.06)


@pytest.mark.parametrize(("rate", "n_fft"), [(8000, 1024), (16000, 2048), (20000, 2048), (22050, 2048), (44100, 4096)])
def test_the_frames_of_loudness_are_about_a_tenth_of_a_second(rate: int, n_fft: int) -> None:
    assert BetweenClass(sample_rate=rate).n_fft == n_fft


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Mixup, {"alpha": 0.0}, "alpha is 0.0, expected a number greater than 0"),
        (CutMix, {"alpha": -1.0}, "alpha is -1.0, expected a number greater than 0"),
        (Mixup, {"domain": "spectrogram"}, "domain is 'spectrogram', expected one of: waveform, features"),
    ],
    ids=str,
)
def test_invalid_options_are_explained(cls: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cls(sample_rate=RATE, **options)
