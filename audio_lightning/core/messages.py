"""Messages on the terminal and in the log of a run."""

import io
import logging
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from audio_lightning.core.errors import Interrupted, UserError

_LOG = logging.getLogger(__name__)

FORMAT = "[%(asctime)s][%(levelname)s] %(message)s"

WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}
"""Options of :mod:`textwrap`: wrap between words, never within a word or path."""


class RunLog(logging.FileHandler):
    """Log handler for ``train.log`` that reports a write failure once, in one line, and lets the run continue.

    By default, logging prints a traceback for every line, which does not help on a full disk.
    """

    _failed = False

    def _open(self) -> io.TextIOWrapper:
        # Unbuffered: closing the file must not retry lines that could not be written.
        return io.TextIOWrapper(
            io.FileIO(self.baseFilename, self.mode), "utf-8", "backslashreplace", write_through=True
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - name of the overridden method
        """Report a write failure once; any other error is a defect of the program."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failed:
            self._failed = True
            print(f"{self.baseFilename}: {error.strerror or error}; lines are missing from it", file=sys.stderr)


@contextmanager
def logging_to(file: Path) -> Iterator[None]:
    """Write log records to ``train.log`` of one run while the context is active; a process may do several runs."""
    handler = RunLog(file)
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    except Exception as error:
        log_failure(error)
        raise
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def log_failure(error: Exception) -> None:
    """Log the cause of a failed run: the message of a user's mistake, the traceback of a defect; skip interruptions."""
    if isinstance(error, UserError):
        _LOG.info("stopped: %s", error, exc_info=error if error.__cause__ else None)
    elif not isinstance(error, Interrupted):
        _LOG.info("failed", exc_info=error)


def print_and_log(text: str, *, shown: str | None = None) -> None:
    """Print a line and write it to the log of the run (``train.log``), if there is one.

    Args:
        text: the line.
        shown: shorter text to print instead, for a narrow terminal.
    """
    print(text if shown is None else shown, flush=True)
    _LOG.info("%s", text)


@contextmanager
def logged_warnings() -> Iterator[None]:
    """Also write Python warnings to the log while the context is active."""
    show = warnings.showwarning

    def show_and_log(message: Any, category: type[Warning], filename: str, *rest: Any, **named: Any) -> None:
        show(message, category, filename, *rest, **named)
        _LOG.info("%s: %s", category.__name__, message)

    warnings.showwarning = show_and_log
    try:
        yield
    finally:
        warnings.showwarning = show


def timestamp() -> str:
    """Current time in ISO 8601 with the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def terminal_width() -> int | None:
    """Width of the terminal in columns, or the value of COLUMNS; None for a pipe or a file."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def wrapped(text: str, *, indent: int = 0, width: int | None) -> str:
    """Wrap a paragraph into lines of at most ``width`` columns; None keeps it in one line."""
    return textwrap.fill(text, width, subsequent_indent=" " * indent, **WORDS) if width else text


def fitting(versions: Sequence[str], width: int | None) -> str | None:
    """Choose the longest version of a line that fits.

    Args:
        versions: versions of the same message, from long to short.
        width: available columns; None for no limit.

    Returns:
        The first version of at most ``width`` columns; None if no version fits.
    """
    if width is None:
        return versions[0]
    from rich.cells import cell_len

    return next((line for line in versions if cell_len(line) <= width), None)


def below_here(path: Path) -> Path:
    """Return a path below the current folder relative to it, any other path unchanged."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
