"""Trials on a Slurm cluster, each a job of its own."""

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
"""How long jobs that were ended have to be gone."""


class SlurmExecutor(Executor):
    """Trials as jobs of Slurm, submitted through submitit.

    What a job is given is the path of a trial's folder. So the folder of the sweep lies on a file system that all
    machines share, the recordings do, too, and this Python with its packages can be run on all of them. Each job spends
    some seconds on importing. Before its time is up, and when it is preempted, a trial saves and stops; it has failed
    then, and goes on with ``sweep.retries``, in a new job. Jobs end with the sweep, unless that dies at once: then they
    run to their end, and the same line again waits for them.

    Args:
        logs: folder for what submitit keeps of each job.
        cluster: ``slurm``, or ``local`` for processes of this machine, to try it.
        partition, account: as ``sbatch`` takes them; None for the cluster's own.
        cpus: of a trial, of each of its processes where it trains with several.
        gpus: likewise.
        memory_gb: of a trial.
        minutes: after which Slurm ends a trial.
        jobs: most in the queue at once; ``local`` has no more than this machine has the cores for.
        timeout: seconds after which a trial is ended, counted from when its job starts; None for never.
        run: what a trial's process does.

    Raises:
        ConfigError: submitit is not installed, there is no such cluster, or Slurm refuses a job.
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
        """See :meth:`Executor.start`; a trial is one job, whatever it trains with."""
        if len(self._running) >= self.slots:
            return False
        self._submitit.update_parameters(cpus_per_task=self._cpus * devices, gpus_per_node=self._gpus * devices or None)
        job = Job(folder.resolve(), threads=self._cpus)
        try:
            with _interruptible():
                submitted = self._submitit.submit(_watch, self._run, job, self._timeout)
        except Exception as error:  # of sbatch, with what it said
            raise ConfigError(f"Slurm refused a job: {' '.join(str(error).split())}") from error
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
    """The job: Slurm announces by SIGUSR2 that it will be ended, and ends it by SIGTERM."""
    return watch(run, job, timeout=timeout, stop_on=(signal.SIGTERM, signal.SIGUSR2))


def _engine(logs: Path, cluster: str) -> Any:
    if cluster not in CLUSTERS:
        raise ConfigError(f"sweep.slurm.cluster={cluster}: expected one of {', '.join(CLUSTERS)}")
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(
            f"sweep.executor=slurm needs the package {error.name}: pip install 'audio-lightning[slurm]'"
        ) from error
    try:
        return submitit.AutoExecutor(folder=logs, cluster=cluster)
    except RuntimeError as error:
        raise ConfigError(
            f"sweep.executor=slurm: {error}; start it where sbatch is found, or try it with sweep.slurm.cluster=local"
        ) from error


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """What is started here can be interrupted, even if this process, in the background of a script, can't.

    A shell without job control has such processes ignore SIGINT, and all that these start inherit it; by SIGINT
    submitit ends a local job.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: None)  # what is handled, not ignored, is not inherited
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
