"""Executor on a Slurm cluster: one job per trial."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from audio_lightning.core.cores import cores
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.executors.executors import Ended, Executor, watch
from audio_lightning.sweeps.trial import Job, run_trial

CLUSTERS = ("slurm", "local")

SECONDS_TO_END = 10.0
"""Seconds for killed jobs to disappear."""


class SlurmExecutor(Executor):
    """Executor of trials as Slurm jobs, submitted through submitit.

    A job receives only the path of a trial's folder. The sweep folder and the recordings must therefore be on a file
    system that all machines share, and this Python environment must run on all of them. Each job needs some seconds for
    imports. Before its time limit, and on preemption, a trial saves and stops; it counts as failed, and
    ``sweep.retries`` resumes it in a new job. Jobs end together with the sweep. If the sweep is killed, they run to
    their end, and the same command waits for them.

    Args:
        logs: folder of submitit's files of each job.
        cluster: ``slurm``, or ``local`` for processes of this machine, to try it.
        partition, account: options of ``sbatch``; None: defaults of the cluster.
        cpus: CPUs of a trial, or of each of its processes.
        gpus: GPUs of a trial, or of each of its processes.
        memory_gb: memory of a trial in GB.
        minutes: time limit of a job in minutes.
        jobs: maximum number of jobs in the queue; with ``local``, limited by the cores of this machine.
        timeout: seconds after which a trial is killed, counted from the start of its job; None: never.
        run: function that runs a trial in its process.

    Raises:
        ConfigError: submitit is not installed, the cluster is unknown, or Slurm refuses a job.
    """

    def __init__(
        self,
        *,
        logs: Path,
        cluster: str = "slurm",
        partition: str | None = None,
        account: str | None = None,
        cpus: int = 4,
        gpus: int = 0,
        memory_gb: float = 16.0,
        minutes: int = 240,
        jobs: int = 16,
        timeout: float | None = None,
        run: Callable[[Job], None] = run_trial,
    ) -> None:
        self._local = cluster == "local"
        self.slots = min(jobs, max(1, cores() // cpus)) if self._local else jobs
        self._cpus, self._gpus = min(cpus, cores()) if self._local else cpus, gpus
        self._timeout, self._run = timeout, run
        self._submitit = _engine(logs.resolve(), cluster)
        self._submitit.update_parameters(
            name="audio-lightning",
            nodes=1,
            tasks_per_node=1,
            mem_gb=memory_gb,
            timeout_min=minutes,
            slurm_partition=partition,
            slurm_account=account,
        )
        self._running: list[tuple[Path, Any]] = []
        self._stopping = False

    def start(self, folder: Path, *, devices: int) -> bool:
        """See :meth:`Executor.start`; a trial is one job, also with several devices."""
        if len(self._running) >= self.slots:
            return False
        self._submitit.update_parameters(cpus_per_task=self._cpus * devices, gpus_per_node=self._gpus * devices or None)
        job = Job(folder.resolve(), threads=self._cpus)
        try:
            with _interruptible():
                submitted = self._submitit.submit(_watch, self._run, job, self._timeout)
        except Exception as error:  # raised by sbatch, with its message
            raise ConfigError(f"sweep.executor=slurm: job refused: {' '.join(str(error).split())}") from error
        self._running.append((folder, submitted))
        return True

    def wait(self, seconds: float) -> list[Ended]:
        """See :meth:`Executor.wait`."""
        ended = self._ended()
        if not ended:
            time.sleep(seconds)
            ended = self._ended()
        return ended

    def stop(self) -> None:
        """See :meth:`Executor.stop`; jobs that have not started leave the queue."""
        self._stopping = True
        if self._local:
            for _, job in self._running:
                _send(int(job.job_id), signal.SIGTERM)
        elif self._running:
            numbers = [job.job_id for _, job in self._running]
            for options in (["--state=PENDING"], ["--state=RUNNING", "--signal=TERM"]):
                subprocess.run(["scancel", *options, *numbers], check=False)

    def kill(self) -> None:
        """See :meth:`Executor.kill`."""
        self._stopping = True
        for _, job in self._running:
            job.cancel(check=False)

    def close(self) -> None:
        """See :meth:`Executor.close`."""
        if self._running:
            self.kill()
            until = time.monotonic() + SECONDS_TO_END
            while self._running and time.monotonic() < until:
                self.wait(0.25)

    def _ended(self) -> list[Ended]:
        ended = [(folder, job) for folder, job in self._running if job.done()]
        self._running = [entry for entry in self._running if entry not in ended]
        return [self._result(folder, job) for folder, job in ended]

    def _result(self, folder: Path, job: Any) -> Ended:
        if job.paths.result_pickle.exists():
            with contextlib.suppress(Exception):  # its own traceback is in its logs
                code, reason = job.result()
                return Ended(folder, code, None if self._stopping else reason)
        reason = f"its job {job.job_id} ended as {job.state}, see {job.paths.stderr}"
        return Ended(folder, -signal.SIGKILL, None if self._stopping else reason)


def _watch(run: Callable[[Job], None], job: Job, timeout: float | None) -> tuple[int, str | None]:
    """Slurm job that watches a trial; Slurm sends SIGUSR2 before its time limit, and SIGTERM to end it."""
    return watch(run, job, timeout=timeout, stop_on=(signal.SIGTERM, signal.SIGUSR2))


def _engine(logs: Path, cluster: str) -> Any:
    if cluster not in CLUSTERS:
        raise ConfigError(f"sweep.slurm.cluster={cluster}: expected one of {', '.join(CLUSTERS)}")
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(
            f"sweep.executor=slurm: {error.name} is not installed; pip install 'audio-lightning[slurm]'"
        ) from error
    try:
        return submitit.AutoExecutor(folder=logs, cluster=cluster)
    except RuntimeError as error:
        raise ConfigError(
            f"sweep.executor=slurm: {error}; start it where sbatch is found, or try it with sweep.slurm.cluster=local"
        ) from error


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Make processes that are started in this context interruptible, although this process ignores SIGINT.

    A shell without job control lets background processes ignore SIGINT, which their children inherit; submitit ends a
    local job by SIGINT.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: None)  # children reset handled signals, not ignored ones
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
