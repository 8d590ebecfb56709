"""Extra trials of a sweep: whole experiments to compare the combinations of a grid with."""

import shlex
from collections.abc import Sequence

from audio_lightning.config.overrides import parse_overrides, quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.grid import Grid, combinations


def extra_trials(
    lines: Sequence[str], grid: Grid, typed: Sequence[str], *, zip_: Sequence[Sequence[str]] = ()
) -> list[dict[str, str]]:
    """Cross every extra trial with the seeds and data sets of a grid; return mappings from key to override line.

    Args:
        lines: ``sweep.extra_trials``, the overrides of one trial each.
        grid: grid; only its axes of seeds and data are used.
        typed: overrides for all trials, which take precedence over those of ``lines``.
        zip_: axes that advance together.

    Raises:
        ConfigError: an entry is not a line of overrides with one value each.
    """
    repeated = {key: values for key, values in grid.axes.items() if key == "seed" or key.partition(".")[0] == "data"}
    zipped = [kept for keys in zip_ if (kept := [key for key in keys if key in repeated])]
    fixed = {override.key_or_group: str(override.input_line) for override in parse_overrides(typed)}
    found = []
    for line in lines:
        asked = _read(line)
        # The trial is named by its own keys; if all of them are overridden on the command line, by those overrides.
        own = {key: asked[key] for key in asked if key not in fixed} or {key: fixed[key] for key in asked}
        found += [own | repetition for repetition in combinations(Grid([], repeated), zip_=zipped)]
    return found


def _read(line: str) -> dict[str, str]:
    try:
        overrides = parse_overrides(quote_paths(shlex.split(line)))
    except (ConfigError, ValueError) as error:  # an unclosed quote
        raise ConfigError(f"sweep.extra_trials: {line}: {error}") from error
    if not overrides or any(override.is_sweep_override() for override in overrides):
        raise ConfigError(f"sweep.extra_trials: {line!r}: expected overrides with one value each: 'experiment=best'")
    return {override.key_or_group: str(override.input_line) for override in overrides}
