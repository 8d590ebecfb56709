"""Learning rates over a training."""

import math

import pytest
import torch
from omegaconf import OmegaConf

from audio_lightning.config import compose
from audio_lightning.errors import ConfigError
from audio_lightning.networks import check_networks
from audio_lightning.schedulers import Decay, OneCycle, Plateau, WarmupCosine
from audio_lightning.task import AudioTask


def optimizer(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    """The rate that each of ``steps`` optimizer steps is taken with."""
    found = []
    for _ in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_warmup_then_cosine() -> None:
    found = rates(WarmupCosine(optimizer(), total_steps=100, warmup_fraction=0.1, final_fraction=0.01), 100)
    assert found[:10] == pytest.approx([0.1 * (step + 1) / 11 for step in range(10)])
    assert found[10] == pytest.approx(0.1)
    assert found[55] == pytest.approx(0.1 * (0.01 + 0.99 * 0.5))
    assert found[-1] == pytest.approx(0.1 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 89 / 90))))
    assert found[10:] == sorted(found[10:], reverse=True)


def test_cosine_does_not_rise_again_after_its_end() -> None:
    found = rates(WarmupCosine(optimizer(), total_steps=10, warmup_fraction=0.0, final_fraction=0.0), 15)
    assert found[10:] == pytest.approx([0.0] * 5)


def test_one_cycle() -> None:
    scheduler = OneCycle(optimizer(), total_steps=50, rise_fraction=0.3, initial_divisor=25.0, final_divisor=100.0)
    found = rates(scheduler, 50)
    assert found[0] == pytest.approx(0.1 / 25)
    assert max(found) == pytest.approx(0.1, rel=0.02)
    assert found.index(max(found)) == pytest.approx(0.3 * 50, abs=2)
    assert found[-1] == pytest.approx(0.1 / 25 / 100)


@pytest.mark.parametrize("steps", [1, 2, 4, 10])
def test_one_cycle_reaches_its_end_and_leaves_the_momentum_alone(steps: int) -> None:
    chosen = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.3)
    found = rates(
        OneCycle(chosen, total_steps=steps, rise_fraction=0.5, initial_divisor=25.0, final_divisor=1e4), steps
    )
    assert max(found) <= 0.1
    assert chosen.param_groups[0]["momentum"] == 0.3


@pytest.mark.parametrize(
    ("schedule", "option", "value"),
    [
        ("cosine", "warmup_fraction", 10.0),
        ("cosine", "warmup_fraction", -1.0),
        ("cosine", "final_fraction", 5.0),
        ("onecycle", "rise_fraction", 1.0),
        ("onecycle", "rise_fraction", 0.0),
        ("onecycle", "final_divisor", 0.0),
        ("decay", "factor", 1.5),
        ("decay", "whole_epochs", -1),
        ("plateau", "factor", 1.0),
        ("plateau", "patience", -1),
    ],
)
def test_what_makes_no_schedule_is_said_before_any_audio_is_read(schedule: str, option: str, value: float) -> None:
    config = compose([f"scheduler={schedule}", f"scheduler.{option}={value}", "monitor=train/loss"])
    with pytest.raises(ConfigError, match=rf"^scheduler\.{option}={value}: expected "):
        check_networks(OmegaConf.to_container(config, resolve=True), AudioTask(("a", "b"), 8000, 8000))


def test_decay() -> None:
    found = rates(Decay(optimizer(), total_steps=1, whole_epochs=3, factor=0.5), 6)
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.025, 0.0125])


@pytest.mark.parametrize(
    ("monitor", "values"), [("validation/loss", [1, 2, 2, 2]), ("validation/accuracy", [1, 0, 0, 0])]
)
def test_plateau_knows_which_way_is_better(monitor: str, values: list[float]) -> None:
    chosen = optimizer()
    scheduler = Plateau(chosen, total_steps=1, monitor=monitor, factor=0.5, patience=1, threshold=1e-4, min_lr=0.0)
    seen = []
    for value in values:
        scheduler.step(value)
        seen.append(chosen.param_groups[0]["lr"])
    assert seen == pytest.approx([0.1, 0.1, 0.05, 0.05])
