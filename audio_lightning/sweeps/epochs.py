"""Length of a training without validation clips."""

from typing import Any

ANNEALED = ("WarmupCosine", "OneCycleLR")
"""Schedulers whose learning rate ends near zero, so that the last epoch can be used without validation."""


def is_annealed(config: Any) -> bool:
    """Return whether the scheduler of a configuration is one of :data:`ANNEALED`."""
    return str(config.scheduler._target_).rpartition(".")[2] in ANNEALED
