"""Settings of a sweep (``conf/sweep.yaml``), as opposed to those of its trials."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_lightning.config import as_plain, compose
from audio_lightning.config.targets import check_arguments
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.executors.ray import RayExecutor
from audio_lightning.sweeps.executors.slurm import SlurmExecutor
from audio_lightning.sweeps.search.settings import SearchSettings

EXECUTORS = ("local", "ray", "slurm")
PLOTS = ("best", "all", "none")

NODES = {"search": SearchSettings, "ray": RayExecutor, "slurm": SlurmExecutor}
"""Class that gets the keys of each node below ``sweep``."""

SUPPLIED = ("logs", "workers", "timeout", "run")
"""Arguments of these classes that are not keys of their nodes."""


@dataclass(frozen=True)
class SweepSettings:
    """Keys of the node ``sweep``; ``conf/sweep/default.yaml`` explains each."""

    name: str | None = None
    dir: str | None = None
    grid: dict[str, Any] = field(default_factory=dict)
    folds: bool = False
    zip: list[list[str]] = field(default_factory=list)
    exclude: list[dict[str, Any]] = field(default_factory=list)
    extra_trials: list[str] = field(default_factory=list)
    trials_file: str | None = None
    dry_run: bool = False
    executor: str = "local"
    workers: int | None = None
    trials_per_gpu: int = 1
    fuse: int = 1
    timeout: float | None = None
    retries: int = 0
    fail_fast: bool = False
    reuse: bool = True
    plots: str = "best"
    trials: int = 50
    search: dict[str, Any] = field(default_factory=dict)
    ray: dict[str, Any] = field(default_factory=dict)
    slurm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in (("executor", EXECUTORS), ("plots", PLOTS)):
            if (value := getattr(self, name)) not in known:
                raise ConfigError(f"sweep.{name}={value}: expected one of {', '.join(known)}")
        for name, least in (("workers", 1), ("trials_per_gpu", 1), ("fuse", 1), ("trials", 1), ("retries", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"sweep.{name}={value}: expected at least {least}")
        if self.fuse > 1 and self.executor != "local":
            raise ConfigError(
                f"sweep.fuse={self.fuse}: sweep.executor={self.executor} runs one process per trial; use "
                "sweep.executor=local, or sweep.fuse=1"
            )
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"sweep.timeout={self.timeout}: expected more than 0 seconds, or null")

    def folder(self, name: str) -> Path:
        """Return the folder of the sweep: ``sweep.dir``, otherwise ``sweeps/<name>``."""
        return Path(os.path.expanduser(self.dir)) if self.dir else Path("sweeps") / name


def read_settings(overrides: Iterable[str]) -> SweepSettings:
    """Compose the settings of a sweep from overrides with quoted paths.

    Raises:
        ConfigError: an unknown key or choice of ``sweep``, or an invalid value.
    """
    values = as_plain(compose(overrides, name="sweep").sweep)
    check_arguments(SweepSettings, values, {}, where="sweep")
    for name, cls in NODES.items():
        check_arguments(cls, values[name], dict.fromkeys(SUPPLIED), where=f"sweep.{name}")
    return SweepSettings(**values)
