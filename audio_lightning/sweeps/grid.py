"""From what was typed to the combinations it stands for, in Hydra's own grammar of overrides.

Hydra's sweeper knows the full product only. Here axes can also advance together, and combinations can be left out.
"""

import json
import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, OverrideType, RangeSweep

from audio_lightning.config.location import choices
from audio_lightning.config.overrides import is_group, parse_overrides, quote_paths
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError

LARGEST = 100_000
"""Combinations in one grid; more is a slip of the hand."""

SWEEP_CALL = re.compile(r"['\"]|(?:choice|range|interval|glob|sort|shuffle|tag|int|float|str|bool)\(")
"""How a value begins that is left to Hydra's grammar even where the key wants a path."""


@dataclass(frozen=True)
class Grid:
    """What was typed, taken apart.

    Attributes:
        fixed: overrides without a sweep, in typed order.
        axes: the override lines of each key that varies (``{"model": ["model=cnn", "model=lstm"]}``), in typed order.
        spaces: keys that vary over an interval, which only a search can draw from.
    """

    fixed: list[str] = field(default_factory=list)
    axes: dict[str, list[str]] = field(default_factory=dict)
    spaces: dict[str, Override] = field(default_factory=dict)


def parse_grid(overrides: Sequence[str]) -> Grid:
    """Take the overrides of a sweep apart.

    Args:
        overrides: as they were typed; paths need no quotes (see :func:`audio_lightning.config.quote_paths`). Of a key
            that is given twice the later value holds, in the place of the first, as in Hydra. Unlike Hydra's,
            ``shuffle`` gives the same order for the same line, so that a sweep can be gone on with.

    Raises:
        ConfigError: an override that is not in Hydra's grammar, an axis without values, or one that is too long.
    """
    latest: dict[str, Override] = {}
    for override in parse_overrides(_quote(line) for line in overrides):
        deletes = override.type is OverrideType.DEL
        latest["~" * deletes + override.key_or_group] = override
    grid = Grid()
    for key, override in latest.items():
        if override.is_interval_sweep():
            grid.spaces[key] = override
        elif override.is_sweep_override():
            grid.axes[key] = _axis(override)
        else:
            assert override.input_line is not None
            grid.fixed.append(override.input_line)
    return grid


def combinations(
    grid: Grid, *, zip_: Sequence[Sequence[str]] = (), exclude: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, str]]:
    """Every combination of the axes: from key to override line, the first axis slowest, duplicates once.

    Args:
        grid: what was typed; its intervals are left alone.
        zip_: axes that advance together instead of being crossed, as lists of keys.
        exclude: rules; a combination is left out when every entry of a rule holds. Numbers are compared as numbers,
            an entry may list several values, and keys that are fixed on the command line count, too.

    Raises:
        ConfigError: a key that is not in the grid, zipped axes of different lengths, nothing left, or more than
            100,000 combinations.
    """
    bundles = _bundles(grid, zip_)
    rules = [_rule(grid, rule) for rule in exclude]
    if (total := math.prod(map(len, bundles))) > LARGEST:
        sizes = " x ".join(f"{key} {len(lines)}" for key, lines in grid.axes.items())
        raise ConfigError(f"the grid has {total:,} combinations ({sizes}), at most {LARGEST:,} are taken")
    fixed = values_of(_by_key(grid.fixed))
    kept: dict[str, dict[str, str]] = {}
    for parts in product(*bundles):
        merged = {key: line for part in parts for key, line in part.items()}
        combination = {key: merged[key] for key in grid.axes}
        values = values_of(combination)
        if not any(_matches(rule, {**fixed, **values}) for rule in rules):
            kept.setdefault(json.dumps(values), combination)
    if not kept:
        raise ConfigError(f"sweep.exclude leaves none of the {total} combinations")
    return list(kept.values())


def values_of(combination: Mapping[str, str]) -> dict[str, Any]:
    """From key to plain value: ``{"seed": "seed=0"}`` is ``{"seed": 0}``."""
    return {key: value_of(line) for key, line in combination.items()}


def _quote(line: str) -> str:
    value = line.partition("=")[2]
    if SWEEP_CALL.match(value):
        try:
            if parse_overrides([line])[0].is_sweep_override():
                return line
        except ConfigError:
            pass  # a path such as int(1)~
    return quote_paths([line], multirun=True)[0]


def _axis(override: Override) -> list[str]:
    """The values of an axis as override lines."""
    sweep, key = override.value(), override.get_key_element()
    values: list[Any]
    if isinstance(sweep, Glob):
        if not is_group(override):
            raise ConfigError(f"{override.input_line}: glob() chooses files of a group, and {key} is not one")
        values = sweep.filter(choices(override.key_or_group))
        nothing = f"no {key} matches" + f" (choices: {', '.join(choices(override.key_or_group))})"
    else:
        assert isinstance(sweep, (ChoiceSweep, RangeSweep))
        values = list(sweep.list) if isinstance(sweep, ChoiceSweep) else _range(override, sweep)
        if sweep.shuffle:
            random.Random(override.input_line).shuffle(values)
        nothing = "there is nothing in this range"
    if not values:
        raise ConfigError(f"{override.input_line}: {nothing}")
    return quote_paths(f"{key}={Override._get_value_element_as_str(value)}" for value in values)


def _range(override: Override, sweep: RangeSweep) -> list[Any]:
    start, stop, step = sweep.start, sweep.stop, sweep.step
    assert start is not None
    assert stop is not None
    if step == 0:
        raise ConfigError(f"{override.input_line}: the step of a range must not be 0")
    if (stop - start) / step > LARGEST:
        raise ConfigError(f"{override.input_line}: more than {LARGEST:,} values")
    return list(sweep.range())


def _bundles(grid: Grid, zip_: Sequence[Sequence[str]]) -> list[list[dict[str, str]]]:
    """What is crossed: an axis, or several that advance together, in the place of the first of them."""
    group_of: dict[str, list[str]] = {}
    for keys in zip_:
        if isinstance(keys, str):
            raise ConfigError(f"sweep.zip={list(zip_)}: expected lists of keys, such as [[model,feature]]")
        for key in keys:
            if key not in grid.axes:
                typed = _by_key(grid.fixed) | grid.spaces
                why = "has no list of values to go through" if key in typed else "is not an axis of this sweep"
                raise ConfigError(f"sweep.zip: {key} {why}" + did_you_mean(key, grid.axes, listing="axes"))
            if key in group_of:
                raise ConfigError(f"sweep.zip: {key} is named twice; an axis advances together with one list of others")
            group_of[key] = list(keys)
        if len({len(grid.axes[key]) for key in keys}) > 1:
            lengths = " and ".join(f"{key} {len(grid.axes[key])}" for key in keys)
            raise ConfigError(f"sweep.zip: axes that advance together need equally many values; {lengths}")
    bundles = []
    for key, lines in grid.axes.items():
        together = group_of.get(key, [key])
        if key == min(together, key=list(grid.axes).index):
            bundles.append([{name: grid.axes[name][place] for name in together} for place in range(len(lines))])
    return bundles


def _rule(grid: Grid, rule: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(rule, Mapping) or not rule:
        raise ConfigError(f"sweep.exclude: {rule!r}: expected keys and values, such as {{model: lstm, seed: [0,1]}}")
    known = [*grid.axes, *_by_key(grid.fixed)]
    for key in rule:
        if key not in known:
            hint = did_you_mean(str(key), known, listing="keys")
            raise ConfigError(f"sweep.exclude: {key} is not a key of this sweep" + hint)
    return rule


def _matches(rule: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(
        _equal(wanted, values[key]) or (isinstance(wanted, list) and any(_equal(one, values[key]) for one in wanted))
        for key, wanted in rule.items()
    )


def _equal(one: Any, other: Any) -> bool:
    """Equal as values: 1e-3 is 0.001, also as the text that YAML makes of it, but ``true`` is not 1."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, (int, float)) != isinstance(other, (int, float)):
        try:
            return float(one) == float(other)
        except (TypeError, ValueError):
            return False
    return bool(one == other)


def _by_key(lines: Iterable[str]) -> dict[str, str]:
    return {override.key_or_group: str(override.input_line) for override in parse_overrides(lines)}


@lru_cache(maxsize=2 * LARGEST)
def value_of(line: str) -> Any:
    """The plain value of an override with one value."""
    return parse_overrides([line])[0].value()
