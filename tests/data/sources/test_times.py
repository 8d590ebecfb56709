"""Times in tables."""

import math

import numpy as np
import pandas as pd
import pytest

from audio_lightning.data.sources.times import to_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", 12.5),
        ("12,5", 12.5),
        (",5", 0.5),
        ("0", 0.0),
        ("1e1", 10.0),
        ("-1", -1.0),
        ("-1,5", -1.5),
        ("1:02", 62.0),
        ("01:02.250", 62.25),
        ("01:02,250", 62.25),
        ("90:00", 5400.0),
        ("1:00:00", 3600.0),
        ("02:03:04.5", 7384.5),
    ],
)
def test_formats(text: str, seconds: float) -> None:
    assert to_seconds(pd.Series([text], dtype=object)).tolist() == [seconds]


@pytest.mark.parametrize("text", ["soon", "1:60", "1:60:00", "1:2:3:4", "1.234,5", "1,234,5", "-1:00", "1:", "::"])
def test_invalid_times(text: str) -> None:
    assert math.isnan(to_seconds(pd.Series([text], dtype=object)).item())


def test_columns_keep_their_rows_and_empty_fields_their_meaning() -> None:
    texts = pd.Series(["1,5", "", "x", "0:10", "2"], index=[3, 5, 7, 9, 11], dtype=object)
    found = to_seconds(texts, np.inf)
    assert found.index.tolist() == [3, 5, 7, 9, 11]
    assert found.fillna(-1).tolist() == [1.5, np.inf, -1, 10, 2]
