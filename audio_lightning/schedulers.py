"""Learning-rate schedules, all built the same way: from the optimizer and the length of the training."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from audio_lightning.errors import ConfigError
from audio_lightning.task import lower_is_better


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


class EpochSchedule(ABC):
    """A schedule that goes by epochs; the training steps it before it writes the checkpoint of the epoch."""

    @abstractmethod
    def end_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Go on to the next epoch.

        Args:
            metrics: everything that is known of the one that has ended.
        """


class Decay(EpochSchedule, LambdaLR):
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

    def end_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Another epoch is over, however it went."""
        self.step()


class Plateau(EpochSchedule, ReduceLROnPlateau):
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

    def end_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Count the epoch, if it was validated and has a finite metric."""
        value = float(metrics.get(self.monitor, math.nan))
        if math.isfinite(value):
            self.step(value)


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"scheduler.{name}={value}: expected a share from 0.0 to 1.0")


def lightning_config(scheduler: LRScheduler) -> dict[str, Any]:
    """What ``configure_optimizers`` returns for a schedule."""
    if isinstance(scheduler, Plateau):
        return {"scheduler": scheduler, "interval": "epoch", "monitor": scheduler.monitor, "strict": False}
    return {"scheduler": scheduler, "interval": "epoch" if isinstance(scheduler, EpochSchedule) else "step"}
