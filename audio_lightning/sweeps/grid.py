"""Grid of a sweep: parse overrides in Hydra's grammar, and expand them to combinations.

Beyond the full product of Hydra's sweeper, axes can advance together, and combinations can be excluded.
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
"""Maximum number of combinations of a grid; more is taken for a mistake."""

SWEEP_CALL = re.compile(r"['\"]|(?:choice|range|interval|glob|sort|shuffle|tag|int|float|str|bool)\(")
"""Beginning of a value that is parsed by Hydra's grammar even if the key takes a path."""


@dataclass(frozen=True)
class Grid:
    """Parsed overrides of a sweep.

    Attributes:
        fixed: overrides with one value, in the given order.
        axes: override lines by key that varies (``{"model": ["model=cnn", "model=lstm"]}``), in the given order.
        spaces: keys that vary over an interval, which only a search can sample.
    """

    fixed: list[str] = field(default_factory=list)
    axes: dict[str, list[str]] = field(default_factory=dict)
    spaces: dict[str, Override] = field(default_factory=dict)


def parse_grid(overrides: Sequence[str]) -> Grid:
    """Parse the overrides of a sweep.

    Args:
        overrides: overrides of the command line; paths need no quotes (see
            :func:`audio_lightning.config.quote_paths`). If a key is given twice, the later value replaces the first, as
            in Hydra. Unlike in Hydra, ``shuffle`` gives the same order for the same line, so that a sweep can be
            resumed.

    Raises:
        ConfigError: an override is not in Hydra's grammar, or an axis has no values or too many.
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
    """Expand the axes to combinations without duplicates; the first axis varies slowest.

    Args:
        grid: parsed overrides; intervals are ignored.
        zip_: axes that advance together instead of being crossed, as lists of keys.
        exclude: rules. A combination is left out if every entry of a rule matches. Numbers are compared by value, an
            entry may list several values, and keys with one value on the command line count, too.

    Returns:
        One mapping from key to override line per combination.

    Raises:
        ConfigError: a key is not in the grid, zipped axes have different lengths, no combination is left, or there are
            more than 100,000.
    """
    bundles = _bundles(grid, zip_)
    rules = [_rule(grid, rule) for rule in exclude]
    if (total := math.prod(map(len, bundles))) > LARGEST:
        sizes = " x ".join(f"{key} {len(lines)}" for key, lines in grid.axes.items())
        raise ConfigError(f"the grid has {total:,} combinations ({sizes}); expected at most {LARGEST:,}")
    fixed = values_of(_by_key(grid.fixed))
    kept: dict[str, dict[str, str]] = {}
    for parts in product(*bundles):
        merged = {key: line for part in parts for key, line in part.items()}
        combination = {key: merged[key] for key in grid.axes}
        values = values_of(combination)
        if not any(_matches(rule, {**fixed, **values}) for rule in rules):
            kept.setdefault(json.dumps(values), combination)
    if not kept:
        raise ConfigError(f"sweep.exclude: excludes all {total} combinations; remove or narrow a rule")
    return list(kept.values())


def values_of(combination: Mapping[str, str]) -> dict[str, Any]:
    """Convert override lines to plain values: ``{"seed": "seed=0"}`` to ``{"seed": 0}``."""
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
    """Return the values of an axis as override lines."""
    sweep, key = override.value(), override.get_key_element()
    values: list[Any]
    if isinstance(sweep, Glob):
        if not is_group(override):
            raise ConfigError(f"{override.input_line}: glob() chooses files of a group, but {key} is not a group")
        values = sweep.filter(choices(override.key_or_group))
        nothing = f"no {key} matches" + f" (choices: {', '.join(choices(override.key_or_group))})"
    else:
        assert isinstance(sweep, (ChoiceSweep, RangeSweep))
        values = list(sweep.list) if isinstance(sweep, ChoiceSweep) else _range(override, sweep)
        if sweep.shuffle:
            random.Random(override.input_line).shuffle(values)
        nothing = "the range is empty"
    if not values:
        raise ConfigError(f"{override.input_line}: {nothing}")
    return quote_paths(f"{key}={Override._get_value_element_as_str(value)}" for value in values)


def _range(override: Override, sweep: RangeSweep) -> list[Any]:
    start, stop, step = sweep.start, sweep.stop, sweep.step
    assert start is not None
    assert stop is not None
    if step == 0:
        raise ConfigError(f"{override.input_line}: the step of a range is 0; use another step, or leave it out")
    if (stop - start) / step > LARGEST:
        raise ConfigError(f"{override.input_line}: more than {LARGEST:,} values; shorten the range")
    return list(sweep.range())


def _bundles(grid: Grid, zip_: Sequence[Sequence[str]]) -> list[list[dict[str, str]]]:
    """Group the axes that advance together, in the place of the first of them; a single axis is its own group."""
    group_of: dict[str, list[str]] = {}
    for keys in zip_:
        if isinstance(keys, str):
            raise ConfigError(f"sweep.zip={list(zip_)}: expected lists of keys, such as [[model,feature]]")
        for key in keys:
            if key not in grid.axes:
                typed = _by_key(grid.fixed) | grid.spaces
                why = "has no list of values" if key in typed else "is not an axis of this sweep"
                raise ConfigError(f"sweep.zip: {key} {why}" + did_you_mean(key, grid.axes, listing="axes"))
            if key in group_of:
                raise ConfigError(f"sweep.zip: {key} is named twice; name each axis in one list only")
            group_of[key] = list(keys)
        if len({len(grid.axes[key]) for key in keys}) > 1:
            lengths = " and ".join(f"{key} {len(grid.axes[key])}" for key in keys)
            raise ConfigError(f"sweep.zip: axes that advance together need the same number of values; found {lengths}")
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
    """Compare values: 1e-3 equals 0.001, also as the text that YAML reads, but ``true`` does not equal 1."""
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
    """Return the plain value of an override with one value."""
    return parse_overrides([line])[0].value()
