"""Messages of a run are printed and logged."""

import ast
import logging
import warnings
from contextlib import closing
from pathlib import Path

import pytest

import audio_lightning
from audio_lightning.core.errors import ConfigError, Interrupted
from audio_lightning.core.messages import RunLog, logged_warnings, logging_to, print_and_log

PACKAGE = Path(audio_lightning.__file__).parent


def test_a_message_is_printed_and_logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    print_and_log("100 %s of it")
    print_and_log("a long line", shown="a line")
    assert capsys.readouterr().out == "100 %s of it\na line\n"
    assert [record.getMessage() for record in caplog.records] == ["100 %s of it", "a long line"]


def test_a_warning_is_shown_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shown: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest, **named: shown.append(str(message))
        with logged_warnings():
            warnings.warn("the disk is slow", stacklevel=1)
        warnings.warn("not of a run", stacklevel=1)
    assert shown == ["the disk is slow", "not of a run"]
    assert [record.getMessage() for record in caplog.records] == ["UserWarning: the disk is slow"]


@pytest.mark.parametrize("room", ["training", "data"])
def test_every_printed_message_of_a_run_is_logged(room: str) -> None:
    """Exceptions are progress, and errors, which go to stderr and are logged when they are raised."""
    past = [
        f"{path.name}:{node.lineno}"
        for path in (PACKAGE / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and not any(keyword.arg == "file" for keyword in node.keywords)
    ]
    assert [place for place in past if not place.startswith(("progress.py", "decoding_progress.py"))] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_unwritable_log_is_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.log").symlink_to("/dev/full")
    handler = RunLog(tmp_path / "train.log")
    for number in range(3):
        handler.handle(logging.makeLogRecord({"msg": f"line {number}"}))
    handler.flush()
    handler.close()
    assert capsys.readouterr().err == f"{tmp_path}/train.log: No space left on device; lines are missing from it\n"


def test_log_lines_are_written_immediately(tmp_path: Path) -> None:
    for number in range(2):
        handler = RunLog(tmp_path / "train.log")
        handler.handle(logging.makeLogRecord({"msg": f"\u00fc {number}"}))
        assert (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()[number:] == [f"\u00fc {number}"]
        handler.close()


def test_formatting_error_in_a_log_call_keeps_its_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(RunLog(tmp_path / "train.log")) as handler:
        handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("x",)}))
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (ConfigError("no such key"), ["stopped: no such key"]),
        (ValueError("a defect"), ["failed", "Traceback"]),
        (Interrupted(130), []),
    ],
)
def test_run_logs_only_its_own_error(tmp_path: Path, error: Exception, logged: list[str]) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with pytest.raises(type(error)), logging_to(tmp_path / "train.log"):
        raise error
    logging.getLogger("audio_lightning").info("of another run")
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert len(lines) >= len(logged) if logged else not lines
    assert all(text in line for text, line in zip(logged, lines))
    assert "of another run" not in "".join(lines)
    assert (root.level, root.handlers) == before


def test_the_log_escapes_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    with logging_to(tmp_path / "train.log"):
        # To its handler alone: pytest-xdist cannot transfer what pytest's own handler would keep.
        (added,) = (handler for handler in root.handlers if handler not in before)
        added.handle(logging.makeLogRecord({"msg": "Tür \udce9.wav", "levelno": logging.INFO, "levelname": "INFO"}))
    assert (tmp_path / "train.log").read_text("utf-8").endswith("Tür \\udce9.wav\n")
