"""Standard JSON, and atomic writes."""

import errno
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from json_text import strict

from audio_lightning.core.files import (
    disk_trouble,
    is_stream,
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


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_and_not_replaced(tmp_path: Path, linked: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "pipe"
    if linked:
        path = tmp_path / "link"
        path.symlink_to("pipe")
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_csv(path, ["a"], [[1], [2]])
    reader.join()
    assert received == ["a\n1\n2\n"]
    assert (tmp_path / "pipe").is_fifo()
    assert path.is_symlink() == linked
    assert {entry.name for entry in tmp_path.iterdir()} == {"pipe", path.name}


def test_a_full_device_is_reported_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "full")

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("audio_lightning.core.files.shutil.copyfileobj", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    reader = threading.Thread(target=(tmp_path / "full").read_bytes)  # opening a pipe waits for its reader
    reader.start()
    with pytest.raises(OSError, match="No space left on device") as error:
        write_text(tmp_path / "full", "new")
    reader.join()
    assert disk_trouble(error.value) == f"the disk is full ({tmp_path / 'full'}): make room"
    assert [entry.name for entry in tmp_path.iterdir()] == ["full"]
    assert (tmp_path / "full").is_fifo()


def test_kinds_of_streams(tmp_path: Path) -> None:
    """An open file that is named by its descriptor is one, even if it is a regular file."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert not any(is_stream(tmp_path / name) for name in ("file", "link", "missing", "."))
    assert is_stream(Path(os.devnull))
    with (tmp_path / "file").open("w") as file:
        assert is_stream(Path(f"/dev/fd/{file.fileno()}"))


def test_stdout_by_name_is_written_into_the_file_that_it_is(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        write_text(Path(f"/dev/fd/{file.fileno()}"), "new")
    assert (tmp_path / "file").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
