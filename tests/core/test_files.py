"""Standard JSON, and atomic writes."""

import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from json_text import strict

from audio_lightning.core.files import (
    disk_trouble,
    to_json,
    without_nan,
    write_csv,
    write_json,
    write_text,
    written_whole,
)


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


TERMINATED = """
import os, pathlib, signal, sys
from audio_lightning.core.files import written_whole

folder = pathlib.Path(sys.argv[1])
if sys.argv[2] == "handled":
    signal.signal(signal.SIGTERM, lambda *_: (folder / "handled").touch())
with written_whole(folder / "status.json") as partial:
    os.kill(os.getpid(), signal.SIGTERM)
    partial.write_text("whole")
(folder / "after").touch()
"""


@pytest.mark.parametrize("handled", [False, True])
def test_sigterm_leaves_no_partial_file(tmp_path: Path, handled: bool) -> None:
    """SIGTERM ends the process, and the write with it; a handler of the program is called instead, as before."""
    line = [sys.executable, "-c", TERMINATED, str(tmp_path), "handled" if handled else "default"]
    code = subprocess.run(line, check=False).returncode
    assert {path.name for path in tmp_path.iterdir()} == ({"status.json", "after", "handled"} if handled else set())
    assert code == (0 if handled else -signal.SIGTERM)


def test_sigterm_is_handled_as_before_after_a_write(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), written_whole(tmp_path / "a"):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.iterdir()) == []
