"""Progress of a sweep on the terminal."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audio_lightning.compare.trials import State, TrialFolder, TrialStatus, as_text
from audio_lightning.core.messages import fitting, terminal_width, wrapped
from audio_lightning.core.task import lower_is_better

LINES_OF_ERROR = 40
"""Maximum number of lines of a failed trial's traceback that are printed."""

SECONDS_OF_SILENCE = 60.0
"""Seconds without output after which trials with a budget print their progress, if there is no status line."""

SPINNER = 2
"""Width of the spinner before the status line, in columns."""

SETTLED: dict[State, str] = {
    "done": "had finished before",
    "pruned": "had been pruned before",
    "failed": "without a result",
    "skipped": "cannot work",
}
"""Descriptions of trials that are not run, by their state."""


class Progress:
    """Progress display: one line for each trial that ends and, on a terminal, a status line below.

    On a terminal each line is shortened to its width; in a pipe or a file it is complete.

    Args:
        total: number of trials.
        settled: number of trials that are not run here, by their state.
        slots: number of trials that run at the same time.
        monitor: metric of the best trial in the status line.
        what: word for the trials in the status line.
        budget_left: function that returns the remaining budget in seconds. It replaces the estimate; in a pipe or a
            file, a progress line is printed from time to time.
        best: metric and status of the best earlier trial.

    Attributes:
        is_complete: whether no trial was left to run at the end; False until then, and after an interruption.
    """

    def __init__(
        self,
        *,
        total: int,
        settled: Counter[State],
        slots: int,
        monitor: str,
        what: str = "trials",
        budget_left: Callable[[], float] | None = None,
        best: tuple[float, TrialStatus] | None = None,
    ) -> None:
        self.total, self.settled, self.slots, self.monitor = total, settled, slots, monitor
        self.what, self.budget_left, self.best = what, budget_left, best
        self.is_complete = False
        self._states: Counter[State] = Counter()
        self._seconds: list[float] = []
        self._started = self._said = time.monotonic()
        self._display: Any = None
        if sys.stdout.isatty():
            from rich.console import Console

            self._display = Console().status("")
            self._display.start()

    def say(self, *versions: str) -> None:
        """Print a permanent line: the longest of ``versions`` that fits, otherwise the last one, wrapped."""
        self._said = time.monotonic()
        if not self._display:
            print(versions[0], flush=True)
            return
        from rich.text import Text

        width = terminal_width()
        line = fitting(versions, width) or wrapped(versions[-1], indent=4, width=width)
        self._display.console.print(Text(line), soft_wrap=True)

    def ended(self, folder: TrialFolder, status: TrialStatus) -> None:
        """Print the line of a trial that has ended."""
        self._states[status.state] += 1
        metrics = folder.read_metrics() if status.state == "done" else {}
        value = metrics.get(self.monitor)
        if status.state in ("done", "failed") and status.seconds:
            self._seconds.append(status.seconds)
        if value is not None and (
            self.best is None or self._is_better(float(value), str(metrics.get("lower_is_better", "")).split())
        ):
            self.best = float(value), status
        start, seconds = f"{self._place()} {status.state:<11} ", f"  {status.seconds:.1f} s"
        if self.budget_left and not self._display:
            seconds += f", {self._left_of_budget()}"
        if value is None:
            self.say(start + describe(status) + (f"  {status.reason}" if status.reason else "") + seconds)
        else:
            figures = [f"  {figure}" for figure in _figures(self.monitor, float(value))]
            lines = [f"{start}{describe(status)}{figure}{seconds}" for figure in figures]
            brief = f"{describe(status, brief=True)}{figures[-1]}"
            self.say(
                *lines, f"{start}{brief}{seconds}", f"{self._place()} {brief}{seconds}", f"{self._place()} {brief}"
            )
        if status.state == "failed" and folder.error.is_file():
            for line in folder.error.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_OF_ERROR:]:
                self.say(f"    {line}")

    def retried(self, folder: TrialFolder, status: TrialStatus) -> None:
        """Print that a failed trial is started again."""
        self.say(f"{'again':>{len(self._place())}} {describe(status)}: {status.reason}")

    def update(self, *, running: int) -> None:
        """Refresh the status line of a terminal."""
        if self.budget_left and not self._display and time.monotonic() - self._said > SECONDS_OF_SILENCE:
            self.say(self.summary(running=running)[0])
        if self._display:
            from rich.text import Text

            versions, width = self.summary(running=running), terminal_width()
            line = fitting(versions, width and width - SPINNER) or versions[-1]
            self._display.update(Text(line))  # Text, because Rich reads brackets as styles

    def summary(self, *, running: int) -> list[str]:
        """Return the progress as versions of one line, from long to short."""
        done, left, about = self._done(), "", ""
        failed = f"{self._states['failed']} failed" if self._states["failed"] else ""
        if self.budget_left:
            left = about = self._left_of_budget()
        elif self._seconds and done < self.total:
            left = duration(sum(self._seconds) / len(self._seconds) * (self.total - done) / self.slots) + " left"
            about = f"about {left}"
        best = [""]
        if self.best:
            value, status = self.best
            *long, short = [f"best {figure}" for figure in _figures(self.monitor, value)]
            best = [f"{figure} ({describe(status)})" for figure in (*long, short)]
            best += [f"{short} ({describe(status, brief=True)})", short]
        whole = [f"{done}/{self.total} {self.what}", f"{running} running", failed]
        brief = [f"{done}/{self.total}", failed]
        named = [[*whole, figure, about] for figure in best[:-1]] + [[*brief, figure, left] for figure in best[:-1]]
        lines = [*named, [*whole, best[-1], about], [*brief, best[-1], left], brief, brief[:1]]
        return [", ".join(filter(None, line)) for line in lines]

    def close(self, taken: Mapping[str, int] | None = None) -> None:
        """Print a final summary, with the number of results ``taken`` from each other sweep."""
        terminal = self._display is not None
        if self._display:
            self._display.stop()
            self._display = None
        counts = ", ".join(f"{count} {state}" for state, count in sorted(self._states.items()))
        left = 0 if self.is_complete else self.total - self._done()
        parts = list(filter(None, [counts, f"{left} left to run" if left else ""])) or ["nothing was left to do"]
        for state, what in SETTLED.items():
            if count := self.settled[state]:
                origins = (taken or {}).items() if state == "done" else ()
                parts.append(", ".join([f"{count} {what}", *(f"{some} of them in {sweep}" for sweep, some in origins)]))
        took = duration(time.monotonic() - self._started)
        text = f"{'; '.join(parts)} ({took})"
        print(wrapped(text, indent=2, width=terminal_width()) if terminal else text, flush=True)

    def _done(self) -> int:
        return self.settled.total() + self._states.total()

    def _left_of_budget(self) -> str:
        assert self.budget_left is not None
        return f"{duration(max(0.0, self.budget_left()))} of the budget left"

    def _place(self) -> str:
        width = len(str(self.total))
        return f"[{self._done():>{width}}/{self.total}]"

    def _is_better(self, value: float, lower: Sequence[str]) -> bool:
        assert self.best is not None
        return value < self.best[0] if lower_is_better(self.monitor, lower) else value > self.best[0]


def _figures(monitor: str, value: float) -> Sequence[str]:
    """Format a value with the full name of its metric, with the last part of the name, and without a name."""
    return [f"{monitor} {value:.4f}", f"{monitor.rpartition('/')[2]} {value:.4f}", f"{value:.4f}"]


def describe(status: TrialStatus, *, brief: bool = False) -> str:
    """Describe a trial by its choices: ``cnn mfcc seed=0``; if ``brief``, keys by their last part (``lr=0.1``)."""
    keys = [key for key in status.choices if key not in status.groups]
    last = Counter(key.rpartition(".")[2] for key in keys)
    names = {key: short if brief and last[short := key.rpartition(".")[2]] == 1 else key for key in keys}
    parts = [f"{names[key]}={as_text(value)}" if key in names else str(value) for key, value in status.choices.items()]
    return " ".join(parts) or f"trial {status.number}"


def duration(seconds: float) -> str:
    """Format seconds in a fitting unit: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
