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
    """Keys of the node ``sweep.search``.

    Attributes:
        enabled: search instead of running every combination.
        sampler: ``tpe``, ``random``, ``grid``, ``cmaes`` or ``nsga2``.
        pruner: ``none``, ``median`` or ``hyperband``: stop trials that are worse than earlier ones.
        objectives: objectives to optimize; None: the validation metric that chooses epochs.
        storage: see :func:`storage_url`.
        study: name of the study; None: the name of the sweep.
        seed: seed of the sampler. One process with the same seed and the same results proposes the same trials;
            several processes that share a study propose different ones. None: random.
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
                raise ConfigError(f"sweep.search.{name}={value}: no such {name}{hint}")

    def check_objectives(self, count: int) -> None:
        """Check that sampler and pruner support the number of objectives.

        Raises:
            ConfigError: a pruner or CMA-ES with several objectives.
        """
        if count > 1 and self.pruner != "none":
            raise ConfigError(
                f"sweep.search.pruner={self.pruner}: pruning needs one objective, there are {count}; "
                "use sweep.search.pruner=none"
            )
        if count > 1 and self.sampler == "cmaes":
            raise ConfigError("sweep.search.sampler=cmaes: supports one objective only; use nsga2 or tpe for several")


def read_objectives(
    names: Iterable[str] | None, monitor: str, metrics: Mapping[str, Any] | None = None
) -> list[tuple[str, Direction]]:
    """Return the objectives of a search with their directions.

    Args:
        names: validation metrics (``validation/accuracy``) and costs (``macs``, ``parameters``, ``latency_ms`` or
            ``latency``, ``seconds``); None or empty: the monitor.
        monitor: metric that chooses the best epoch.
        metrics: node ``metrics`` of the configuration, with further metrics.

    Raises:
        ConfigError: a metric is unknown, named twice, or a test metric.
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
            raise ConfigError(f"sweep.search.objectives: no such metric {name}{hint}")
        if name in dict(found):
            raise ConfigError(f"sweep.search.objectives: {name} is named twice; name it once")
        if further:
            from audio_lightning.metrics.configured import mode_of  # it takes seconds to import

            less = mode_of(name, metrics) == "min"
        else:
            less = name in COSTS or lower_is_better(name)
        found.append((name, "minimize" if less else "maximize"))
    return found
