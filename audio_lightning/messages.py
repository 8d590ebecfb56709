"""Messages of a run: printed for who waits for it, and kept in its log."""

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOG = logging.getLogger(__name__)

FORMAT = "[%(asctime)s][%(levelname)s] %(message)s"


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
