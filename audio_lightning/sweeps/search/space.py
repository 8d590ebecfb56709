"""Search space as Optuna distributions; imported only by a search."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.data.splitting import splits
from audio_lightning.sweeps.grid import LARGEST, Grid, values_of

DIVIDING = ("seed", *(f"data.{key}" for key in splits.DIVIDING))
"""Keys that determine the evaluated clips or repeat a trial; a search must not choose among them."""


@dataclass(frozen=True)
class Axis:
    """Axis of the search space: its distribution, and the function from a sampled value to an override line."""

    distribution: BaseDistribution
    line: Callable[[Any], str]

    def draw(self, trial: Trial, key: str) -> Any:
        """Sample a value for a trial, or return the value sampled before."""
        found = self.distribution
        if isinstance(found, CategoricalDistribution):
            return trial.suggest_categorical(key, found.choices)
        if isinstance(found, IntDistribution):
            return trial.suggest_int(key, found.low, found.high, step=found.step, log=found.log)
        assert isinstance(found, FloatDistribution)
        return trial.suggest_float(key, found.low, found.high, step=found.step, log=found.log)


def axes(grid: Grid) -> tuple[dict[str, Axis], dict[str, str]]:
    """Return the axes to sample, and the override lines of keys with a single value.

    Raises:
        ConfigError: an interval is invalid, no key varies, or a key determines the evaluated clips.
    """
    if lucky := [key for key in (*grid.axes, *grid.spaces) if key.lstrip("+") in DIVIDING]:
        raise ConfigError(
            f"{', '.join(lucky)}: a search would choose the luckiest seed or the easiest clips; give one value, and "
            "repeat the best trials with several seeds or folds in a separate sweep"
        )
    found, constant = {}, {}
    for key, lines in grid.axes.items():
        distinct = {json.dumps(value): line for line in lines for value in values_of({key: line}).values()}
        if len(distinct) == 1:
            constant[key] = lines[0]
        else:
            found[key] = _even(list(distinct.values())) or _categorical(list(distinct.values()))
    for key, override in grid.spaces.items():
        found[key] = _interval(override)
    if not found:
        raise ConfigError("sweep=search: no key varies; add one, such as 'optimizer.lr=tag(log,interval(1e-4,1e-1))'")
    return found, constant


def check_space(sampler: str, space: dict[str, BaseDistribution]) -> None:
    """Check that the sampler supports the search space.

    Raises:
        ConfigError: CMA-ES with choices or a single key, or a grid with an interval or too many points.
    """
    lists = [key for key, found in space.items() if isinstance(found, CategoricalDistribution)]
    if sampler == "cmaes" and lists:
        raise ConfigError(
            f"sweep.search.sampler=cmaes: samples numbers only, but {lists[0]} is a list of choices; use tpe, or "
            "interval() or range()"
        )
    if sampler == "cmaes" and len(space) < 2:
        raise ConfigError("sweep.search.sampler=cmaes: needs two keys that vary, there is one; use tpe")
    if sampler == "grid":
        points = 1
        for key, found in space.items():
            if (values := listed(found)) is None:
                raise ConfigError(f"sweep.search.sampler=grid: {key} is an interval without steps; use range() or tpe")
            points *= len(values)
        if points > LARGEST:
            raise ConfigError(f"sweep.search.sampler=grid: {points:,} points; expected at most {LARGEST:,}")


def listed(distribution: BaseDistribution) -> Sequence[Any] | None:
    """Return all values of a distribution; None if it is continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is None:
        return None
    steps = round((distribution.high - distribution.low) / distribution.step)
    return [distribution.low + place * distribution.step for place in range(steps + 1)]


def _categorical(lines: list[str]) -> Axis:
    by_text = {line.partition("=")[2]: line for line in lines}
    return Axis(CategoricalDistribution(list(by_text)), by_text.__getitem__)


def _even(lines: list[str]) -> Axis | None:
    """Return a numeric range if the values are evenly spaced numbers; otherwise None."""
    values = [values_of({"": line})[""] for line in lines]
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return None
    # Steps of 0.1 accumulate an error in the 17th digit.
    by_value = {Decimal(f"{value:.12g}"): line for value, line in zip(values, lines)}
    numbers = sorted(by_value)
    steps = {after - before for before, after in pairwise(numbers)}
    if len(steps) != 1:
        return None
    low, high, step = numbers[0], numbers[-1], steps.pop()
    distribution: BaseDistribution
    if all(isinstance(value, int) for value in values):
        distribution = IntDistribution(int(low), int(high), step=int(step))
    else:
        distribution = FloatDistribution(float(low), float(high), step=float(step))
    return Axis(distribution, lambda value: by_value[numbers[round((value - float(low)) / float(step))]])


def _interval(override: Override) -> Axis:
    sweep: Any = override.value()
    assert isinstance(sweep, IntervalSweep)
    assert sweep.start is not None
    assert sweep.end is not None
    typed, key = override.input_line, override.get_key_element()
    if unknown := sorted(sweep.tags - {"log", "int"}):
        raise ConfigError(f"{typed}: no such tag {unknown[0]}" + did_you_mean(unknown[0], ("log", "int")))
    log = "log" in sweep.tags
    if sweep.start >= sweep.end:
        raise ConfigError(f"{typed}: the interval is empty; give the smaller number first")
    if log and sweep.start <= 0:
        raise ConfigError(f"{typed}: a log interval needs positive numbers; raise its lower end")
    if "int" not in sweep.tags and not isinstance(sweep.start, int):
        return Axis(FloatDistribution(sweep.start, sweep.end, log=log), lambda value: f"{key}={value!r}")
    low, high = math.ceil(sweep.start), math.floor(sweep.end)
    if low >= high:
        raise ConfigError(f"{typed}: the interval has fewer than two integers; widen it")
    return Axis(IntDistribution(low, high, log=log), lambda value: f"{key}={value}")
