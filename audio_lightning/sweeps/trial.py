"""One trial, in the process that it has to itself."""

import contextlib
import logging
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from audio_lightning.compare.trials import ENDED, SweepFolder, TrialFolder, TrialStatus
from audio_lightning.core.errors import ConfigError, Interrupted, UserError
from audio_lightning.core.files import disk_trouble, write_text
from audio_lightning.core.messages import FORMAT, RunLog, timestamp

BUSY = 75
"""Exit code of a process that found the trial run by another one (EX_TEMPFAIL)."""

DISK = 74
"""Exit code of a process whose disk was full or failed (EX_IOERR); the trial goes on when there is room again."""

OUTPUT = "output.txt"
"""What a trial prints, in its folder."""


@dataclass(frozen=True)
class Job:
    """A trial to run, the threads of its process, and the number of its GPU; None for what its configuration says."""

    folder: Path
    threads: int
    gpu: int | None = None


def run_trial(job: Job) -> None:
    """Run a trial and exit with its code; for a process that was made for it.

    The process holds the lock of the trial's folder as long as it lives, so that no other runs the same trial. Exit
    codes: 0, the status says what became of it (done, skipped, pruned); 1 and 2, it failed; 130 and 143, it was
    interrupted; :data:`DISK`, the disk was full or failed, and what could not be written is as it was;
    :data:`BUSY`, another process has it.
    """
    if job.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(job.gpu)
    try:
        code = attempt(TrialFolder(job.folder), threads=job.threads)
    except OSError as error:
        if disk_trouble(error) is None:
            raise
        code = DISK
    sys.exit(code)


def attempt(folder: TrialFolder, *, threads: int) -> int:
    """Run a trial in this process, unless it has ended already or another process runs it.

    Returns:
        The exit code, see :func:`run_trial`.
    """
    lock = FileLock(folder.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return BUSY
    # The lock is not given back: the end of the process does that, and nothing earlier.
    status = folder.read_status()
    if status.state in ENDED:
        return 0
    started = time.perf_counter()
    status = replace(
        status, state="running", attempts=status.attempts + 1, started=timestamp(), finished=None, exit_code=None,
        reason=None, host=socket.gethostname(), pid=os.getpid(),
    )  # fmt: skip
    folder.write_status(status)
    folder.error.unlink(missing_ok=True)
    with _output_into(folder.path / OUTPUT):
        status, code = _answered(folder, status, threads)
    folder.write_status(
        replace(
            status,
            exit_code=code,
            finished=timestamp(),
            seconds=round(status.seconds + time.perf_counter() - started, 3),
            peak_memory_mb=peak_memory_mb(),
        )
    )
    return code


def peak_memory_mb() -> float:
    """Largest resident set of this process and of those that it waited for, in megabytes."""
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(largest / (1024 if sys.platform != "darwin" else 1024**2), 1)


def _answered(folder: TrialFolder, status: TrialStatus, threads: int) -> tuple[TrialStatus, int]:
    """Train, and put what became of it into the status."""
    try:
        reason = _train(folder, status, threads)
    except ConfigError as error:  # what could not be known before: it cannot work
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
        if said := disk_trouble(error):
            return replace(status, state="interrupted", reason=said), DISK
        write_text(folder.error, traceback.format_exc())
        first = str(error).strip().partition("\n")[0]
        return replace(status, state="failed", reason=f"{type(error).__name__}: {first}"), 1
    return replace(status, state="done", reason=reason), 0


def _train(folder: TrialFolder, status: TrialStatus, threads: int) -> str | None:
    """Train; returns why the trial cannot be ranked by the metric that it is to be, if it cannot."""
    import torch

    from audio_lightning.config import trusting
    from audio_lightning.report.model_card import write_model_card
    from audio_lightning.sweeps.latency import write_latency
    from audio_lightning.training.run import train

    config = folder.read_config()
    torch.set_num_threads(threads)
    if config.trainer.devices == "auto":  # of several GPUs a trial has one; it may ask for more
        config.trainer.devices = 1
    logging.basicConfig(handlers=[RunLog(folder.log)], format=FORMAT, level=logging.INFO)
    with trusting(config.get("trusted_modules")):  # what was typed for the sweep, which wrote this configuration
        metrics = train(config, folder, resume=True, callbacks=_pruning(folder, status))
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
    """Write what this process, and those that it starts, print to the end of a file."""
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
