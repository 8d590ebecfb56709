"""Contract tests of every class in audio_lightning/augment."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import audio_lightning.augment
from audio_lightning.augment import PairAugmentation, SpectrogramAugmentation, WaveformAugmentation
from audio_lightning.augment.recorded import RecordedAugmentation
from audio_lightning.core.errors import ConfigError

SAMPLE_RATE = 8000
CLIPS = 16
KINDS = (WaveformAugmentation, SpectrogramAugmentation, PairAugmentation)

ALWAYS_THE_SAME = {
    "Polarity": "there is one way to invert a clip",
    "MuLaw": "there is one way to round a sample",
}
"""Augmentations whose only random choice is that of the clips."""


def every_augmentation() -> list[type]:
    folder = Path(audio_lightning.augment.__file__).parent
    modules = [import_module(f"audio_lightning.augment.{path.stem}") for path in sorted(folder.glob("[!_]*.py"))]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, KINDS)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    ]


EVERY = every_augmentation()
CHANGING = [cls for cls in EVERY if not issubclass(cls, PairAugmentation)]
MIXING = [cls for cls in EVERY if issubclass(cls, PairAugmentation)]
each = pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(cls: type, **options: Any) -> nn.Module:
    module = cls(sample_rate=SAMPLE_RATE, **{"p": 1.0, **options})
    if isinstance(module, RecordedAugmentation):
        module.set_recordings(noise(9000, seed=9), torch.tensor([0, 1000]), torch.tensor([1000, 9000]))
    return module


def clips(cls: type) -> Tensor:
    """Waveforms, or features for augmentations of features."""
    return noise(CLIPS, 2, 40, 100) if issubclass(cls, SpectrogramAugmentation) else noise(CLIPS, 4001)


def applied(module: nn.Module, x: Tensor, *, seed: int = 0) -> Tensor:
    """Augmented clips; for pairs, with the targets after the samples."""
    torch.manual_seed(seed)
    if isinstance(module, PairAugmentation):
        mixed, target = module(x, torch.eye(len(x), dtype=x.dtype))
        return torch.cat([mixed.flatten(1), target], dim=1)
    return module(x)


def rows_that_differ(a: Tensor, b: Tensor) -> int:
    return int((a != b).flatten(1).any(dim=1).sum())


def test_contract_covers_all_augmentations() -> None:
    assert len(CHANGING) >= 14
    assert len(MIXING) >= 3


@each
def test_it_keeps_shape_and_type_and_leaves_its_input_alone(cls: type) -> None:
    x = clips(cls)
    before = x.clone()

    changed = applied(made(cls), x)

    assert changed[:, : x[0].numel()].shape == (x if cls in CHANGING else x.flatten(1)).shape
    assert changed.dtype == x.dtype
    assert changed.isfinite().all()
    torch.testing.assert_close(x, before, atol=0, rtol=0)


@each
def test_silence_and_square_waves_and_single_samples_give_finite_numbers(cls: type) -> None:
    x = clips(cls)
    for extreme in (torch.zeros_like(x), 3 * x.sign(), x[..., :1], x[..., :2], x[:1]):
        assert applied(made(cls), extreme).isfinite().all()


@each
def test_nothing_happens_in_evaluation_or_without_probability(cls: type) -> None:
    x = clips(cls)
    expected = torch.cat([x, torch.eye(CLIPS)], dim=1) if cls in MIXING else x

    assert torch.equal(applied(made(cls).eval(), x), expected)
    assert torch.equal(applied(made(cls, p=0.0), x), expected)


@each
def test_clips_are_drawn_independently(cls: type) -> None:
    x = clips(cls)
    unchanged = applied(made(cls).eval(), x)

    assert rows_that_differ(applied(made(cls), x), unchanged) > 0.6 * CLIPS, "a shift, say, may happen to be zero"
    assert 0 < rows_that_differ(applied(made(cls, p=0.4), x), unchanged) < 0.8 * CLIPS


@pytest.mark.parametrize("cls", CHANGING, ids=lambda cls: cls.__name__)
def test_equal_clips_become_different_ones(cls: type) -> None:
    x = clips(cls)[:1].expand(CLIPS, *[-1] * (clips(cls).dim() - 1))

    different = rows_that_differ(*(changed := applied(made(cls), x), changed[:1].expand_as(changed)))

    assert (different == 0) == (cls.__name__ in ALWAYS_THE_SAME)


@each
def test_the_seed_decides_everything(cls: type) -> None:
    module, x = made(cls, p=0.7), clips(cls)

    assert torch.equal(applied(module, x, seed=3), applied(module, x, seed=3))
    assert not torch.equal(applied(module, x, seed=3), applied(module, x, seed=4))


@each
def test_batch_may_be_processed_in_chunks(cls: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, large batches are; each chunk draws its own random numbers."""
    x = clips(cls)
    monkeypatch.setattr("audio_lightning.augment.base.VALUES_AT_ONCE", 3 * x[0].numel())
    unchanged = applied(made(cls).eval(), x)

    changed = applied(made(cls), x)

    assert changed.shape == unchanged.shape
    assert rows_that_differ(changed, unchanged) > 0.6 * CLIPS
    if cls in CHANGING and cls.__name__ not in ALWAYS_THE_SAME:
        equal = applied(made(cls), x[:1].expand_as(x))
        assert rows_that_differ(equal[3:6], equal[:3]) > 0


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@each
def test_autocast_changes_nothing(cls: type, precision: torch.dtype) -> None:
    module, x = made(cls), clips(cls)
    expected = applied(module, x)

    with torch.autocast("cpu", dtype=precision):
        changed = applied(module, x)

    assert torch.equal(changed, expected)


@each
def test_half_precision_dtype_is_kept(cls: type) -> None:
    changed = applied(made(cls, p=0.5), clips(cls).bfloat16())

    assert changed.dtype == torch.bfloat16
    assert changed.isfinite().all()


@each
def test_no_parameters_and_no_state(cls: type) -> None:
    assert not list(made(cls).parameters())
    assert not made(cls).state_dict()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_probability_lies_between_0_and_1(p: float, subtests: pytest.Subtests) -> None:
    for cls in EVERY:
        with (
            subtests.test(cls.__name__),
            pytest.raises(ConfigError, match=rf"^p is {p}, expected a probability from 0 to 1$"),
        ):
            made(cls, p=p)


def test_probability_applies_per_clip() -> None:
    x = torch.ones(4000, 1)

    inverted = applied(made(audio_lightning.augment.polarity.Polarity, p=0.25), x)

    assert (inverted == -1).float().mean().item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("cls", [cls for cls in EVERY if issubclass(cls, SpectrogramAugmentation)], ids=str)
def test_gradients_flow_through_feature_augmentations(cls: type) -> None:
    """A learnable front end needs them."""
    x = clips(cls).requires_grad_()

    made(cls, p=0.5)(x).sum().backward()

    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.any()
