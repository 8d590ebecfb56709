"""Executors of trials: the base class, local processes, and the watcher of a trial on a cluster."""

import contextlib
import os
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
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
    """Trial whose process has ended.

    ``status.json`` in its folder has the result, unless the process died. Then ``exit_code`` is the negative number of
    the signal that killed it, and ``reason`` is the cause if the executor knows it, such as a timeout.
    """

    folder: Path
    exit_code: int
    reason: str | None = None


class Executor(ABC):
    """Base class of executors, which run each trial in a separate process.

    Attributes:
        slots: number of trials that can run at the same time.
    """

    slots: int

    @abstractmethod
    def start(self, folder: Path, *, devices: int) -> bool:
        """Start a trial in as many slots as it has ``devices``; return False if too few slots are free."""

    def start_together(self, folders: Sequence[Path]) -> bool:
        """Start trials in one slot, in one process that trains them together; see :meth:`start`.

        When this process has ended, :meth:`wait` returns one :class:`Ended`, with the first of ``folders``.

        Raises:
            NotImplementedError: the executor runs one process per trial.
        """
        raise NotImplementedError(f"{type(self).__name__} runs one process per trial")

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
        """Release all resources; no trial runs any more."""


@dataclass
class _Running:
    folder: Path
    process: ForkServerProcess
    slots: list[int]
    started: float
    timeout: float | None


class LocalExecutor(Executor):
    """Executor of trials as processes of this machine, forked from a process with the heavy libraries loaded.

    ``workers`` trials run at the same time on CPUs, or ``trials_per_gpu`` on each GPU. A trial is killed after
    ``timeout`` seconds; one of several that a process trains together ends itself.
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
        """See :meth:`Executor.start`; a trial with more processes than slots gets all slots."""
        needed = min(devices, self.slots)
        if len(self._free) < needed:
            return False
        slots, self._free = self._free[:needed], self._free[needed:]
        # Devices are numbered within a trial, so a trial on several devices must see all GPUs.
        gpu = slots[0] % self._gpus if self._gpus and devices == 1 else None
        self._begin(Job(folder, threads=self._threads, gpu=gpu), slots, self._timeout)
        return True

    def start_together(self, folders: Sequence[Path]) -> bool:
        """See :meth:`Executor.start_together`; each trial has ``timeout`` seconds, the process the sum of these."""
        if not self._free:
            return False
        slot = self._free.pop(0)
        gpu = slot % self._gpus if self._gpus else None
        first, *others = folders
        job = Job(first, threads=self._threads, gpu=gpu, others=tuple(others), timeout=self._timeout)
        self._begin(job, [slot], self._timeout and self._timeout * len(folders))
        return True

    def _begin(self, job: Job, slots: list[int], timeout: float | None) -> None:
        process = begin(self._run, job, memory_of_threads=bool(job.others))
        self._running.append(_Running(job.folder, process, slots, time.monotonic(), timeout))

    def wait(self, seconds: float) -> list[Ended]:
        """See :meth:`Executor.wait`; also kills trials that exceed the timeout."""
        if not self._running:
            time.sleep(seconds)
            return []
        now = time.monotonic()
        late = {id(run) for run in self._running if run.timeout and now - run.started > run.timeout}
        for run in self._running:
            if id(run) in late:
                kill_group(run.process.pid)
        wait([run.process.sentinel for run in self._running], timeout=seconds)
        ended = []
        for run in [run for run in self._running if not run.process.is_alive()]:
            self._running.remove(run)
            self._free = sorted(self._free + run.slots)
            kill_group(run.process.pid)  # processes that it left behind
            reason = too_long(self._timeout, run.timeout) if id(run) in late else None
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
    """Run one trial as a child of this process, which a cluster started on one of its machines.

    The trial can die without this process, and is killed together with it. It is killed after ``timeout`` seconds, and
    saves and stops on the signals ``stop_on``.

    Returns:
        The exit code, and the reason of :class:`Ended` if it is known.
    """
    host = socket.gethostname()
    if not TrialFolder(job.folder).status.is_file():
        shared = "put sweep.dir on a file system that all machines of the cluster share"
        return 1, f"{job.folder} does not exist on {host}; {shared}"
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]  # Lightning would take devices and signals from these variables
    job = replace(job, threads=at_most_set(job.threads))  # Slurm passes on the environment of the sweep
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    asked = threading.Event()
    handlers = {number: signal.signal(number, lambda number, frame: asked.set()) for number in stop_on}
    try:
        process = begin(run, job)
        started = time.monotonic()
        signaled = late = False
        while process.is_alive():
            process.join(0.2)
            if asked.is_set() and not signaled and process.pid is not None:
                signaled = True
                ask_to_stop(process)
            if timeout and time.monotonic() - started > timeout:
                late = True
                kill_group(process.pid)
        kill_group(process.pid)  # processes that it left behind
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    code = process.exitcode or 0
    if late:
        return code, too_long(timeout)
    return code, f"the cluster asked it to stop on {host}" if signaled and code else None


def ask_to_stop(process: ForkServerProcess) -> None:
    """Send SIGTERM to a trial, so that it saves and stops, unless it has just ended."""
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def too_long(timeout: float | None, of_process: float | None = None) -> str:
    """Return the reason for the end of a trial whose process was ended.

    Args:
        timeout: ``sweep.timeout`` in seconds.
        of_process: time limit in seconds of a process with several trials.
    """
    fused = f" per trial, {of_process:g} of their process" if of_process not in (None, timeout) else ""
    return f"ended after sweep.timeout={timeout:g} seconds{fused}"
