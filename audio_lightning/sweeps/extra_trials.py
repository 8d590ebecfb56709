"""Trials beside a grid: whole recipes to compare its combinations with."""

import shlex
from collections.abc import Sequence

from audio_lightning.config.overrides import parse_overrides, quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.grid import Grid, combinations


def extra_trials(
    lines: Sequence[str], grid: Grid, typed: Sequence[str], *, zip_: Sequence[Sequence[str]] = ()
) -> list[dict[str, str]]:
    """Every extra trial with each seed and data set of a grid: from key to override line.

    Args:
        lines: ``sweep.extra_trials``, the overrides of one trial each.
        grid: only its axes of seeds and of data are crossed with the trials.
        typed: overrides for all trials, which go before those of ``lines``.
        zip_: axes that advance together.

    Raises:
        ConfigError: an entry that is not overrides with one value each.
    """
    repeated = {key: values for key, values in grid.axes.items() if key == "seed" or key.partition(".")[0] == "data"}
    zipped = [kept for keys in zip_ if (kept := [key for key in keys if key in repeated])]
    fixed = {override.key_or_group: str(override.input_line) for override in parse_overrides(typed)}
    found = []
    for line in lines:
        asked = _read(line)
        # A name is made of what a trial has of its own; of a recipe for which another one is typed, that is the other.
        own = {key: asked[key] for key in asked if key not in fixed} or {key: fixed[key] for key in asked}
        found += [own | repetition for repetition in combinations(Grid([], repeated), zip_=zipped)]
    return found


def _read(line: str) -> dict[str, str]:
    try:
        overrides = parse_overrides(quote_paths(shlex.split(line)))
    except (ConfigError, ValueError) as error:  # a quote that is not closed
        raise ConfigError(f"sweep.extra_trials: {line}: {error}") from error
    if not overrides or any(override.is_sweep_override() for override in overrides):
        raise ConfigError(f"sweep.extra_trials: {line!r}: expected overrides with one value each: 'experiment=best'")
    return {override.key_or_group: str(override.input_line) for override in overrides}
