"""Per-channel energy normalization: comparison with its formula and librosa, and training."""

import pytest
import torch
from choices import flat
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.log_mel import LogMel
from audio_lightning.features.log_mel_pcen import LogMelPCEN
from audio_lightning.features.pcen import PCEN, smooth

RATE = 8000
USUAL = {"sample_rate": RATE, "num_samples": RATE, "normalize": "none"}


@pytest.fixture(scope="module")
def clips() -> Tensor:
    """The same noise quiet, loud, and only from halfway on: [3, 8000]."""
    noise = 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    return noise * torch.stack([torch.full((RATE,), 1e-3), torch.ones(RATE), (torch.arange(RATE) > RATE / 2).float()])


def by_formula(magnitude: Tensor, s: float, gain: float, bias: float, power: float) -> Tensor:
    level, levels = magnitude[..., 0], []
    for frame in magnitude.unbind(-1):
        level = (1 - s) * level + s * frame
        levels.append(level)
    return (magnitude / (1e-6 + torch.stack(levels, dim=-1)) ** gain + bias) ** power - bias**power


@pytest.mark.parametrize("learnable", [False, True])
def test_it_follows_the_papers_formula(clips: Tensor, learnable: bool) -> None:
    made = flat(PCEN, **USUAL, time_constant_seconds=0.2, gain=0.8, bias=10.0, power=0.25, learnable=learnable)
    frames = torch.tensor(20.0, dtype=torch.float64)
    s = ((1 + 4 * frames**2).sqrt() - 1) / (2 * frames**2)
    expected = by_formula(made.mel(clips).double(), float(s), 0.8, 10, 0.25).float()

    torch.testing.assert_close(made(clips)[:, 0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.full
def test_it_agrees_with_librosa(clips: Tensor) -> None:
    librosa = pytest.importorskip("librosa")
    made = flat(PCEN, **USUAL)
    s = float(made.control.smoothing_logit[0].sigmoid())
    for magnitude, found in zip(made.mel(clips).numpy(), made(clips)):
        # librosa starts from a level of 1, the paper from the first frame.
        expected = librosa.pcen(magnitude, sr=RATE, hop_length=80, zi=(1 - s) * magnitude[:, :1])
        torch.testing.assert_close(found[0], torch.from_numpy(expected).float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 3, 8, 101])
def test_smoothing_in_doubling_steps_is_the_recursion(frames: int) -> None:
    values = torch.rand(2, 3, frames, generator=torch.Generator().manual_seed(0))
    coefficient = torch.tensor([[0.01], [0.5], [1.0]])
    level, expected = values[..., 0], []
    for frame in values.unbind(-1):
        level = (1 - coefficient[:, 0]) * level + coefficient[:, 0] * frame
        expected.append(level)

    torch.testing.assert_close(smooth(values, coefficient), torch.stack(expected, dim=-1))


def test_steady_sounds_are_removed_at_any_level(clips: Tensor) -> None:
    quiet, loud, late = flat(PCEN, **USUAL)(clips).mean((1, 2))

    torch.testing.assert_close(quiet, loud, rtol=0.2, atol=0)
    assert late[:49].amax() == 0
    assert late[52:58].mean() > 3 * late[90:].mean()


def test_learnable_parameters_are_trained_and_saved(clips: Tensor) -> None:
    made, other = flat(PCEN, **USUAL, learnable=True), flat(PCEN, **USUAL, learnable=True)
    assert len(list(made.parameters())) == 4
    assert not list(flat(PCEN, **USUAL).parameters())
    before = made(clips).detach()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)

    made(torch.cat([clips, torch.zeros(1, RATE)])).square().mean().backward()
    for parameter in made.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().amax() > 0
    optimizer.step()

    assert made(clips).square().mean() < before.square().mean()
    other.load_state_dict(made.state_dict())
    torch.testing.assert_close(other(clips), made(clips), atol=0, rtol=0)


@pytest.mark.parametrize("normalize", ["none", "statistics", "clip", "minmax"])
def test_the_second_channel_equals_the_single_front_end(clips: Tensor, normalize: str) -> None:
    usual = {**USUAL, "normalize": normalize}
    options = {"n_mels": 20, "gain": 0.8, "bias": 10.0, "power": 0.25}
    together = flat(LogMelPCEN, **usual, **options, top_db=30, time_constants_seconds=[0.2, 0.05])
    alone = [
        flat(LogMel, **usual, n_mels=20, top_db=30),
        *(flat(PCEN, **usual, **options, time_constant_seconds=seconds) for seconds in (0.2, 0.05)),
    ]
    for made in (together, *alone):
        made.fit([clips])
    torch.testing.assert_close(together(clips), torch.cat([made(clips) for made in alone], dim=1))


@pytest.mark.parametrize("cls", [PCEN, LogMelPCEN])
@pytest.mark.parametrize("option", ["time_constant_seconds", "gain", "bias", "power"])
def test_parameters_must_be_positive(cls: type[PCEN | LogMelPCEN], option: str) -> None:
    several = cls is LogMelPCEN and option == "time_constant_seconds"
    with pytest.raises(ConfigError, match=f"{option} is -0.5, expected a number greater than 0"):
        flat(cls, **USUAL, **({"time_constants_seconds": [0.4, -0.5]} if several else {option: -0.5}))


def test_there_must_be_a_time_constant() -> None:
    with pytest.raises(ConfigError, match="time_constants_seconds is empty, expected one number or more"):
        flat(LogMelPCEN, **USUAL, time_constants_seconds=[])
