"""Standard JSON."""

import json


def strict(text: str) -> object:
    """Read standard JSON, without Python's extensions NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)
