"""Corruptions have their nominal strength and are deterministic."""

import io

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from audio_lightning.augment.codec import FORMATS, coding_rate, compression_of
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.inference.corruptions import CORRUPTIONS, Condition, clipped, conditions, shifted

RATE = 22_050
TASK = AudioTask(("a", "b"), RATE, RATE)


def sound(seconds: float = 1.0, seed: int = 0) -> Tensor:
    """White noise, which has energy at every frequency."""
    return 0.1 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def decibels(x: Tensor) -> float:
    return float(10 * x.square().mean().log10())


def share_above(x: Tensor, hertz: float) -> float:
    """Share of the energy above a frequency."""
    power = torch.fft.rfft(x).abs().square()
    return float(power[round(hertz * len(x) / RATE) :].sum() / power.sum())


def apply(condition: Condition, x: Tensor, *, length: int | None = None, seed: int = 0) -> Tensor:
    return condition.apply(x, len(x) if length is None else length, TASK, (seed, 3))


EVERY = conditions(RATE)
each = pytest.mark.parametrize("condition", EVERY, ids=lambda condition: condition.name)


def named(start: str) -> list[Condition]:
    return [condition for condition in EVERY if condition.name.startswith(start)]


def test_condition_names_are_unique_and_every_kind_can_be_chosen() -> None:
    assert len({condition.name for condition in EVERY}) == len(EVERY)
    assert list(dict.fromkeys(condition.corruption for condition in EVERY)) == list(CORRUPTIONS)


@each
def test_corruptions_are_deterministic_and_do_not_change_their_input(condition: Condition) -> None:
    x = sound()
    before = x.clone()
    found = apply(condition, x)
    assert found.shape == x.shape
    assert found.isfinite().all()
    assert not torch.equal(found, x)
    assert torch.equal(x, before)
    torch.rand(5)
    assert torch.equal(apply(condition, x), found)
    random = condition.corruption in ("noise", "reverberation")
    assert torch.equal(apply(condition, x, seed=1), found) != random


@each
def test_padding_comes_after_the_corruption(condition: Condition) -> None:
    x = sound()
    x[RATE // 2 :] = 0
    found = apply(condition, x, length=RATE // 2)
    if condition.corruption != "shift":
        assert not found[RATE // 2 :].any()
        assert torch.equal(found[: RATE // 2], apply(condition, x[: RATE // 2]))


@each
def test_silence_stays_finite(condition: Condition) -> None:
    assert apply(condition, torch.zeros(RATE)).abs().max() < 1e-3


@pytest.mark.parametrize("condition", named("white") + named("pink"), ids=lambda condition: condition.name)
def test_noise_has_its_signal_to_noise_ratio(condition: Condition) -> None:
    x = sound()
    assert decibels(x) - decibels(apply(condition, x) - x) == pytest.approx(condition.value, abs=0.1)


def test_gain_changes_only_the_level() -> None:
    x = sound()
    for condition in named("gain"):
        assert decibels(apply(condition, x)) - decibels(x) == pytest.approx(condition.value, abs=0.01)


def test_a_room_keeps_the_level_and_decays_for_its_time() -> None:
    click = torch.zeros(2 * RATE)
    click[0] = 1
    for condition in named("RT60"):
        assert condition.value is not None
        found = apply(condition, click)
        assert decibels(found) == pytest.approx(decibels(click), abs=0.1)
        # Energy after a third of the time is 20 dB below that of the echoes from their beginning.
        start = round(condition.value / 3 * RATE)
        later = found[start:].square().sum() / found[1:].square().sum()
        assert 10 * float(later.log10()) == pytest.approx(-20, abs=1)


def test_a_shift_moves_the_clip_and_fills_with_zeros() -> None:
    x = torch.arange(1.0, 11.0)[None]
    assert shifted(x, 20)[0].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert shifted(x, -20)[0].tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 0, 0]


@pytest.mark.parametrize("percent", [1, 5, 20])
def test_a_share_of_the_samples_is_clipped(percent: float) -> None:
    x = sound()[None]
    found = clipped(x, percent)
    assert float((found != x).float().mean()) == pytest.approx(percent / 100, rel=0.01)
    silent = torch.cat([x, torch.zeros(1, 20 * RATE)], dim=1)
    assert float((clipped(silent, percent) != silent).float().sum()) == pytest.approx(percent / 100 * RATE, rel=0.02)


def test_resampling_removes_high_frequencies() -> None:
    for condition in named("sample rate"):
        assert condition.value is not None
        assert share_above(apply(condition, sound()), 500 * condition.value + 200) < 1e-4
    assert [condition.name for condition in conditions(16_000, ["sample_rate"])] == [
        "sample rate, 8 kHz",
        "sample rate, 4 kHz",
    ]


def test_a_telephone_keeps_its_band() -> None:
    (condition,) = named("telephone")
    found = apply(condition, sound())
    # Mu-law coding adds noise at all frequencies up to 4 kHz.
    assert share_above(found, 4200) < 1e-4
    power = torch.fft.rfft(found).abs().square()
    assert float(power[:150].sum() / power.sum()) < 0.005
    assert share_above(found, 300) > 0.95


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 22_050, 44_100])
@pytest.mark.parametrize(("name", "kilobits"), [("mp3", 64), ("mp3", 32), ("mp3", 16), ("opus", 64), ("opus", 32)])
def test_codecs_have_their_nominal_bit_rate(name: str, kilobits: int, sample_rate: int) -> None:
    compression = compression_of(name, kilobits, sample_rate)
    if compression is None:
        assert (name, kilobits, sample_rate) == ("mp3", 16, 44_100)
        return
    rate = coding_rate(name, sample_rate)
    noise = 0.1 * np.random.default_rng(0).normal(size=4 * rate).astype(np.float32)
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, 1, compression_level=compression, **FORMATS[name]) as written:
        for start in range(0, len(noise), rate):
            written.write(noise[start : start + rate])
    assert 8 * len(file.getvalue()) / 4 / 1000 == pytest.approx(kilobits, rel=0.15)


def test_unknown_corruptions_are_reported() -> None:
    with pytest.raises(ConfigError, match="--only noize: no such corruption; did you mean noise"):
        conditions(RATE, ["noize"])
    with pytest.raises(ConfigError, match="has no effect on clips of 4,000 Hz"):
        conditions(4000, ["sample_rate"])
