"""Checks of arguments that several classes share."""

import math
from collections.abc import Sequence

from audio_lightning.core.errors import ConfigError

LARGEST_TABLE = 25_000_000
"""Numbers in a table that an option makes, 100 MB; the largest of those that are shipped have a hundredth of them."""


def require_table(what: str, *sizes: float) -> None:
    """Raise :class:`ConfigError` before a table is made that would exhaust the memory.

    Args:
        what: options that decide its sizes.
        sizes: of the table.
    """
    if not math.prod(sizes) <= LARGEST_TABLE:
        raise ConfigError(
            f"{what}: a table of {' x '.join(f'{size:,.0f}' for size in sizes)} numbers, expected at most "
            f"{LARGEST_TABLE:,}; use fewer bands, or shorter windows"
        )


def require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise :class:`ConfigError` unless ``value`` is one of ``choices``; None is written as YAML's null."""
    if value not in choices:
        allowed = ", ".join("null" if choice is None else str(choice) for choice in choices)
        raise ConfigError(f"{name} is {value!r}, expected one of: {allowed}")


def require_positive(name: str, value: float | None) -> None:
    """Raise :class:`ConfigError` unless ``value`` is greater than zero; an option that is null passes."""
    if value is not None and not value > 0:
        raise ConfigError(f"{name} is {value}, expected a number greater than 0")


def count_samples(name: str, seconds: float, sample_rate: int) -> int:
    """Duration in samples, rounded to the nearest.

    Raises:
        ConfigError: the duration is shorter than one sample.
    """
    samples = round(seconds * sample_rate)
    if samples < 1:
        raise ConfigError(
            f"{name} is {seconds}, shorter than one sample at {sample_rate} Hz: "
            f"use at least {1 / sample_rate:.2g} seconds"
        )
    require_table(name, samples)
    return samples
