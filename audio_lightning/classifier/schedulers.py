"""Learning-rate schedules: PyTorch's by their own names, and what PyTorch has none of; how each is stepped."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from audio_lightning.config.targets import build, resolve, split_node, takes
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import lower_is_better

INTERVALS = ("step", "epoch")

LIGHTNING_KEYS = ("interval", "monitor")
"""Keys of a ``scheduler`` node that are Lightning's: when the schedule is stepped, and by which metric."""


class WarmupCosine(LambdaLR):
    """Linear warm-up, then half a cosine down (Loshchilov & Hutter 2017, without restarts); one step a batch.

    Args:
        optimizer: whose learning rate is the highest reached.
        total_steps: optimizer steps of the whole training.
        warmup_fraction: share of them spent warming up.
        final_fraction: last learning rate as a share of the highest.

    Raises:
        ConfigError: a share that is not from 0 to 1.
    """

    def __init__(
        self, optimizer: Optimizer, *, total_steps: int, warmup_fraction: float, final_fraction: float
    ) -> None:
        _require_share("warmup_fraction", warmup_fraction)
        _require_share("final_fraction", final_fraction)
        warmup = round(warmup_fraction * total_steps)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
            return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * done))

        super().__init__(optimizer, factor)


class OneCycle(OneCycleLR):
    """One rise and one fall over the whole training (Smith 2018, arXiv 1803.09820); one step a batch.

    The momentum stays what the optimizer has: the paper lowers it where the rate is high, which would make it no option
    of the optimizer any more.

    Args:
        optimizer: whose learning rate is the highest reached.
        total_steps: optimizer steps of the whole training.
        rise_fraction: share of them in which the rate rises.
        initial_divisor: first rate is the highest divided by this.
        final_divisor: last rate is the first divided by this.

    Raises:
        ConfigError: a rise that is no part of the training, or a divisor that divides nothing.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_steps: int,
        rise_fraction: float,
        initial_divisor: float,
        final_divisor: float,
    ) -> None:
        if not 0 < rise_fraction < 1:
            raise ConfigError(f"scheduler.rise_fraction={rise_fraction}: expected more than 0 and less than 1")
        for name, divisor in (("initial_divisor", initial_divisor), ("final_divisor", final_divisor)):
            if divisor <= 0:
                raise ConfigError(f"scheduler.{name}={divisor}: expected more than 0")
        if rise_fraction * total_steps == 1:  # torch would divide by the steps of the rise behind the first, by zero
            rise_fraction = math.nextafter(rise_fraction, 1)
        super().__init__(
            optimizer,
            cycle_momentum=False,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=total_steps,
            pct_start=rise_fraction,
            div_factor=initial_divisor,
            final_div_factor=final_divisor,
        )


class Decay(LambdaLR):
    """The whole rate for some epochs, then in each a share of that of the one before; one step an epoch.

    Args:
        optimizer: whose learning rate is the highest.
        total_steps: not used; the length of the training does not matter here.
        whole_epochs: epochs at the whole rate.
        factor: by which the rate of an epoch is multiplied in the next.

    Raises:
        ConfigError: less than no epochs, or a factor that is not from 0 to 1.
    """

    def __init__(self, optimizer: Optimizer, *, total_steps: int, whole_epochs: int, factor: float) -> None:
        if whole_epochs < 0:
            raise ConfigError(f"scheduler.whole_epochs={whole_epochs}: expected 0 or more")
        _require_share("factor", factor)
        super().__init__(optimizer, lambda epoch: factor ** max(0, epoch + 1 - whole_epochs))


class Plateau(ReduceLROnPlateau):
    """Lower the rate when a metric has stopped improving; one step a validation.

    Args:
        optimizer: whose learning rate is lowered.
        total_steps: not used; the length of the training does not matter here.
        monitor: name of the metric; whether more or less of it is better follows from the name.
        factor: by which the rate is multiplied.
        patience: validations without improvement that are waited for.
        threshold: relative change that counts as improvement.
        min_lr: rate below which the highest of the optimizer's is not lowered; others keep their share of it.

    Raises:
        ConfigError: a factor that does not lower the rate, or less than no patience.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_steps: int,
        monitor: str,
        factor: float,
        patience: int,
        threshold: float,
        min_lr: float,
    ) -> None:
        if not 0 <= factor < 1:
            raise ConfigError(f"scheduler.factor={factor}: expected at least 0 and less than 1")
        if patience < 0:
            raise ConfigError(f"scheduler.patience={patience}: expected 0 or more")
        self.monitor = monitor
        rates = [group["lr"] for group in optimizer.param_groups]
        super().__init__(
            optimizer,
            mode="min" if lower_is_better(monitor) else "max",
            factor=factor,
            patience=patience,
            threshold=threshold,
            min_lr=[min_lr * (rate / (max(rates) or 1.0)) for rate in rates],
        )


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"scheduler.{name}={value}: expected a share from 0.0 to 1.0")


BY_STEP: tuple[type[LRScheduler], ...] = (WarmupCosine, OneCycle, OneCycleLR, CyclicLR)
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
    node: Mapping[str, Any], optimizer: Optimizer, length: TrainingLength, *, monitor: str
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
    scheduler = _build({"_target_": target, **arguments}, optimizer, length, interval, monitor, where="scheduler")
    config = {"scheduler": scheduler, "interval": interval}
    if isinstance(scheduler, ReduceLROnPlateau):
        config |= {"monitor": getattr(scheduler, "monitor", monitor), "strict": False}
    return config


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
    monitor: str,
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
            _build(part, optimizer, length, interval, monitor, where=f"{where}.schedulers.{place}")
            for place, part in enumerate(parts)
        ]
    known: dict[str, Any] = {"T_max": length.steps if interval == "step" else length.epochs}
    if not {"epochs", "steps_per_epoch"} & arguments.keys():
        known["total_steps"] = known["T_max"]
    else:
        known |= {"epochs": length.epochs, "steps_per_epoch": math.ceil(length.steps / length.epochs)}
    if issubclass(cls, OneCycleLR):
        known["max_lr"] = [group["lr"] for group in optimizer.param_groups]
    if issubclass(cls, ReduceLROnPlateau):
        known["mode"] = "min" if lower_is_better(monitor) else "max"
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
