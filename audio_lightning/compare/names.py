"""Names of leaderboard rows, made of the choices in which the rows differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from audio_lightning.compare.trials import REPETITION_KEYS, as_text

PLACES = ("data.root", "cache.", "hydra.")
"""Prefixes of keys of locations, which do not affect results."""


def choices_of(trials: pd.DataFrame) -> dict[str, Any]:
    """Return every choice that all ``trials`` share, except seeds and folds."""
    found = {}
    for column in trials.columns:
        key = column.removeprefix("choice.")
        if key == column or key in REPETITION_KEYS:
            continue
        values = trials[column]
        if f"config.{key}" in trials and values.isna().all():
            values = trials[f"config.{key}"]  # an axis of another sweep only
        if len({as_text(value) for value in values}) == 1:
            found[key] = values.iloc[0]
    return found


def row_names(setups: Mapping[str, pd.DataFrame], axes: Sequence[str]) -> dict[str, str]:
    """Name every setup: values of groups alone (``logmel cnn``), then keys with values (``optimizer.lr=0.1``).

    A name consists of the axes in which the setups differ. If these are not enough, as with trials of several sweeps,
    other choices follow, then keys of the configuration, and finally the hash of the setup.

    Args:
        setups: finished trials of each setup.
        axes: keys that vary, in the order of the command line.
    """
    values = {setup: choices_of(trials) for setup, trials in setups.items()}
    configs = {
        setup: {
            str(column).removeprefix("config."): value
            for column, value in trials.iloc[0].items()  # one row at once: single columns are slow
            if str(column).startswith("config.")
        }
        for setup, trials in setups.items()
    }
    typed = [key for key in axes if key not in REPETITION_KEYS and any(key in found for found in values.values())]
    differing = [key for key in typed if _differ(key, values)]
    shown = differing or typed or ["feature", "model"]
    parts = {
        setup: [part for key in shown if key in found and (part := _part(key, found, configs[setup]))]
        for setup, found in values.items()
    }
    further = dict.fromkeys(key for found in (*values.values(), *configs.values()) for key in found if key not in shown)
    for key in further:
        if key in REPETITION_KEYS or key.startswith(PLACES):
            continue
        for alike in _alike(parts):
            group = {setup: configs[setup] | values[setup] for setup in alike}
            if _differ(key, group):
                for setup, found in group.items():
                    parts[setup] += [part] if (part := _part(key, found, configs[setup])) else []
    for alike in _alike(parts):
        for setup in alike:
            parts[setup].append(setup[:6])
    return {setup: " ".join(part) for setup, part in parts.items()}


def _differ(key: str, values: Mapping[str, Mapping[str, Any]]) -> bool:
    return len({as_text(found.get(key)) for found in values.values()}) > 1


def _alike(parts: Mapping[str, list[str]]) -> list[list[str]]:
    """Return the groups of setups that still have the same name."""
    names = {setup: " ".join(part) for setup, part in parts.items()}
    several = [name for name, times in Counter(names.values()).items() if times > 1]
    return [[setup for setup in names if names[setup] == name] for name in several]


def _part(key: str, values: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Format a choice for a name; a group without a choice is left out."""
    value = values.get(key)
    text = f"{value:.4g}" if isinstance(value, float) else as_text(value)
    is_group = "." not in key and key not in config
    if is_group and value in (None, "None"):
        return ""
    return text if is_group else f"{key}={text}"
