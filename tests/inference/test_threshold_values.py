"""Thresholds as users give them, for predictions and for detections."""

import math
from typing import Any

import pytest

from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.threshold_values import ThresholdValues, parse_thresholds

CLASSES = ("dog", "wren", "a=b")


@pytest.mark.parametrize("detection", [False, True])
@pytest.mark.parametrize(
    ("given", "common", "of_class"),
    [
        (None, None, {}),
        ([], None, {}),
        ({}, None, {}),
        (0.6, 0.6, {}),
        ("0.6", 0.6, {}),
        (1, 1.0, {}),
        (["0.6"], 0.6, {}),
        (["dog=0.7"], None, {"dog": 0.7}),
        (["dog=0.7", "0.5", "a=b=1"], 0.5, {"dog": 0.7, "a=b": 1.0}),
        (["0.5", "dog=0.7", "0.6", "dog=0.8"], 0.6, {"dog": 0.8}),
        ({"dog": 0.7, "": 0.5, "a=b": "0.25"}, 0.5, {"dog": 0.7, "a=b": 0.25}),
    ],
)
def test_forms_of_thresholds(given: Any, common: float | None, of_class: dict[str, float], detection: bool) -> None:
    assert parse_thresholds(given, CLASSES, detection=detection) == ThresholdValues(common, of_class)


@pytest.mark.parametrize("given", ["auto", ["auto"], ["0.5", "auto"], {"": "auto"}])
def test_auto_is_a_value_for_detections_only(given: Any) -> None:
    assert parse_thresholds(given, CLASSES, detection=True) == ThresholdValues(None, {})
    with pytest.raises(ConfigError, match=r"^--threshold auto: expected a probability from 0 to 1, or CLASS=PROBAB"):
        parse_thresholds(given, CLASSES)


@pytest.mark.parametrize("detection", [False, True])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (1.5, "--threshold 1.5: expected "),
        (math.nan, "--threshold nan: expected "),
        (["high"], "--threshold high: expected "),
        (["dog="], "--threshold dog=: expected "),
        (["dog=auto"], "--threshold dog=auto: expected "),
        ({"dog": -1}, "--threshold dog=-1: expected "),
        ({"dog": None}, "--threshold dog=None: expected "),
        ({"dgo": 0.5}, "--threshold dgo=0.5: no such class; did you mean dog?"),
        (["dgo=0.5"], "--threshold dgo=0.5: no such class; did you mean dog?"),
        (["=0.5"], "--threshold =0.5: no such class (classes: a=b, dog, wren)"),
    ],
)
def test_invalid_thresholds_are_one_line(given: Any, message: str, detection: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_thresholds(given, CLASSES, detection=detection)
    assert str(caught.value).startswith(message)


def test_zero_is_a_threshold_of_predictions_only() -> None:
    assert parse_thresholds(["0"], CLASSES) == ThresholdValues(0.0, {})
    with pytest.raises(ConfigError, match=r"^--threshold 0: expected auto, a probability above 0 and up to 1"):
        parse_thresholds(["0"], CLASSES, detection=True)
