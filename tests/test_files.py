"""JSON that any reader takes."""

import json
import math
from pathlib import Path

from audio_lightning.files import to_json, without_nan, write_json


def strict(text: str) -> object:
    """Read JSON as the standard has it; Python alone takes NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_no_number_is_written_as_null(tmp_path: Path) -> None:
    values = {"a": math.nan, "b": [math.inf, 1.5, {"c": -math.inf}], "d": (2, "NaN"), "e": True}
    expected = {"a": None, "b": [None, 1.5, {"c": None}], "d": [2, "NaN"], "e": True}
    write_json(tmp_path / "a.json", values)
    assert strict((tmp_path / "a.json").read_text()) == expected
    assert strict(to_json(values)) == without_nan(values) == expected
