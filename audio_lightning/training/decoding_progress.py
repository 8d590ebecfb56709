"""What is shown while recordings are decoded."""

import contextlib
import sys
import time
from collections.abc import Iterator

from audio_lightning.core.messages import print_and_log
from audio_lightning.data.datamodule import AudioDataModule

SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def decoding_shown(datamodule: AudioDataModule, what: str = "preparing recordings") -> Iterator[None]:
    """A bar on a terminal, a line now and then elsewhere; nothing where everything is decoded already.

    What patterns find in the names of recordings comes before it.
    """
    datamodule.say = print_and_log
    if not sys.stdout.isatty():
        datamodule.progress = _Lines(what)
        yield
        return
    from rich.progress import Progress

    with Progress(transient=True) as display:
        tasks: dict[int, object] = {}

        def show(done: int, total: int) -> None:
            if not tasks:
                tasks[0] = display.add_task(what, total=total)
            display.update(tasks[0], completed=done, total=total)  # type: ignore[arg-type]

        datamodule.progress = show
        yield


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES or done == total:
            print(f"{self._what}: {done}/{total}", flush=True)
            self._last = now
