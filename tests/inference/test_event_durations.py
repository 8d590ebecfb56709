"""Typical durations of events as users give them, and those of a checkpoint."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.event_durations import UNKNOWN_DURATIONS, choose_durations

CLASSES = ("dog", "wren", "a=b")
KNOWN = torch.tensor([0.25, math.nan, 0.5])


def chosen(given: Any, known: torch.Tensor | None = KNOWN) -> tuple[dict[str, float], list[str]]:
    return choose_durations(SimpleNamespace(task=SimpleNamespace(classes=CLASSES), sounding_seconds=known), given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", {"dog": 0.25, "a=b": 0.5}),
        (None, {"dog": 0.25, "a=b": 0.5}),
        ([], {"dog": 0.25, "a=b": 0.5}),
        (["none"], {}),
        (["0.3"], {"dog": 0.3, "wren": 0.3, "a=b": 0.3}),
        (0.3, {"dog": 0.3, "wren": 0.3, "a=b": 0.3}),
        (["wren=2", "a=b=0.1"], {"dog": 0.25, "wren": 2.0, "a=b": 0.1}),
        (["none", "dog=0.4"], {"dog": 0.4}),
        (["dog=0.4", "0.3", "dog=0.5"], {"dog": 0.5, "wren": 0.3, "a=b": 0.3}),
        (["0.3", "auto"], {"dog": 0.25, "a=b": 0.5}),
        (["0.3", "none"], {}),
        ({"wren": 1, "": "none"}, {"wren": 1.0}),
        ({"wren": "1.5"}, {"dog": 0.25, "wren": 1.5, "a=b": 0.5}),
    ],
)
def test_forms_of_durations(given: Any, expected: dict[str, float]) -> None:
    assert chosen(given) == (expected, [])


@pytest.mark.parametrize(("given", "noted"), [("auto", True), ("none", False), (0.3, False), (["dog=0.3"], False)])
def test_a_checkpoint_without_durations_is_noted_where_it_matters(given: Any, noted: bool) -> None:
    durations, notes = chosen(given, None)
    assert notes == [UNKNOWN_DURATIONS] * noted
    assert "wren" not in durations or given == 0.3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "--event-duration 0: expected auto, none, a number of seconds above 0, or CLASS=SECONDS"),
        (["-1"], "--event-duration -1: expected "),
        (math.nan, "--event-duration nan: expected "),
        (["inf"], "--event-duration inf: expected "),
        (["300ms"], "--event-duration 300ms: expected "),
        (["dog="], "--event-duration dog=: expected "),
        (["dog=auto"], "--event-duration dog=auto: expected "),
        ({"dog": None}, "--event-duration dog=None: expected "),
        (["dgo=0.5"], "--event-duration dgo=0.5: no such class; did you mean dog?"),
        (["=0.5"], "--event-duration =0.5: no such class (classes: a=b, dog, wren)"),
    ],
)
def test_invalid_durations_are_one_line(given: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
