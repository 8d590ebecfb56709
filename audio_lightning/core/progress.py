"""How far long work is: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

SECONDS_BETWEEN_LINES = 10.0

Progress = Callable[[int, int], None]
"""Called with how much is done, and with all there is to do."""


@contextlib.contextmanager
def progress_shown(what: str) -> Iterator[Progress]:
    """Show it from the first call on; nothing where there is none.

    Args:
        what: is done, in a few words.
    """
    if not sys.stdout.isatty():
        yield _Lines(what)
        return
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    with Bar(transient=True) as display:
        tasks: list[TaskID] = []

        def show(done: int, total: int) -> None:
            if not tasks:
                tasks.append(display.add_task(what, total=total))
            display.update(tasks[0], completed=done, total=total)

        yield show


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES or done == total:
            print(f"{self._what}: {done}/{total}", flush=True)
            self._last = now
