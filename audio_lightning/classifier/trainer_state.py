"""What Lightning's Trainer knows and does not declare."""

from typing import Any, TypeVar

import lightning.pytorch as pl

AnyCallback = TypeVar("AnyCallback", bound=pl.Callback)


def logs_at(trainer: pl.Trainer, step: int) -> bool:
    """Whether a step, counted from 1, is one of those that are logged (``trainer.log_every_n_steps``)."""
    undeclared: Any = trainer
    every: int = undeclared.log_every_n_steps
    return bool(every) and step % every == 0


def callbacks_of(trainer: pl.Trainer, kind: type[AnyCallback]) -> list[AnyCallback]:
    """The trainer's callbacks of a kind."""
    undeclared: Any = trainer
    return [callback for callback in undeclared.callbacks if isinstance(callback, kind)]
