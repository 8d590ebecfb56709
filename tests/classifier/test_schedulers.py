"""Learning rates over a training."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.optim import lr_scheduler

from audio_lightning.classifier.factory import check_networks
from audio_lightning.classifier.schedulers import (
    Decay,
    TrainingLength,
    WarmupCosine,
    end_epoch,
    make_scheduler,
)
from audio_lightning.config import choices, compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask


def optimizer(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    """Learning rate of each of ``steps`` optimizer steps."""
    found = []
    for _ in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_warmup_then_cosine() -> None:
    found = rates(WarmupCosine(optimizer(), total_steps=100, warmup_ratio=0.1, min_lr_ratio=0.01), 100)
    assert found[:10] == pytest.approx([0.1 * (step + 1) / 11 for step in range(10)])
    assert found[10] == pytest.approx(0.1)
    assert found[55] == pytest.approx(0.1 * (0.01 + 0.99 * 0.5))
    assert found[-1] == pytest.approx(0.1 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 89 / 90))))
    assert found[10:] == sorted(found[10:], reverse=True)


def test_cosine_does_not_rise_again_after_its_end() -> None:
    found = rates(WarmupCosine(optimizer(), total_steps=10, warmup_ratio=0.0, min_lr_ratio=0.0), 15)
    assert found[10:] == pytest.approx([0.0] * 5)


def chosen(name: str, optimizer: torch.optim.Optimizer, *, steps: int = 50, epochs: int = 10, **options: Any) -> Any:
    """The schedule of a choice of ``conf/scheduler``, with options set."""
    node = OmegaConf.to_container(compose([f"scheduler={name}", "monitor=train/loss"]).scheduler, resolve=True)
    config = make_scheduler(
        {**node, **options}, optimizer, TrainingLength(steps=steps, epochs=epochs), monitor="train/loss"
    )
    assert config is not None
    return config["scheduler"]


def test_one_cycle() -> None:
    found = rates(chosen("onecycle", optimizer(), final_div_factor=100.0), 50)
    assert found[0] == pytest.approx(0.1 / 25)
    assert max(found) == pytest.approx(0.1, rel=0.02)
    assert found.index(max(found)) == pytest.approx(0.3 * 50, abs=2)
    assert found[-1] == pytest.approx(0.1 / 25 / 100)


@pytest.mark.parametrize("steps", [1, 2, 4, 10])
def test_one_cycle_reaches_its_end_and_leaves_the_momentum_alone(steps: int) -> None:
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.3)
    found = rates(chosen("onecycle", sgd, steps=steps, pct_start=0.5), steps)
    assert max(found) <= 0.1
    assert sgd.param_groups[0]["momentum"] == 0.3


def annealed(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


CURVES: dict[str, tuple[int, Callable[[int], float]]] = {
    "cosine": (50, lambda step: (step + 1) / 6 if step < 5 else annealed(1, 0, (step - 5) / 45)),
    "onecycle": (
        50,
        lambda step: annealed(1 / 25, 1, step / 14) if step <= 14 else annealed(1, 4e-6, (step - 14) / 35),
    ),
    "decay": (10, lambda epoch: 0.85 ** max(0, epoch - 4)),
    "plateau": (10, lambda epoch: 0.5 ** (max(0, epoch - 1) // 4)),
}
"""For each choice: number of its steps in 50 steps of 10 epochs, and its rates relative to the highest."""


@pytest.mark.parametrize("name", CURVES)
def test_the_choices_follow_their_formulas(name: str) -> None:
    times, formula = CURVES[name]
    scheduler = chosen(name, optimizer())
    found = []
    for _ in range(times):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        one(scheduler, 0.5)
    assert found == pytest.approx([0.1 * formula(place) for place in range(times)])


@pytest.mark.parametrize(
    ("schedule", "option", "value"),
    [
        ("cosine", "warmup_ratio", 10.0),
        ("cosine", "warmup_ratio", -1.0),
        ("cosine", "min_lr_ratio", 5.0),
        ("onecycle", "pct_start", 1.5),
        ("onecycle", "pct_start", -0.5),
        ("onecycle", "div_factor", -25.0),
        ("onecycle", "final_div_factor", 0.0),
        ("decay", "gamma", 1.5),
        ("decay", "whole_epochs", -1),
        ("plateau", "factor", -0.5),
        ("plateau", "patience", -1),
    ],
)
def test_an_invalid_schedule_is_refused_before_audio_is_read(schedule: str, option: str, value: float) -> None:
    config = compose([f"scheduler={schedule}", f"scheduler.{option}={value}", "monitor=train/loss"])
    with pytest.raises(ConfigError, match=rf"^scheduler\.{option}={value}: expected "):
        check_networks(OmegaConf.to_container(config, resolve=True), AudioTask(("a", "b"), 8000, 8000))


def test_decay() -> None:
    found = rates(Decay(optimizer(), whole_epochs=3, gamma=0.5), 6)
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.025, 0.0125])


@pytest.mark.parametrize(
    ("monitor", "values"), [("validation/loss", [1, 2, 2, 2]), ("validation/accuracy", [1, 0, 0, 0])]
)
def test_plateau_knows_which_way_is_better(monitor: str, values: list[float]) -> None:
    sgd = optimizer()
    scheduler = chosen("plateau", sgd, monitor=monitor, patience=1)
    seen = []
    for value in values:
        scheduler.step(value)
        seen.append(sgd.param_groups[0]["lr"])
    assert seen == pytest.approx([0.1, 0.1, 0.05, 0.05])


LENGTH = TrainingLength(steps=12, epochs=4)

PART = "torch.optim.lr_scheduler."

ARGUMENTS: dict[str, dict[str, Any]] = {
    "ChainedScheduler": {
        "schedulers": [{"_target_": f"{PART}ConstantLR"}, {"_target_": f"{PART}ExponentialLR", "gamma": 0.9}]
    },
    "ConstantLR": {"factor": 0.5, "total_iters": 2},
    "CosineAnnealingLR": {"eta_min": 0.01},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3},
    "ExponentialLR": {"gamma": 0.5},
    "LinearLR": {"total_iters": 3},
    "MultiStepLR": {"milestones": [1, 3]},
    "OneCycleLR": {"pct_start": 0.25},
    "PolynomialLR": {"total_iters": 4, "power": 2.0},
    "ReduceLROnPlateau": {"patience": 0, "factor": 0.5},
    "SequentialLR": {
        "schedulers": [{"_target_": f"{PART}LinearLR"}, {"_target_": f"{PART}CosineAnnealingLR"}],
        "milestones": [2],
    },
    "StepLR": {"step_size": 2, "gamma": 0.1},
}
"""Arguments of each schedule of PyTorch; the others are filled in."""

FUNCTIONS = ("LambdaLR", "MultiplicativeLR")
"""Schedules that need a function, which a configuration cannot name."""


def by_hand(name: str, chosen: torch.optim.Optimizer) -> Any:
    options = ARGUMENTS[name]
    filled = {
        "CosineAnnealingLR": {"T_max": 4},
        "OneCycleLR": {"max_lr": 0.1, "total_steps": 12},
        "ReduceLROnPlateau": {"mode": "max"},
    }
    if parts := options.get("schedulers"):
        made = []
        for part in parts:
            arguments = {key: value for key, value in part.items() if key != "_target_"}
            kind = part["_target_"].removeprefix(PART)
            made.append(getattr(lr_scheduler, kind)(chosen, **filled.get(kind, {}), **arguments))
        if name == "ChainedScheduler":
            return lr_scheduler.ChainedScheduler(made, chosen)
        return lr_scheduler.SequentialLR(chosen, made, milestones=options["milestones"])
    return getattr(lr_scheduler, name)(chosen, **filled.get(name, {}), **options)


def one(scheduler: Any, value: float) -> float:
    """The rate after a step of the optimizer and one of the schedule."""
    scheduler.optimizer.step()
    scheduler.step(*[value] * isinstance(scheduler, lr_scheduler.ReduceLROnPlateau))
    rate: float = scheduler.optimizer.param_groups[0]["lr"]
    return rate


def test_every_schedule_of_torch_is_tried() -> None:
    found = {
        name
        for name, cls in vars(lr_scheduler).items()
        if isinstance(cls, type) and issubclass(cls, lr_scheduler.LRScheduler) and not name.startswith("_")
    }
    assert found == {"LRScheduler", *ARGUMENTS, *FUNCTIONS}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_schedule_of_torch_gets_the_training_length_and_resumes(name: str) -> None:
    node = {"_target_": f"{PART}{name}", "_partial_": True, **ARGUMENTS[name]}
    config = make_scheduler(node, optimizer(), LENGTH, monitor="validation/accuracy")
    assert config is not None
    scheduler, expected = config["scheduler"], by_hand(name, optimizer())
    assert config["interval"] == ("step" if name in ("OneCycleLR", "CyclicLR") else "epoch")
    assert config.get("monitor") == ("validation/accuracy" if name == "ReduceLROnPlateau" else None)
    found = [one(scheduler, 0.5) for _ in range(2)]
    assert found == [one(expected, 0.5) for _ in range(2)]
    states = scheduler.state_dict(), scheduler.optimizer.state_dict()

    other = make_scheduler(node, optimizer(), LENGTH, monitor="validation/accuracy")
    assert other is not None
    other["scheduler"].load_state_dict(states[0])
    other["scheduler"].optimizer.load_state_dict(states[1])
    after = [one(expected, 0.5) for _ in range(3)]
    assert [one(other["scheduler"], 0.5) for _ in range(3)] == after
    assert len({0.1, *found, *after}) > 1, "the rate never changes"


@pytest.mark.parametrize("name", [name for name in choices("scheduler") if name != "none"])
def test_every_choice_changes_the_rate_and_resumes(name: str) -> None:
    """Every YAML in conf/scheduler."""
    length = {"steps": 12, "epochs": 12}
    whole = chosen(name, optimizer(), **length)
    found = [one(whole, 0.5) for _ in range(5)]
    states = whole.state_dict(), whole.optimizer.state_dict()

    resumed = chosen(name, optimizer(), **length)
    resumed.load_state_dict(states[0])
    resumed.optimizer.load_state_dict(states[1])
    after = [one(whole, 0.5) for _ in range(7)]
    assert [one(resumed, 0.5) for _ in range(7)] == after
    assert all(0 <= rate <= 0.1 for rate in (*found, *after))
    assert len({*found, *after}) > 1, "the rate never changes"


def test_a_schedule_of_torch_may_be_stepped_with_the_optimizer() -> None:
    node = {"_target_": f"{PART}CosineAnnealingLR", "interval": "step"}
    config = make_scheduler(node, optimizer(), LENGTH, monitor="validation/loss")
    assert config is not None
    assert (config["interval"], config["scheduler"].T_max) == ("step", 12)


def test_the_length_of_a_cycle_may_be_given_in_epochs() -> None:
    node = {"_target_": f"{PART}OneCycleLR", "epochs": 2}
    config = make_scheduler(node, optimizer(), LENGTH, monitor="validation/loss")
    assert config is not None
    assert config["scheduler"].total_steps == 2 * 3


@pytest.mark.parametrize(
    ("node", "message"),
    [
        *(({"_target_": f"{PART}{name}", "lr_lambda": "f"}, f"{name} needs a function") for name in FUNCTIONS),
        ({"_target_": f"{PART}StepLR"}, "scheduler.step_size must be given"),
        ({"_target_": f"{PART}StepLR", "step_size": 1, "interval": "batch"}, "expected one of step, epoch"),
        ({"_target_": f"{PART}ReduceLROnPlateau", "interval": "step"}, "ReduceLROnPlateau needs a metric"),
        ({"_target_": "torch.optim.SGD", "lr": 0.1}, "is not allowed"),
        (
            {"_target_": f"{PART}ChainedScheduler", "schedulers": [{"_target_": "torch.load", "f": "x"}]},
            r"scheduler\.schedulers\.0\._target_=torch\.load is not allowed",
        ),
    ],
)
def test_an_invalid_schedule_is_refused(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_scheduler(node, optimizer(), LENGTH, monitor="validation/loss")


def test_an_epoch_steps_a_plateau_by_its_metric_and_others_always() -> None:
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer(), patience=0, factor=0.5)
    for value in (1.0, math.nan, 1.0):
        end_epoch(plateau, "validation/loss", {"validation/loss": value})
    assert plateau.optimizer.param_groups[0]["lr"] == 0.05
    stepped = lr_scheduler.StepLR(optimizer(), 1, gamma=0.5)
    stepped.optimizer.step()
    end_epoch(stepped, None, {})
    assert stepped.optimizer.param_groups[0]["lr"] == 0.05
