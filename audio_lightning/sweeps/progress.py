"""What is shown while a sweep runs."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from audio_lightning.compare.trials import State, TrialFolder, TrialStatus, as_text
from audio_lightning.task import lower_is_better

LINES_OF_ERROR = 40
"""Last lines of a failed trial's traceback that are shown at once."""


class Progress:
    """A line for every trial that ends, and on a terminal one below them that says how far the sweep is.

    Args:
        total: trials of the sweep.
        settled: of them, those that have ended before.
        slots: trials at once.
        monitor: the validation metric that the best is chosen by.
    """

    def __init__(self, *, total: int, settled: int, slots: int, monitor: str) -> None:
        self.total, self.settled, self.slots, self.monitor = total, settled, slots, monitor
        self._states: Counter[State] = Counter()
        self._seconds: list[float] = []
        self._best: tuple[float, str] | None = None
        self._started = time.monotonic()
        self._display: Any = None
        if sys.stdout.isatty():
            from rich.console import Console

            self._display = Console().status("")
            self._display.start()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._display:
            self._display.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def ended(self, folder: TrialFolder, status: TrialStatus) -> None:
        """A trial has ended."""
        self._states[status.state] += 1
        value = folder.read_metrics().get(self.monitor) if status.state == "done" else None
        name = describe(status)
        if status.state in ("done", "failed") and status.seconds:
            self._seconds.append(status.seconds)
        if value is not None and (self._best is None or self._is_better(float(value))):
            self._best = float(value), name
        figure = f"  {self.monitor} {value:.4f}" if value is not None else f"  {status.reason}" if status.reason else ""
        self.say(f"{self._place()} {status.state:<11} {name}{figure}  {status.seconds:.1f} s")
        if status.state == "failed" and folder.error.is_file():
            lines = folder.error.read_text(encoding="utf-8", errors="replace").splitlines()
            self.say("\n".join(f"    {line}" for line in lines[-LINES_OF_ERROR:]))

    def retried(self, folder: TrialFolder, status: TrialStatus) -> None:
        """A trial has failed and is started again."""
        self.say(f"{'again':>{len(self._place())}} {describe(status)}: {status.reason}")

    def update(self, *, running: int) -> None:
        """Refresh the last line of a terminal."""
        if self._display:
            self._display.update(self.summary(running=running))

    def summary(self, *, running: int) -> str:
        """How far the sweep is, in one line."""
        done = self.settled + sum(self._states.values())
        parts = [f"{done}/{self.total} trials", f"{running} running"]
        if self._states["failed"]:
            parts.append(f"{self._states['failed']} failed")
        if self._best:
            parts.append(f"best {self.monitor} {self._best[0]:.4f} ({self._best[1]})")
        if self._seconds and done < self.total:
            left = sum(self._seconds) / len(self._seconds) * (self.total - done) / self.slots
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def close(self, taken: Mapping[str, int] | None = None) -> None:
        """The end of the sweep: a line that says how it went.

        Args:
            taken: number of results that were taken from each other sweep.
        """
        if self._display:
            self._display.stop()
            self._display = None
        counts = ", ".join(f"{count} {state}" for state, count in sorted(self._states.items()))
        before = f"; {self.settled} had ended before" if self.settled else ""
        before += "".join(f", {count} of them in {sweep}" for sweep, count in (taken or {}).items())
        took = duration(time.monotonic() - self._started)
        print(f"{counts or 'nothing was left to do'}{before} ({took})", flush=True)

    def _place(self) -> str:
        width = len(str(self.total))
        return f"[{self.settled + sum(self._states.values()):>{width}}/{self.total}]"

    def _is_better(self, value: float) -> bool:
        assert self._best is not None
        return value < self._best[0] if lower_is_better(self.monitor) else value > self._best[0]


def describe(status: TrialStatus) -> str:
    """A trial by what it has of its own: ``cnn mfcc seed=0``."""
    parts = [str(value) if key in status.groups else f"{key}={as_text(value)}" for key, value in status.choices.items()]
    return " ".join(parts) or f"trial {status.number}"


def duration(seconds: float) -> str:
    """Seconds in a unit that people read: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
