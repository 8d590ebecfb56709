"""The sweep itself: trials are started where there is room, watched, and started again where that was asked for."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

from filelock import FileLock, Timeout

from audio_lightning.compare.trials import ENDED, State, TrialFolder, TrialStatus, is_free
from audio_lightning.core.errors import DiskError
from audio_lightning.core.files import disk_trouble
from audio_lightning.core.messages import timestamp
from audio_lightning.sweeps.executors.executors import Ended, Executor
from audio_lightning.sweeps.progress import Progress
from audio_lightning.sweeps.sources import Source
from audio_lightning.sweeps.trial import BUSY, DISK

SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_UNTIL_ASKED_AGAIN = 1.0
"""How long a trial is left alone that another process runs."""

SECONDS_TO_STOP = 60.0
"""How long trials have to save and stop before they are ended."""


@dataclass
class Outcome:
    """How a sweep ended: the number of trials in each state, and the signal that stopped it."""

    states: Counter[State]
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """0, 1 where a trial failed, 130 or 143 where the sweep was stopped."""
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.states["failed"] else 0


class TrialRunner:
    """Runs the trials of a source until none is left.

    A trial that fails is started again as often as ``retries`` says; with ``fail_fast`` the first that fails for good
    stops the others.
    """

    def __init__(
        self, source: Source, executor: Executor, progress: Progress, *, retries: int = 0, fail_fast: bool = False
    ) -> None:
        self.source, self.executor, self.progress = source, executor, progress
        self.retries, self.fail_fast = retries, fail_fast
        self._running: dict[str, TrialFolder] = {}
        self._again: list[tuple[float, TrialFolder]] = []
        self._failures: Counter[str] = Counter()
        self._held: TrialFolder | None = None
        self._states: Counter[State] = Counter()
        self._signal: int | None = None
        self._stopping: float | None = None
        self._full: DiskError | None = None

    def __call__(self) -> Outcome:
        """Run the trials.

        The first Ctrl-C or SIGTERM lets the running ones save and stop, the second ends them at once.

        Raises:
            DiskError: the disk was full or failed; the trials that it interrupted go on when the sweep is run again.
        """
        with self._signals():
            try:
                while self._step():
                    pass
            finally:
                self.executor.close()
        if self._full is not None:
            raise self._full
        return Outcome(self._states, self._signal)

    def _step(self) -> bool:
        """Start what there is room for, and see what has ended; whether there is anything left to do."""
        if self._stopping is None:
            while self._stopping is None and self._start():
                pass
        elif time.monotonic() - self._stopping > SECONDS_TO_STOP:
            self.executor.kill()
        waiting = self._stopping is None and (self._again or self._held)
        if not self._running and not waiting:
            return False
        for ended in self.executor.wait(SECONDS_BETWEEN_LOOKS):
            self._handle(ended)
        self.source.beat()
        self.progress.update(running=len(self._running))
        return True

    def _start(self) -> bool:
        """Start one more trial, if there is one and room for it."""
        if len(self._running) >= self.executor.slots:
            return False
        folder = self._held or self._next()
        if folder is None or self._stopping is not None:  # the signal may have come while a search was asked
            return False
        self._held = None
        status = folder.read_status()
        if status.state in ENDED:  # another process has run it meanwhile
            self._conclude(folder, status)
            return True
        if status.state == "running" and not is_free(folder):
            self._later(folder)
            return True
        if not self.executor.start(folder.path, devices=_devices(folder)):
            self._held = folder
            return False
        self._running[str(folder.path)] = folder
        if self._stopping is not None:
            self.executor.stop()
        return True

    def _next(self) -> TrialFolder | None:
        now = time.monotonic()
        due = next((entry for entry in self._again if entry[0] <= now), None)
        if due is not None:
            self._again.remove(due)
            return due[1]
        return self.source.take()

    def _later(self, folder: TrialFolder) -> None:
        self._again.append((time.monotonic() + SECONDS_UNTIL_ASKED_AGAIN, folder))

    def _handle(self, ended: Ended) -> None:
        folder = self._running.pop(str(ended.folder))
        if ended.exit_code == BUSY:
            self._later(folder)
            return
        status = folder.read_status()
        if ended.exit_code == DISK:
            self._stop_for_room(folder, status)
            return
        if status.state in ("queued", "running", "interrupted") and not self._record_death(folder, status, ended):
            self._later(folder)
            return
        status = folder.read_status()
        if status.state == "failed":
            self._failures[str(folder.path)] += 1
            if self._failures[str(folder.path)] <= self.retries and self._stopping is None:
                self.progress.retried(folder, status)
                self._again.append((time.monotonic(), folder))
                return
        self._conclude(folder, status)
        if status.state == "failed" and self.fail_fast and self._stopping is None:
            self.progress.say("a trial failed, and sweep.fail_fast=true: stopping")
            self._stop()

    def _record_death(self, folder: TrialFolder, status: TrialStatus, ended: Ended) -> bool:
        """Write what became of a trial whose process could not; False where another process has taken it over."""
        if status.state == "interrupted" and self._stopping is not None:
            return True
        try:
            with FileLock(folder.lock, timeout=0):
                if folder.read_status().state in ENDED:
                    return False
                state: State = "interrupted" if self._stopping is not None and not ended.reason else "failed"
                reason = None if state == "interrupted" else ended.reason or _cause_of_death(ended.exit_code)
                folder.write_status(
                    replace(
                        folder.read_status(),
                        state=state,
                        reason=reason,
                        exit_code=ended.exit_code,
                        finished=timestamp(),
                    )
                )
                return True
        except Timeout:
            return False
        except OSError as error:
            if self._full is None or disk_trouble(error) is None:
                raise
            return True  # its process is gone, and so it goes on though its status says that it runs

    def _stop_for_room(self, folder: TrialFolder, status: TrialStatus) -> None:
        """Stop, since what cannot be written for one trial cannot be for the others; it stays as it is, to go on."""
        if self._full is None:
            known = status.reason if status.state == "interrupted" else None
            self._full = DiskError(known or f"the disk is full (while writing {folder.path}): make room")
            self.progress.say("a trial could not be written: stopping")
        if self._stopping is None:
            self._stop()

    def _conclude(self, folder: TrialFolder, status: TrialStatus) -> None:
        self._states[status.state] += 1
        self.source.on_trial_end(folder, status)
        self.progress.ended(folder, status)

    def _stop(self) -> None:
        self._stopping = time.monotonic()
        self.executor.stop()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def received(number: int, frame: FrameType | None) -> None:
            if self._signal is not None:
                self.executor.kill()
                self._stopping = self._stopping or time.monotonic()
                return
            self._signal = number
            self.progress.say("stopping: running trials save and stop; once more to end them at once")
            self._stop()

        old = {number: signal.signal(number, received) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def _devices(folder: TrialFolder) -> int:
    devices = str(folder.read_config().trainer.devices)
    return int(devices) if devices.isdigit() else 1


def _cause_of_death(exit_code: int) -> str:
    if exit_code >= 0:
        return f"its process ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    memory = ", perhaps because the memory was full" if -exit_code == signal.SIGKILL else ""
    return f"its process was ended by {name}{memory}"
