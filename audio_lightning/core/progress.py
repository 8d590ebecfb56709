"""Progress of long work: a bar on a terminal, occasional lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """Callback with the number of finished items and the total."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Show progress, with the label ``what`` instead of that of the display."""


@contextlib.contextmanager
def progress_shown(what: str) -> Iterator[Progress]:
    """Show progress from the first call of the yielded function on; show nothing if it is never called.

    Args:
        what: label of the work, a few words; used where the callback gets none.
    """
    if not sys.stdout.isatty():
        yield _Lines(what)
        return
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    with Bar(transient=True) as display:
        tasks: dict[str, TaskID] = {}
        usual = what

        def show(done: int, total: int, what: str = "") -> None:
            label = what or usual
            if label not in tasks:
                tasks[label] = display.add_task(label, total=total)
            display.update(tasks[label], completed=done, total=total)

        yield show


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._last = 0.0

    def __call__(self, done: int, total: int, what: str = "") -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES or done == total:
            print(f"{what or self._what}: {done}/{total}", flush=True)
            self._last = now
