"""Attributes of Lightning's Trainer that its type annotations lack."""

from typing import Any, TypeVar

import lightning.pytorch as pl

AnyCallback = TypeVar("AnyCallback", bound=pl.Callback)


def logs_at(trainer: pl.Trainer, step: int) -> bool:
    """Return whether metrics are logged at a step, counted from 1 (``trainer.log_every_n_steps``)."""
    undeclared: Any = trainer
    every: int = undeclared.log_every_n_steps
    return bool(every) and step % every == 0


def callbacks_of(trainer: pl.Trainer, kind: type[AnyCallback]) -> list[AnyCallback]:
    """Return the trainer's callbacks of a class."""
    undeclared: Any = trainer
    return [callback for callback in undeclared.callbacks if isinstance(callback, kind)]
