"""Argument checks shared by several classes."""

import math
from collections.abc import Sequence

from audio_lightning.core.errors import ConfigError

LARGEST_TABLE = 25_000_000
"""Maximum number of values in a table sized by an option (100 MB); shipped configurations need a hundredth of it."""


def require_table(what: str, *sizes: float, use: str = "fewer bands, or shorter windows") -> None:
    """Raise :class:`ConfigError` before allocating a table that would exhaust the memory.

    Args:
        what: names of the options that determine the table's size.
        sizes: dimensions of the table.
        use: remedy in the message.
    """
    if not math.prod(sizes) <= LARGEST_TABLE:
        shape = " x ".join(f"{size:,.0f}" for size in sizes)
        raise ConfigError(f"{what}: a table of {shape} numbers, expected at most {LARGEST_TABLE:,}; use {use}")


def require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise :class:`ConfigError` unless ``value`` is one of ``choices``; the message writes None as YAML's ``null``."""
    if value not in choices:
        allowed = ", ".join("null" if choice is None else str(choice) for choice in choices)
        raise ConfigError(f"{name} is {value!r}, expected one of: {allowed}")


def require_positive(name: str, value: float | None) -> None:
    """Raise :class:`ConfigError` unless ``value`` is greater than zero or None."""
    if value is not None and not value > 0:
        raise ConfigError(f"{name} is {value}, expected a number greater than 0")


def count_samples(name: str, seconds: float, sample_rate: int) -> int:
    """Convert a duration in seconds to samples, rounded to the nearest.

    Raises:
        ConfigError: the duration is shorter than one sample, or so long that the samples would exhaust the memory.
    """
    samples = round(seconds * sample_rate)
    if samples < 1:
        raise ConfigError(
            f"{name} is {seconds}, shorter than one sample at {sample_rate} Hz: "
            f"use at least {1 / sample_rate:.2g} seconds"
        )
    require_table(name, samples, use="a shorter duration")
    return samples
