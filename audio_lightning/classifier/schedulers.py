"""Learning-rate schedules: PyTorch's, by their class names, two additional ones, and when each is stepped."""

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
"""Keys of a ``scheduler`` node for Lightning: when the schedule is stepped, and the metric that it monitors."""


class WarmupCosine(LambdaLR):
    """Linear warm-up, then cosine decay (Loshchilov & Hutter 2017, without restarts), stepped with the optimizer.

    Args:
        optimizer: optimizer; its learning rate is the peak.
        total_steps: number of optimizer steps of the whole training.
        warmup_ratio: fraction of the steps for the warm-up.
        min_lr_ratio: final learning rate as a fraction of the peak.

    Raises:
        ConfigError: a ratio outside [0, 1].

    Example:
        >>> import torch
        >>> from audio_lightning.classifier.schedulers import WarmupCosine
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = WarmupCosine(optimizer, total_steps=4, warmup_ratio=0.25, min_lr_ratio=0.0)
        >>> rates = []
        >>> for step in range(4):
        ...     rates.append(round(scheduler.get_last_lr()[0], 2))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.5, 1.0, 0.75, 0.25]
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
    """Constant learning rate for some epochs, then exponential decay, stepped once per epoch.

    With PyTorch alone, it would be a ``SequentialLR`` of two schedules, whose options are hard to set in a sweep.

    Args:
        optimizer: optimizer; its learning rate is the initial one.
        whole_epochs: number of epochs at the initial rate.
        gamma: factor of the learning rate in each later epoch.

    Raises:
        ConfigError: a negative number of epochs, or a gamma outside [0, 1].

    Example:
        >>> import torch
        >>> from audio_lightning.classifier.schedulers import Decay
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = Decay(optimizer, whole_epochs=2, gamma=0.5)
        >>> rates = []
        >>> for epoch in range(4):
        ...     rates.append(scheduler.get_last_lr()[0])
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, *, whole_epochs: int, gamma: float) -> None:
        if whole_epochs < 0:
            raise ConfigError(f"scheduler.whole_epochs={whole_epochs}: expected 0 or more")
        _require_share("gamma", gamma)
        super().__init__(optimizer, lambda epoch: gamma ** max(0, epoch + 1 - whole_epochs))


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"scheduler.{name}={value}: expected a fraction from 0.0 to 1.0")


LIMITS: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "div_factor": (lambda value: value > 0, "more than 0"),
    "factor": (lambda value: 0 <= value <= 1, "a number from 0.0 to 1.0"),
    "final_div_factor": (lambda value: value > 0, "more than 0"),
    "gamma": (lambda value: value >= 0, "0 or more"),
    "patience": (lambda value: value >= 0, "0 or more"),
    "pct_start": (lambda value: 0 <= value <= 1, "a fraction from 0.0 to 1.0"),
}
"""Valid ranges of arguments that PyTorch does not check: other values divide by zero or give negative rates."""

BY_STEP: tuple[type[LRScheduler], ...] = (WarmupCosine, OneCycleLR, CyclicLR)
"""Schedules that are stepped with the optimizer by default; others are stepped after each epoch, as in their papers."""


@dataclass(frozen=True)
class TrainingLength:
    """Length of a training.

    Attributes:
        steps: number of optimizer steps.
        epochs: number of epochs.
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
    """Build the ``lr_scheduler`` entry of ``configure_optimizers``; None for a constant rate.

    Arguments that follow from the training (``T_max``, ``total_steps``, ``epochs`` and ``steps_per_epoch``, ``max_lr``
    of :class:`~torch.optim.lr_scheduler.OneCycleLR`, ``mode`` of a plateau) are filled in unless they are given.

    Args:
        node: ``scheduler`` of a configuration: ``_target_``, arguments under the class's own names, ``interval``
            (``"step"`` or ``"epoch"``) and, for :class:`~torch.optim.lr_scheduler.ReduceLROnPlateau`, ``monitor``.
        optimizer: optimizer whose learning rates are scheduled.
        length: length of the training.
        monitor: metric that a plateau monitors, unless the node names one.
        metrics: ``metrics`` of the configuration, which defines whether lower or higher values of a metric are better.

    Raises:
        ConfigError: invalid target or argument.
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
    """Return the arguments ``monitor`` and ``metrics`` of :func:`make_scheduler` from a configuration."""
    return {"monitor": config["monitor"], "metrics": config.get("metrics")}


def _interval(cls: type[LRScheduler], arguments: dict[str, Any]) -> str:
    """Return when a schedule is stepped; remove the key from the arguments."""
    interval: str = arguments.pop("interval", None) or ("step" if issubclass(cls, BY_STEP) else "epoch")
    if interval not in INTERVALS:
        raise ConfigError(f"scheduler.interval={interval}: expected one of {', '.join(INTERVALS)}")
    if interval == "step" and issubclass(cls, ReduceLROnPlateau):
        raise ConfigError(
            f"scheduler.interval=step: {cls.__name__} needs a metric, which is computed once per epoch; use epoch"
        )
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
    """Build a schedule, and the schedules inside it (``schedulers`` of SequentialLR and ChainedScheduler)."""
    target, arguments = split_node(node, where=where)
    cls = resolve(target, LRScheduler, where=where)
    if takes(cls, "lr_lambda"):
        raise ConfigError(
            f"{where}: {cls.__name__} needs a function, which a configuration cannot name; use another class"
        )
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
        if isinstance(least := arguments.get("min_lr"), (int, float)):  # for the highest rate; others in proportion
            arguments["min_lr"] = [least * (rate / (max(rates) or 1.0)) for rate in rates]
    made: LRScheduler = build(
        {"_target_": target, **arguments}, LRScheduler, where=where, offered=known, optimizer=optimizer
    )
    return made


def end_epoch(scheduler: LRScheduler, monitor: str | None, metrics: Mapping[str, Any]) -> None:
    """Step a schedule after an epoch; one that monitors a metric only if the epoch has a finite value of it.

    Args:
        scheduler: schedule to step.
        monitor: metric that it monitors.
        metrics: all metrics of the epoch that has ended.
    """
    if not isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step()
    elif math.isfinite(value := float(metrics.get(str(monitor), math.nan))):
        scheduler.step(value)
