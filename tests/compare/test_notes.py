"""Recommended sample sizes: more clips, more repetitions, or both."""

from dataclasses import replace
from typing import Any

import pytest

from audio_lightning.compare.board import Row
from audio_lightning.compare.notes import no_winner
from audio_lightning.compare.statistics import NOT_DISTINGUISHABLE, Comparison, Error

NOTHING: Any = None

ROW = Row("", "cnn", {}, [], 2, *[NOTHING] * 9, leakage="none found", pareto=False)


@pytest.mark.parametrize(
    ("groups", "repetitions", "expected"),
    [
        (0.002, 0.0, "needs about 410 test clips instead of 200 to be"),
        (0.0, 0.002, "needs about 5 seeds instead of 2 to be"),
        (0.0005, 0.0005, "needs about 210 test clips instead of 200, or 3 seeds instead of 2 to be"),
        (0.002, 0.00097, "needs about 600 test clips instead of 200 together with 6 seeds instead of 2 to be"),
    ],
)
def test_what_would_settle_a_comparison_is_in_proportion(groups: float, repetitions: float, expected: str) -> None:
    error = Error(groups, repetitions, 100, 1)
    comparison = Comparison("paired t-test", 2, -0.0883, 0.3, 0.3, NOT_DISTINGUISHABLE, error)
    other = replace(ROW, name="lstm", comparison=comparison)
    said = no_winner([ROW, other], "seeds", 200.0, chosen_on_test=False)
    assert said is not None
    assert said.endswith(f"{expected} detected with a power of 0.8."), said
