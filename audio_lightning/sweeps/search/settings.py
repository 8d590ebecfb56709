"""Settings and objectives of a search."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import METRICS, MULTILABEL_METRICS, configured_metric, lower_is_better

Direction = Literal["minimize", "maximize"]

SAMPLERS = ("tpe", "random", "grid", "cmaes", "nsga2")

PRUNERS = ("none", "median", "hyperband")

COSTS = ("macs", "parameters", "latency_ms", "seconds")
"""Costs of a trial; lower is better."""


@dataclass(frozen=True)
class SearchSettings:
    """The keys of ``sweep.search``.

    Attributes:
        enabled: search, in place of every combination.
        sampler: ``tpe``, ``random``, ``grid``, ``cmaes`` or ``nsga2``.
        pruner: ``none``, ``median`` or ``hyperband``: give up trials that do worse than others did.
        objectives: what to optimize; ``None``: the validation metric that chooses epochs.
        storage: see :func:`storage_url`.
        study: name of the study; ``None``: the name of the sweep.
        seed: one process with the same seed proposes the same trials as long as it is told the same results; several
            that share a study propose different ones. ``None`` leaves it to chance.
    """

    enabled: bool = False
    sampler: str = "tpe"
    pruner: str = "none"
    objectives: list[str] | None = None
    storage: str | None = None
    study: str | None = None
    seed: int | None = 0

    def __post_init__(self) -> None:
        for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if (value := getattr(self, name)) not in known:
                hint = did_you_mean(str(value), known, listing=f"{name}s")
                raise ConfigError(f"sweep.search.{name}={value}: there is no such {name}{hint}")

    def check_objectives(self, count: int) -> None:
        """Refuse several objectives where only one is understood.

        Raises:
            ConfigError: a pruner or CMA-ES with several objectives.
        """
        if count > 1 and self.pruner != "none":
            raise ConfigError(
                f"sweep.search.pruner={self.pruner}: trials are given up by one objective, there are {count}; "
                "take sweep.search.pruner=none"
            )
        if count > 1 and self.sampler == "cmaes":
            raise ConfigError("sweep.search.sampler=cmaes takes one objective; take nsga2 or tpe for several")


def read_objectives(
    names: Iterable[str] | None, monitor: str, metrics: Mapping[str, Any] | None = None
) -> list[tuple[str, Direction]]:
    """What to optimize, and in which direction.

    Args:
        names: metrics of the validation clips (``validation/accuracy``) and costs (``macs``, ``parameters``,
            ``latency_ms`` or ``latency``, ``seconds``); ``None`` or nothing: the monitor.
        monitor: the metric that chooses the best epoch.
        metrics: node of the configuration, with further metrics.

    Raises:
        ConfigError: an unknown metric, one that is named twice, or one of the test clips.
    """
    measured = dict.fromkeys((*METRICS, *MULTILABEL_METRICS, *(metrics or {})))
    known = [*(f"validation/{name}" for name in measured), *COSTS]
    found: list[tuple[str, Direction]] = []
    for typed in list(names or [monitor]):
        name = "latency_ms" if typed == "latency" else typed
        if name.startswith("test/"):
            raise ConfigError(f"sweep.search.objectives: {name} is a test metric; choose by a validation metric")
        further = configured_metric(name, metrics)
        if name not in known and name != monitor and not further:
            hint = did_you_mean(name, known, listing="metrics")
            raise ConfigError(f"sweep.search.objectives: there is no metric {name}{hint}")
        if name in dict(found):
            raise ConfigError(f"sweep.search.objectives: {name} is named twice")
        if further:
            from audio_lightning.metrics.configured import mode_of  # it takes seconds to import

            less = mode_of(name, metrics) == "min"
        else:
            less = name in COSTS or lower_is_better(name)
        found.append((name, "minimize" if less else "maximize"))
    return found
