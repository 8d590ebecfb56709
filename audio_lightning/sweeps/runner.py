"""Runner of a sweep: starts trials when slots are free, watches them, and starts failed ones again."""

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
from audio_lightning.sweeps.fusion.groups import Groups
from audio_lightning.sweeps.progress import Progress
from audio_lightning.sweeps.sources import Source
from audio_lightning.sweeps.trial import BUSY, DISK

SECONDS_BETWEEN_LOOKS = 0.25
"""Maximum seconds to wait for a trial to end before free slots and stop requests are checked."""

SECONDS_UNTIL_ASKED_AGAIN = 1.0
"""Seconds between checks of a trial that another process runs."""

SECONDS_OF_A_REQUEST = 1.0
"""Seconds in which several signals are one request: ``timeout`` sends its signal to the process and to its group."""

SECONDS_TO_STOP = 60.0
"""Seconds for trials to save and stop before they are killed."""


@dataclass
class Outcome:
    """Outcome of a sweep: the number of trials in each state, and the signal that stopped it."""

    states: Counter[State]
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """0: no failure; 1: a trial failed; 130 or 143: the sweep was stopped."""
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.states["failed"] else 0


class TrialRunner:
    """Runs the trials of a source until none is left.

    A failed trial is started again at most ``retries`` times. With ``fail_fast``, the first trial that fails without
    another retry stops the sweep. With ``groups``, one process trains all trials of a group; if it dies, they are
    started again together.
    """

    def __init__(
        self,
        source: Source,
        executor: Executor,
        progress: Progress,
        *,
        retries: int = 0,
        fail_fast: bool = False,
        groups: Groups | None = None,
    ) -> None:
        self.source, self.executor, self.progress = source, executor, progress
        self.retries, self.fail_fast = retries, fail_fast
        self._groups = groups or Groups(source)
        self._running: dict[str, list[TrialFolder]] = {}
        self._again: list[tuple[float, list[TrialFolder]]] = []
        self._failures: Counter[str] = Counter()
        self._held: list[TrialFolder] = []
        self._states: Counter[State] = Counter()
        self._signal: int | None = None
        self._asked = 0.0
        self._stopping: float | None = None
        self._full: DiskError | None = None

    def __call__(self) -> Outcome:
        """Run the trials.

        After the first Ctrl-C or SIGTERM, running trials save and stop; the second kills them
        (:data:`SECONDS_OF_A_REQUEST`).

        Raises:
            DiskError: the disk was full or failed; interrupted trials are resumed when the sweep is run again.
        """
        with self._signals():
            try:
                while self._step():
                    pass
            finally:
                self.executor.close()
        self.progress.is_complete = self._stopping is None
        if self._full is not None:
            raise self._full
        return Outcome(self._states, self._signal)

    def _step(self) -> bool:
        """Start trials in free slots, and handle ended ones; return whether any are left."""
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
        self.progress.update(running=sum(map(len, self._running.values())))
        return True

    def _start(self) -> bool:
        """Start the next trial or group in a free slot; return False if there is no trial or no free slot."""
        if len(self._running) >= self.executor.slots:
            return False
        group = self._held or self._next()
        if not group or self._stopping is not None:  # the signal may have come while a search was asked
            return False
        self._held = []
        free = [folder for folder in group if self._is_to_run(folder)]
        if not free:
            return True
        if len(free) > 1:
            started = self.executor.start_together([folder.path for folder in free])
        else:
            started = self.executor.start(free[0].path, devices=_devices(free[0]))
        if not started:
            self._held = free
            return False
        self._running[str(free[0].path)] = free
        if self._stopping is not None:
            self.executor.stop()
        return True

    def _is_to_run(self, folder: TrialFolder) -> bool:
        """Return True if a trial must run here: it has not ended, and no other process runs it.

        Otherwise record its result, or schedule another check.
        """
        status = folder.read_status()
        if status.state in ENDED:  # another process has run it in the meantime
            self._conclude(folder, status)
            return False
        if status.state == "running" and not is_free(folder):
            self._later([folder])
            return False
        return True

    def _next(self) -> list[TrialFolder]:
        now = time.monotonic()
        due = next((entry for entry in self._again if entry[0] <= now), None)
        if due is not None:
            self._again.remove(due)
            return due[1]
        return self._groups.take()

    def _later(self, group: list[TrialFolder]) -> None:
        self._again.append((time.monotonic() + SECONDS_UNTIL_ASKED_AGAIN, group))

    def _handle(self, ended: Ended) -> None:
        group = self._running.pop(str(ended.folder))
        again = [folder for folder in group if self._is_to_repeat(folder, ended, alone=len(group) == 1)]
        if ended.exit_code < 0 and again:  # the process died, and it is unknown which trial caused this
            self._again.append((time.monotonic(), again))
        else:
            self._again += [(time.monotonic(), [folder]) for folder in again]

    def _is_to_repeat(self, folder: TrialFolder, ended: Ended, *, alone: bool) -> bool:
        """Conclude a trial whose process has ended, or return True if it has failed and must be started again."""
        status = folder.read_status()
        settled = not alone and status.state not in ("queued", "running", "interrupted")
        if ended.exit_code == BUSY and not settled:
            self._later([folder])
            return False
        if ended.exit_code == DISK and not settled:
            self._stop_for_room(folder, status)
            return False
        if status.state in ("queued", "running", "interrupted") and not self._record_death(folder, status, ended):
            self._later([folder])
            return False
        status = folder.read_status()
        if status.state == "running":  # its process has ended, but the full disk still holds its earlier state
            status = replace(status, state="interrupted")
        if status.state == "failed":
            self._failures[str(folder.path)] += 1
            if self._failures[str(folder.path)] <= self.retries and self._stopping is None:
                self.progress.retried(folder, status)
                return True
        self._conclude(folder, status)
        if status.state == "failed" and self.fail_fast and self._stopping is None:
            self.progress.say("a trial failed, and sweep.fail_fast=true: stopping")
            self._stop()
        return False

    def _record_death(self, folder: TrialFolder, status: TrialStatus, ended: Ended) -> bool:
        """Write the final status of a trial whose process died; return False if another process runs the trial."""
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
            return True  # no process holds its lock, so it can be resumed although its status is "running"

    def _stop_for_room(self, folder: TrialFolder, status: TrialStatus) -> None:
        """Stop the sweep on a full disk, which affects all trials; the interrupted trial can be resumed."""
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
                if time.monotonic() - self._asked > SECONDS_OF_A_REQUEST:
                    self.executor.kill()
                return
            self._signal, self._asked = number, time.monotonic()
            self.progress.say("stopping: running trials save and stop; press again to kill them")
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
