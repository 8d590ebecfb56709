"""Standard JSON, and atomic writes."""

import errno
import math
import os
from pathlib import Path
from typing import Any

import pytest
from json_text import strict

from audio_lightning.core.files import disk_trouble, to_json, without_nan, write_csv, write_json, write_text


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    values = {"a": math.nan, "b": [math.inf, 1.5, {"c": -math.inf}], "d": (2, "NaN"), "e": True}
    expected = {"a": None, "b": [None, 1.5, {"c": None}], "d": [2, "NaN"], "e": True}
    write_json(tmp_path / "a.json", values)
    assert strict((tmp_path / "a.json").read_text()) == expected
    assert strict(to_json(values)) == without_nan(values) == expected


@pytest.mark.parametrize(
    ("write", "content"),
    [(write_text, ("new",)), (write_json, ({"a": 1},)), (write_csv, (["a"], [[1]]))],
    ids=["text", "JSON", "CSV"],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_keeps_and_names_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, content: tuple[Any, ...], step: str
) -> None:
    path = tmp_path / "a.file"
    path.write_text("old")

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="No space left on device") as error:
        write(path, *content)
    assert disk_trouble(error.value) == f"the disk is full ({path}): make room"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.file"]
    assert path.read_text() == "old"
