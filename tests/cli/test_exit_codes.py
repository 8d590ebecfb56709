"""Exit codes and messages at the end of commands."""

import errno
import io
import sys
from pathlib import Path

import pytest

from audio_lightning.cli.exit_codes import exit_code_of
from audio_lightning.config import trusting
from audio_lightning.core.errors import ConfigError, DataError, DiskError, FileError, Interrupted, UserError


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("no such model"), 2, "error: no such model\n"),
        (KeyboardInterrupt(), 130, "interrupted; continue with: python train.py resume=run\n"),
        (Interrupted(143), 143, "interrupted; continue with: python train.py resume=run\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/x.ckpt"),
            1,
            "error: the disk is full (run/x.ckpt): make room; continue with: python train.py resume=run\n",
        ),
        (
            OSError(errno.EFBIG, "File too large", "run/x.ckpt"),
            1,
            "error: run/x.ckpt: File too large; continue with: python train.py resume=run\n",
        ),
        (DiskError("x: full"), 1, "error: x: full; continue with: python train.py resume=run\n"),
        (
            RuntimeError("(sqlite3.OperationalError) database or disk is full"),
            1,
            "error: the disk is full (while writing a database): make room; "
            "continue with: python train.py resume=run\n",
        ),
        (
            OutOfMemoryError("CUDA out of memory"),
            1,
            "error: out of memory; reduce data.batch_size; continue with: python train.py resume=run\n",
        ),
    ],
)
def test_user_errors_are_one_line(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> int:
        raise error

    assert exit_code_of(action, folder=Path("run")) == code
    assert capsys.readouterr().err == message


def test_a_continuation_repeats_trusted_modules(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise Interrupted(143)

    with trusting("json"):
        exit_code_of(action, folder=Path("run"))
    assert capsys.readouterr().err.endswith("resume=run trust=json\n")


def test_custom_continuation_hint(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "a.csv")

    assert exit_code_of(action, then="the same command continues") == 1
    assert capsys.readouterr().err == "error: the disk is full (a.csv): make room; the same command continues\n"


@pytest.mark.parametrize("error", [ValueError("oops"), OSError(errno.EIO, "I/O error")])
def test_a_defect_keeps_its_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise error

    assert exit_code_of(action) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_folder_is_quoted_for_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise KeyboardInterrupt

    exit_code_of(action, folder=Path("my run"))
    assert capsys.readouterr().err == "interrupted; continue with: python train.py 'resume=my run'\n"


def test_the_code_of_the_action_is_passed_on() -> None:
    assert exit_code_of(lambda: 7) == 7


@pytest.mark.parametrize("kind", [ConfigError, FileError])
def test_messages_stay_one_line_for_any_input(kind: type[UserError]) -> None:
    assert str(kind("seed=a\nb: expected a number")) == r"seed=a\nb: expected a number"
    long = str(kind(f"seed={'9' * 100_000}: expected a number"))
    assert len(long) < 3_100
    assert long.startswith("seed=9")
    assert long.endswith("9: expected a number")


@pytest.mark.parametrize("kind", [ConfigError, DataError])
def test_a_long_line_is_shortened_in_every_kind_of_error(kind: type[UserError]) -> None:
    text = str(kind(f"a.csv: {'9' * 5_000} is no label"))
    assert len(text) < 3_100
    assert text.startswith("a.csv: 999")
    assert text.endswith("999 is no label")
    assert str(DataError("two\n  lines")) == "two\n  lines"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", b"T\xc3\xbcr \\udce9"), ("ascii", b"T\\xfcr \\udce9")])
def test_names_that_the_terminal_cannot_show_are_escaped(
    encoding: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert exit_code_of(lambda: print("Tür \udce9", end="", flush=True)) == 0
    assert sys.stdout.buffer.getvalue() == shown  # type: ignore[attr-defined]
