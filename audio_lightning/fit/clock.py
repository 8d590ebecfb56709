"""Clock of a fit, which continues across interruptions."""

import math
import os
import threading
import time
from pathlib import Path
from types import TracebackType

from psutil import Process

from audio_lightning.core.errors import FileError
from audio_lightning.core.files import read_json, write_json

BEAT = 5.0
"""Seconds between updates of the file; a kill can lose this much time."""


class Clock:
    """Clock of the time spent on a fit, stored in a file every few seconds, so that a killed fit can be resumed.

    Args:
        file: file of the time spent.
        running: seconds for which the command has already been running; they count, too.

    Attributes:
        earlier: seconds of earlier runs of the command.
    """

    def __init__(self, file: Path, running: float = 0.0) -> None:
        self._file = file
        self.earlier = _noted(file)
        self._before = self.earlier + running
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    @property
    def spent(self) -> float:
        """Seconds so far, including earlier runs of the command."""
        return self._before + time.monotonic() - self._started

    def __enter__(self) -> "Clock":
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beating.join()
        self._note()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            self._note()

    def _note(self) -> None:
        try:
            write_json(self._file, {"spent_seconds": round(self.spent, 1)})
        except OSError:  # a full disk, which the trainings report
            return


def seconds_running() -> float:
    """Return the seconds since this process was started, including its imports."""
    return max(0.0, time.time() - Process().create_time())


def _noted(file: Path) -> float:
    if not os.path.exists(file):
        return 0.0
    try:
        value = read_json(file).get("spent_seconds")
    except FileError:
        return 0.0
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) and value >= 0 else 0.0
