"""Learning rates over a training."""

import math

import pytest
import torch

from audio_lightning.schedulers import Decay, OneCycle, Plateau, WarmupCosine


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
