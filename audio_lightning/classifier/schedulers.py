"""Learning-rate schedules: PyTorch's by their own names, and what PyTorch has none of; how each is stepped."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from audio_lightning.config.targets import build, resolve, split_node, takes
from audio_lightning.core.errors import ConfigError
from audio_lightning.metrics.configured import mode_of

INTERVALS = ("step", "epoch")

LIGHTNING_KEYS = ("interval", "monitor")
"""Keys of a ``scheduler`` node that are Lightning's: when the schedule is stepped, and by which metric."""


class WarmupCosine(LambdaLR):
    """Linear warm-up, then half a cosine down (Loshchilov & Hutter 2017, without restarts); one step a batch.

    Args:
        optimizer: whose learning rate is the highest reached.
        total_steps: optimizer steps of the whole training.
        warmup_ratio: share of them spent warming up.
        min_lr_ratio: last learning rate as a share of the highest.

    Raises:
        ConfigError: a share that is not from 0 to 1.
    """

    def __init__(self, optimizer: Optimizer, *, total_steps: int, warmup_ratio: float, min_lr_ratio: float) -> None:
        _require_share("warmup_ratio", warmup_ratio)
        _require_share("min_lr_ratio", min_lr_ratio)
        warmup = round(warmup_ratio * total_steps)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
            return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * done))

        super().__init__(optimizer, factor)


class Decay(LambdaLR):
    """Constant learning rate for some epochs, then exponential decay; one step an epoch.

    PyTorch has no class for it, only a ``SequentialLR`` of two schedules, whose options have no keys of their own.

    Args:
        optimizer: whose learning rate is the highest.
        whole_epochs: epochs at the whole rate.
        gamma: factor of each epoch's rate to the one before.

    Raises:
        ConfigError: less than no epochs, or a gamma that is not from 0 to 1.
    """

    def __init__(self, optimizer: Optimizer, *, whole_epochs: int, gamma: float) -> None:
        if whole_epochs < 0:
            raise ConfigError(f"scheduler.whole_epochs={whole_epochs}: expected 0 or more")
        _require_share("gamma", gamma)
        super().__init__(optimizer, lambda epoch: gamma ** max(0, epoch + 1 - whole_epochs))


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"scheduler.{name}={value}: expected a share from 0.0 to 1.0")


LIMITS: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "div_factor": (lambda value: value > 0, "more than 0"),
    "factor": (lambda value: 0 <= value <= 1, "a number from 0.0 to 1.0"),
    "final_div_factor": (lambda value: value > 0, "more than 0"),
    "gamma": (lambda value: value >= 0, "0 or more"),
    "patience": (lambda value: value >= 0, "0 or more"),
    "pct_start": (lambda value: 0 <= value <= 1, "a share from 0.0 to 1.0"),
}
"""Values without which a schedule of PyTorch divides by zero or takes the rate below it, which it does not check."""

BY_STEP: tuple[type[LRScheduler], ...] = (WarmupCosine, OneCycleLR, CyclicLR)
"""Schedules that go by optimizer steps unless ``interval`` says otherwise; others go by epochs, as in their papers."""


@dataclass(frozen=True)
class TrainingLength:
    """How long a training lasts.

    Attributes:
        steps: optimizer steps.
        epochs: passes over the training clips.
    """

    steps: int
    epochs: int


def make_scheduler(
    node: Mapping[str, Any],
    optimizer: Optimizer,
    length: TrainingLength,
    *,
    monitor: str,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """What ``configure_optimizers`` returns for a schedule; None for a constant rate.

    What a schedule needs to know of the training (``T_max``, ``total_steps``, ``epochs`` and ``steps_per_epoch``,
    ``max_lr`` of :class:`~torch.optim.lr_scheduler.OneCycleLR`, ``mode`` of a plateau) is filled in unless it is given.

    Args:
        node: ``scheduler`` of a configuration: ``_target_``, arguments under the class's own names, ``interval``
            (``"step"`` or ``"epoch"``) and, for :class:`~torch.optim.lr_scheduler.ReduceLROnPlateau`, ``monitor``.
        optimizer: whose rates are scheduled.
        length: of the training.
        monitor: metric that a plateau goes by, unless the node names one.
        metrics: node of the configuration, which says whether less or more of a metric is better.

    Raises:
        ConfigError: a target or an argument that cannot work.
    """
    target, arguments = split_node(node, where="scheduler")
    if target is None:
        return None
    cls = resolve(target, LRScheduler, where="scheduler")
    interval = _interval(cls, arguments)
    if not takes(cls, "monitor"):
        monitor = arguments.pop("monitor", None) or monitor
    scheduler = _build(
        {"_target_": target, **arguments},
        optimizer,
        length,
        interval,
        partial(mode_of, monitor, metrics),
        where="scheduler",
    )
    config = {"scheduler": scheduler, "interval": interval}
    if isinstance(scheduler, ReduceLROnPlateau):
        config |= {"monitor": getattr(scheduler, "monitor", monitor), "strict": False}
    return config


def monitored(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments ``monitor`` and ``metrics`` of :func:`make_scheduler`, from a configuration."""
    return {"monitor": config["monitor"], "metrics": config.get("metrics")}


def _interval(cls: type[LRScheduler], arguments: dict[str, Any]) -> str:
    """When a schedule is stepped; the key is taken from the arguments."""
    interval: str = arguments.pop("interval", None) or ("step" if issubclass(cls, BY_STEP) else "epoch")
    if interval not in INTERVALS:
        raise ConfigError(f"scheduler.interval={interval}: expected one of {', '.join(INTERVALS)}")
    if interval == "step" and issubclass(cls, ReduceLROnPlateau):
        raise ConfigError(f"scheduler.interval=step: {cls.__name__} waits for a metric, which each epoch has once")
    return interval


def _build(
    node: Mapping[str, Any],
    optimizer: Optimizer,
    length: TrainingLength,
    interval: str,
    mode: Callable[[], str],
    *,
    where: str,
) -> LRScheduler:
    """A schedule, and those that it is made of (``schedulers`` of SequentialLR and ChainedScheduler)."""
    target, arguments = split_node(node, where=where)
    cls = resolve(target, LRScheduler, where=where)
    if takes(cls, "lr_lambda"):
        raise ConfigError(f"{where}: {cls.__name__} needs a function, which a configuration cannot name")
    if isinstance(parts := arguments.get("schedulers"), (list, tuple)):
        arguments["schedulers"] = [
            _build(part, optimizer, length, interval, mode, where=f"{where}.schedulers.{place}")
            for place, part in enumerate(parts)
        ]
    for name, (holds, expected) in LIMITS.items():
        if isinstance(value := arguments.get(name), (int, float)) and not holds(value):
            raise ConfigError(f"{where}.{name}={value}: expected {expected}")
    rates = [group["lr"] for group in optimizer.param_groups]
    known: dict[str, Any] = {"T_max": length.steps if interval == "step" else length.epochs}
    if not {"epochs", "steps_per_epoch"} & arguments.keys():
        known["total_steps"] = known["T_max"]
    else:
        known |= {"epochs": length.epochs, "steps_per_epoch": math.ceil(length.steps / length.epochs)}
    if issubclass(cls, OneCycleLR):
        known["max_lr"] = rates
        start = arguments.get("pct_start")
        if isinstance(start, float) and start * known.get("total_steps", 0) == 1:  # PyTorch would divide by zero
            arguments["pct_start"] = math.nextafter(start, 1)
    if issubclass(cls, ReduceLROnPlateau):
        known["mode"] = mode()
        if isinstance(least := arguments.get("min_lr"), (int, float)):  # of the highest rate; others keep their share
            arguments["min_lr"] = [least * (rate / (max(rates) or 1.0)) for rate in rates]
    made: LRScheduler = build(
        {"_target_": target, **arguments}, LRScheduler, where=where, offered=known, optimizer=optimizer
    )
    return made


def end_epoch(scheduler: LRScheduler, monitor: str | None, metrics: Mapping[str, Any]) -> None:
    """Step a schedule that goes by epochs; one that waits for a metric only where the epoch has a finite one.

    Args:
        scheduler: to step.
        monitor: metric that it goes by.
        metrics: everything that is known of the epoch that has ended.
    """
    if not isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step()
    elif math.isfinite(value := float(metrics.get(str(monitor), math.nan))):
        scheduler.step(value)
