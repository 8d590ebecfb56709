"""Messages on the terminal, in its width, and in the log of a run."""

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
"""Options of textwrap: wrap between words, and never within a word or path."""


class RunLog(logging.FileHandler):
    """``train.log``: where it can no longer be written, that is said in one line and the run goes on.

    The traceback that logging would print, for every line, is not what is wrong with a training on a full disk.
    """

    _failed = False

    def _open(self) -> io.TextIOWrapper:
        # Without a buffer: what could not be written must not be tried again when the file is closed.
        return io.TextIOWrapper(io.FileIO(self.baseFilename, self.mode), "utf-8", write_through=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say it once where the file cannot be written; another error is a defect of the program."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failed:
            self._failed = True
            print(f"{self.baseFilename}: {error.strerror or error}: lines are missing from it", file=sys.stderr)


@contextmanager
def logging_to(file: Path) -> Iterator[None]:
    """Write what is logged meanwhile to a run's ``train.log``, and not to that of another run of the same process."""
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
    """Log what ended a run: of a user's mistake its message, of a defect its traceback, and no interruption."""
    if isinstance(error, UserError):
        _LOG.info("stopped: %s", error, exc_info=error if error.__cause__ else None)
    elif not isinstance(error, Interrupted):
        _LOG.info("failed", exc_info=error)


def print_and_log(text: str, *, shown: str | None = None) -> None:
    """Print a line and write it to the log of the run (``train.log``), if there is one.

    Args:
        text: the line.
        shown: what is printed instead, where the terminal is too narrow for it.
    """
    print(text if shown is None else shown, flush=True)
    _LOG.info("%s", text)


@contextmanager
def logged_warnings() -> Iterator[None]:
    """Write Python's warnings to the log, too."""
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
    """Now, in ISO 8601 with the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def terminal_width() -> int | None:
    """Columns of the terminal, or of COLUMNS; None in a pipe or a file."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def wrapped(text: str, *, indent: int = 0, width: int | None) -> str:
    """Wrap a paragraph into lines of at most ``width`` columns; None: leave it in one line."""
    return textwrap.fill(text, width, subsequent_indent=" " * indent, **WORDS) if width else text


def fitting(versions: Sequence[str], width: int | None) -> str | None:
    """Choose the longest version of a line that fits.

    Args:
        versions: the same message, from long to short.
        width: columns; None: any number.

    Returns:
        The first version of at most ``width`` columns; None if there is none.
    """
    if width is None:
        return versions[0]
    from rich.cells import cell_len

    return next((line for line in versions if cell_len(line) <= width), None)


def below_here(path: Path) -> Path:
    """A path relative to the current folder, if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
