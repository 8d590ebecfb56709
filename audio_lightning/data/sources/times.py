"""Times in tables: seconds, minutes and hours, with a decimal point or a decimal comma."""

import math
import re

import numpy as np
import pandas as pd

EXPECTED = "seconds, mm:ss or hh:mm:ss"
"""Formats of :func:`to_seconds`, for error messages."""

_CLOCK = re.compile(r"(?:(?P<hours>\d+):(?=\d+:))?(?P<minutes>\d+):(?P<seconds>[0-5]?\d(?:[.,]\d*)?)")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")


def to_seconds(texts: pd.Series, empty: float = math.nan) -> pd.Series:
    """Convert texts to seconds, float64.

    Formats: ``12.5``, ``12,5``, ``mm:ss``, ``mm:ss.fff`` and ``hh:mm:ss.fff``. Without hours, minutes may exceed 59.

    Args:
        texts: stripped strings.
        empty: value of an empty text.

    Returns:
        Seconds; NaN for a text in none of these formats.
    """
    found = pd.to_numeric(texts.mask(texts == "", empty), errors="coerce").astype("float64")
    rest = texts[found.isna() & (texts != "")]
    return found.mask(found.index.isin(rest.index), rest.map(_read).astype("float64")) if len(rest) else found


def _read(text: str) -> float:
    if _DECIMAL_COMMA.fullmatch(text):
        return float(text.replace(",", "."))
    if (match := _CLOCK.fullmatch(text)) is None:
        return np.nan
    hours, minutes = int(match["hours"] or 0), int(match["minutes"])
    if match["hours"] and minutes > 59:
        return np.nan
    return 3600.0 * hours + 60 * minutes + float(match["seconds"].replace(",", "."))
