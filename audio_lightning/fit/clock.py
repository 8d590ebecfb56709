"""How long a fit has taken, over all the times that its command was given."""

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
"""Seconds between notes of the time that has passed: what a kill can lose of it."""


class Clock:
    """Time spent on a fit, noted in a file every few seconds, so that a killed fit knows it when it goes on.

    Args:
        file: where it is noted.
        running: seconds that count, too, as the command has been running for them.
    """

    def __init__(self, file: Path, running: float = 0.0) -> None:
        self._file = file
        self._before = _noted(file) + running
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    @property
    def spent(self) -> float:
        """Seconds so far, those of earlier times among them."""
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
        except OSError:  # a full disk, which the trainings say
            return


def seconds_running() -> float:
    """Seconds since this process was started, its imports among them."""
    return max(0.0, time.time() - Process().create_time())


def _noted(file: Path) -> float:
    if not os.path.exists(file):
        return 0.0
    try:
        value = read_json(file).get("spent_seconds")
    except FileError:
        return 0.0
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) and value >= 0 else 0.0
