"""Entry point of the process of one trial."""

import contextlib
import logging
import os
import resource
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from audio_lightning.compare.trials import ENDED, SweepFolder, TrialFolder, TrialStatus
from audio_lightning.core import clock
from audio_lightning.core.errors import ConfigError, Interrupted, UserError
from audio_lightning.core.files import disk_trouble, write_text
from audio_lightning.core.messages import FORMAT, RunLog, timestamp

BUSY = 75
"""Exit code if another process already runs the trial (EX_TEMPFAIL)."""

DISK = 74
"""Exit code if the disk was full or failed (EX_IOERR); the trial can be resumed."""

OUTPUT = "output.txt"
"""File of the output of a trial, in its folder."""


@dataclass(frozen=True)
class Job:
    """Work of one process: a trial, or several trials that are trained together.

    Attributes:
        folder: trial folder.
        threads: number of threads of the process.
        gpu: index of the only GPU that the process may use; None: all.
        others: folders of the trials that are trained together with it (:mod:`audio_lightning.sweeps.fusion.trials`).
        timeout: time limit in seconds of each of several trials, without waiting for the others; None: no limit.
            It has no effect on a single trial.
    """

    folder: Path
    threads: int
    gpu: int | None = None
    others: tuple[Path, ...] = ()
    timeout: float | None = None


def run_trial(job: Job) -> None:
    """Run the trial or trials of a job, and exit the process with the exit code.

    The process holds the lock of a trial's folder while the trial runs, so that no other process runs it, too. Exit
    codes: 0: the status is done, skipped or pruned; 1 and 2: the trial failed; 130 and 143: it was interrupted;
    :data:`DISK`: the disk was full or failed, and files that could not be written are unchanged; :data:`BUSY`: another
    process runs it.
    """
    if job.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(job.gpu)
    try:
        if job.others:
            from audio_lightning.sweeps.fusion.trials import attempt_together

            code = attempt_together(job)
        else:
            code = attempt(TrialFolder(job.folder), threads=job.threads)
    except OSError as error:
        if disk_trouble(error) is None:
            raise
        code = DISK
    sys.exit(code)


def attempt(folder: TrialFolder, *, threads: int, callbacks: Sequence[Any] = (), members: int = 1) -> int:
    """Run one trial in this process, unless it has ended already or another process runs it.

    Args:
        folder: trial folder.
        threads: number of threads of this process.
        callbacks: callbacks in addition to those of the configuration.
        members: number of trials that this process runs, which share ``feature_memory_gb`` equally.

    Returns:
        The exit code, see :func:`run_trial`.
    """
    lock = FileLock(folder.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return BUSY
    # Held until this function returns or the process dies.
    status = folder.read_status()
    if status.state in ENDED:
        return 0
    started = clock.perf_counter()
    status = replace(
        status, state="running", attempts=status.attempts + 1, started=timestamp(), finished=None, exit_code=None,
        reason=None, host=socket.gethostname(), pid=os.getpid(),
    )  # fmt: skip
    folder.write_status(status)
    folder.error.unlink(missing_ok=True)
    with _output_into(folder.path / OUTPUT):
        status, code = _answered(folder, status, threads, callbacks, members)
    folder.write_status(
        replace(
            status,
            exit_code=code,
            finished=timestamp(),
            seconds=round(status.seconds + clock.perf_counter() - started, 3),
            peak_memory_mb=peak_memory_mb(),
        )
    )
    return code


def peak_memory_mb() -> float:
    """Return the peak resident set size of this process and its ended children, in MB."""
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(largest / (1024 if sys.platform != "darwin" else 1024**2), 1)


def _answered(
    folder: TrialFolder, status: TrialStatus, threads: int, callbacks: Sequence[Any], members: int
) -> tuple[TrialStatus, int]:
    """Train; return the status with the outcome, and the exit code."""
    try:
        reason = _train(folder, status, threads, callbacks, members)
    except ConfigError as error:  # the trial cannot work, which the pre-flight check did not find
        return replace(status, state="skipped", reason=str(error)), 0
    except UserError as error:
        write_text(folder.error, f"{error}\n")
        return replace(status, state="failed", reason=str(error)), error.exit_code
    except (Interrupted, KeyboardInterrupt) as stop:
        code = stop.exit_code if isinstance(stop, Interrupted) else 130
        return replace(status, state="interrupted"), code
    except BaseException as error:
        if type(error).__name__ == "TrialPruned":
            return replace(status, state="pruned"), 0
        if trouble := disk_trouble(error):
            return replace(status, state="interrupted", reason=trouble), DISK
        write_text(folder.error, traceback.format_exc())
        first = str(error).strip().partition("\n")[0]
        return replace(status, state="failed", reason=f"{type(error).__name__}: {first}"), 1
    return replace(status, state="done", reason=reason), 0


def _train(
    folder: TrialFolder, status: TrialStatus, threads: int, callbacks: Sequence[Any], members: int
) -> str | None:
    """Train; return why the trial cannot be ranked by the metric of the sweep, or None if it can."""
    import torch

    from audio_lightning.config import trusting
    from audio_lightning.report.model_card import write_model_card
    from audio_lightning.sweeps.latency import write_latency
    from audio_lightning.training.run import train

    config = folder.read_config()
    torch.set_num_threads(threads)
    if config.trainer.devices == "auto":  # one of several GPUs, unless the configuration sets more
        config.trainer.devices = 1
    if members > 1 and config.feature_memory_gb:
        config.feature_memory_gb /= members
    logging.basicConfig(handlers=[RunLog(folder.log)], format=FORMAT, level=logging.INFO)
    with trusting(config.get("trusted_modules")):  # from the command line of the sweep, which wrote this file
        metrics = train(config, folder, resume=True, callbacks=[*callbacks, *_pruning(folder, status)])
        write_latency(folder)
        write_model_card(folder.path)
    if config.monitor in metrics and metrics[config.monitor] is None:
        return f"{config.monitor} is not a number; the epoch was chosen by {metrics['chosen_by']}"
    return None


def _pruning(folder: TrialFolder, status: TrialStatus) -> list[Any]:
    if not (status.search and "pruner" in status.search):
        return []
    from audio_lightning.sweeps.search.pruning import Pruning

    sweep = SweepFolder(folder.path.parent.parent)
    return [Pruning(storage=sweep.storage.read_text(encoding="utf-8"), **status.search)]


@contextlib.contextmanager
def _output_into(path: Path) -> Iterator[None]:
    """Append the output of this process and its children to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with path.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in enumerate(kept, 1):
            os.dup2(old, number)
            os.close(old)
