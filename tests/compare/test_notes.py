"""What would settle a comparison: clips, repetitions, or both where either alone would take far more."""

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
        (0.002, 0.0, "by about 410 test clips in place of 200."),
        (0.0, 0.002, "by about 5 seeds in place of 2."),
        (0.0005, 0.0005, "by about 210 test clips in place of 200, or by 3 seeds in place of 2."),
        (0.002, 0.00097, "by about 600 test clips in place of 200 together with 6 seeds in place of 2."),
    ],
)
def test_what_would_settle_a_comparison_is_in_proportion(groups: float, repetitions: float, expected: str) -> None:
    error = Error(groups, repetitions, 100, 1)
    comparison = Comparison("paired t-test", 2, -0.0883, 0.3, 0.3, NOT_DISTINGUISHABLE, error)
    other = replace(ROW, name="lstm", comparison=comparison)
    said = no_winner([ROW, other], "seeds", 200.0, chosen_on_test=False)
    assert said is not None
    assert said.endswith(expected), said
