"""How long a training lasts that has no validation to choose its epoch."""

from typing import Any

ANNEALED = ("WarmupCosine", "OneCycleLR")
"""Schedules that end where the learning rate is nought, so that the last epoch is the one to take."""


def is_annealed(config: Any) -> bool:
    """Whether the schedule of a configuration is one of :data:`ANNEALED`."""
    return str(config.scheduler._target_).rpartition(".")[2] in ANNEALED
