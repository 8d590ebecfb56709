"""Where trials run: on this machine, or through the engine of a cluster."""

import contextlib
import os
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from audio_lightning.compare.trials import TrialFolder
from audio_lightning.core.cores import at_most_set, cores
from audio_lightning.sweeps.executors.forkserver import begin, kill_group
from audio_lightning.sweeps.trial import Job, run_trial


@dataclass(frozen=True)
class Ended:
    """A trial whose process has ended.

    ``status.json`` in its folder says what became of it, unless the process died: then ``exit_code`` is negative for
    the signal that ended it, and ``reason`` what the engine knows, such as a timeout.
    """

    folder: Path
    exit_code: int
    reason: str | None = None


class Executor(ABC):
    """Runs trials, each in a process of its own.

    Attributes:
        slots: trials that can run at once.
    """

    slots: int

    @abstractmethod
    def start(self, folder: Path, *, devices: int) -> bool:
        """Start a trial, in as many slots as it has ``devices``; False, and nothing is started, where none are free."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Ended]:
        """Return the trials that have ended, as soon as there is one; an empty list after ``seconds``."""

    @abstractmethod
    def stop(self) -> None:
        """Ask every running trial to save and stop."""

    @abstractmethod
    def kill(self) -> None:
        """End every running trial at once."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the executor holds; no trial runs any more."""


@dataclass
class _Running:
    folder: Path
    process: ForkServerProcess
    slots: list[int]
    started: float


class LocalExecutor(Executor):
    """Trials as processes of this machine, forked from one that has the heavy libraries imported.

    ``workers`` trials run at once on CPUs, or ``trials_per_gpu`` on each GPU; after ``timeout`` seconds one is ended.
    """

    def __init__(
        self,
        *,
        workers: int,
        gpus: int = 0,
        trials_per_gpu: int = 1,
        timeout: float | None = None,
        run: Callable[[Job], None] = run_trial,
    ) -> None:
        self.slots = gpus * trials_per_gpu or workers
        self._gpus = gpus
        self._threads = at_most_set(max(1, cores() // self.slots))
        self._timeout = timeout
        self._run = run
        self._free = list(range(self.slots))
        self._running: list[_Running] = []

    def start(self, folder: Path, *, devices: int) -> bool:
        """See :meth:`Executor.start`; a trial with more processes than there are slots gets all of them."""
        needed = min(devices, self.slots)
        if len(self._free) < needed:
            return False
        slots, self._free = self._free[:needed], self._free[needed:]
        # Devices are numbered within a trial, so one of several is left to see them all.
        gpu = slots[0] % self._gpus if self._gpus and devices == 1 else None
        process = begin(self._run, Job(folder, threads=self._threads, gpu=gpu))
        self._running.append(_Running(folder, process, slots, time.monotonic()))
        return True

    def wait(self, seconds: float) -> list[Ended]:
        """See :meth:`Executor.wait`; trials that take too long are ended here."""
        if not self._running:
            time.sleep(seconds)
            return []
        now = time.monotonic()
        late = {id(run) for run in self._running if self._timeout and now - run.started > self._timeout}
        for run in self._running:
            if id(run) in late:
                kill_group(run.process.pid)
        wait([run.process.sentinel for run in self._running], timeout=seconds)
        ended = []
        for run in [run for run in self._running if not run.process.is_alive()]:
            self._running.remove(run)
            self._free = sorted(self._free + run.slots)
            kill_group(run.process.pid)  # what it started and left behind
            reason = _too_long(self._timeout) if id(run) in late else None
            ended.append(Ended(run.folder, run.process.exitcode or 0, reason))
        return ended

    def stop(self) -> None:
        """See :meth:`Executor.stop`."""
        for run in self._running:
            ask_to_stop(run.process)

    def kill(self) -> None:
        """See :meth:`Executor.kill`."""
        for run in self._running:
            kill_group(run.process.pid)

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        self.kill()


def watch(
    run: Callable[[Job], None], job: Job, *, timeout: float | None, stop_on: Collection[signal.Signals]
) -> tuple[int, str | None]:
    """Run a trial below this process, which the engine of a cluster has made for it on one of its machines.

    The trial is a process of its own here, too: it can die without taking this one along, and does not survive it.
    It is ended after ``timeout`` seconds, and saves and stops at one of the signals ``stop_on``.

    Returns:
        The exit code and, where there is something to say, the reason of :class:`Ended`.
    """
    host = socket.gethostname()
    if not TrialFolder(job.folder).status.is_file():
        shared = "put sweep.dir on a file system that all machines of the cluster share"
        return 1, f"{job.folder} does not exist on {host}; {shared}"
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]  # from which Lightning would take over the devices, and the signals
    job = replace(job, threads=at_most_set(job.threads))  # Slurm hands on what was set where the sweep was typed
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    asked = threading.Event()
    handlers = {number: signal.signal(number, lambda number, frame: asked.set()) for number in stop_on}
    try:
        process = begin(run, job)
        started = time.monotonic()
        told = late = False
        while process.is_alive():
            process.join(0.2)
            if asked.is_set() and not told and process.pid is not None:
                told = True
                ask_to_stop(process)
            if timeout and time.monotonic() - started > timeout:
                late = True
                kill_group(process.pid)
        kill_group(process.pid)  # what it started and left behind
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    code = process.exitcode or 0
    if late:
        return code, _too_long(timeout)
    return code, f"the cluster asked it to stop on {host}" if told and code else None


def ask_to_stop(process: ForkServerProcess) -> None:
    """Tell a trial to save and stop, unless it has just ended."""
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def _too_long(timeout: float | None) -> str:
    return f"ended after sweep.timeout={timeout:g} seconds"
