"""Messages of a run: printed for who waits for it, and kept in its log."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOG = logging.getLogger(__name__)


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
