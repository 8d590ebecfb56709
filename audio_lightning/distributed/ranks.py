"""Launcher of multi-device training: one process per device, started, watched and ended by the first process.

Lightning would start them by running the command line again. That fails for commands other than ``train`` and for
trainings started from Python. Here each process reads the configuration and the run folder from its standard input
(:mod:`audio_lightning.training.rank`). torchrun's ``start_processes`` does not fit either: it replaces the signal
handlers of the calling process, which trains here. Processes started by torchrun or Slurm are not managed here.
"""

import contextlib
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from omegaconf import DictConfig, OmegaConf
from torch import distributed

from audio_lightning.core.cores import share_threads
from audio_lightning.core.errors import ConfigError, UserError
from audio_lightning.distributed.fsdp import ShardedStrategy
from audio_lightning.run_folder import RunFolder

log = logging.getLogger(__name__)

SECONDS_TO_NOTICE = 5.0
"""Maximum seconds from a broken connection until the end of the process that caused it is visible."""

SECONDS_TO_FAIL = 10.0
"""Seconds that the first process may continue after another has died; with some backends it would wait forever."""

LINES_SHOWN = 15


class RankError(UserError):
    """Another process of the training ended early."""

    exit_code = 1


@contextlib.contextmanager
def other_ranks(trainer: pl.Trainer, config: DictConfig, folder: RunFolder, *, resume: bool) -> Iterator[None]:
    """Run the other processes of this machine while the context lasts; do nothing on a single device.

    Args:
        trainer: trainer of the run; its strategy gives the number of processes.
        config: configuration of the run.
        folder: run folder.
        resume: see :func:`audio_lightning.training.run.train`.

    Raises:
        ConfigError: the strategy starts processes in another way.
        RankError: a process ended early.
    """
    strategy: Any = trainer.strategy
    if strategy.launcher is None or strategy.cluster_environment.creates_processes_externally:
        yield
        return
    if not isinstance(strategy.launcher, _SubprocessScriptLauncher):
        raise ConfigError(
            f"trainer.strategy={config.trainer.strategy}: expected a strategy that starts processes, such as ddp"
        )
    threads, cluster = torch.get_num_threads(), strategy.cluster_environment
    share = share_threads(trainer.num_devices)
    shared = {
        "MASTER_ADDR": cluster.main_address,
        "MASTER_PORT": str(cluster.main_port),
        "NODE_RANK": str(cluster.node_rank()),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(trainer.world_size),
        "OMP_NUM_THREADS": str(share),
    }
    job = {
        "config": OmegaConf.to_yaml(config, resolve=True),
        "folder": str(folder.path.absolute()),
        "resume": resume,
        "parent": os.getpid(),
    }
    with _environment(shared):
        others = _Others(trainer.num_devices - 1, job)
        try:
            yield
            others.join()
        except Exception as error:
            if is_broken_connection(error) and (reason := others.failure(SECONDS_TO_NOTICE)):
                raise RankError(reason) from error
            raise
        finally:
            others.end()
            torch.set_num_threads(threads)
            # The next training of this process makes a new group. NCCL is excepted: it may wait here for ended ranks.
            if distributed.is_initialized() and distributed.get_backend() == "gloo":
                distributed.destroy_process_group()


def is_broken_connection(error: Exception) -> bool:
    """Return whether an error looks like a collective operation that failed because of another process."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"gloo|nccl|connection (closed|reset)", str(error), re.I))


def end_process(reason: str) -> None:
    """End this process from a watching thread, while its main thread waits for an ended process."""
    log.info("stopped: %s", reason)
    print(f"error: {reason}", file=sys.stderr, flush=True)
    os._exit(RankError.exit_code)


class Together(Callback):
    """Callback that keeps the processes of a training in step; with one process it does nothing."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the SIGTERM handler."""
        self._handle_sigterm(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the SIGTERM handler, and synchronize buffers with FSDP; DDP synchronizes them itself."""
        self._handle_sigterm(trainer)
        if isinstance(trainer.strategy, ShardedStrategy) and trainer.world_size > 1:
            trainer.strategy.share_buffers()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the SIGTERM handler."""
        self._handle_sigterm(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop all processes together, also if only the first has the callback that requests the stop."""
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(trainer.should_stop, all=False)

    def _handle_sigterm(self, trainer: pl.Trainer) -> None:
        """End at once on SIGTERM: Lightning's handler waits for processes that did not receive the signal."""
        if trainer.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _stop)


def _stop(*_: Any) -> None:
    sys.exit(143)


class _Others:
    """Child processes of the first process.

    Args:
        count: number of processes to start.
        job: configuration, run folder and parent process, sent to the standard input of each process as JSON.
    """

    def __init__(self, count: int, job: dict[str, Any]) -> None:
        self._resume = "continue with: " + shlex.join(["python", "train.py", f"resume={job['folder']}"])
        self._errors: list[IO[str]] = []
        self._processes: list[subprocess.Popen[str]] = []
        self._over = threading.Event()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        for rank in range(1, count + 1):
            errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - see end()
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "audio_lightning.training.rank"],
                env={**os.environ, "LOCAL_RANK": str(rank), "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the first process, which ends the others
            )
            self._errors.append(errors)
            self._processes.append(process)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # if it died, failure() finds that
                json.dump(job, pipe)
        if count:
            threading.Thread(target=self._watch, daemon=True).start()

    def failure(self, seconds: float = 0.0) -> str | None:
        """Describe a failed process; None if no process fails within ``seconds``."""
        end = time.monotonic() + seconds
        while True:
            for rank, (process, errors) in enumerate(zip(self._processes, self._errors), 1):
                if code := process.poll():
                    errors.seek(0)
                    lines = errors.read().strip().splitlines()[-LINES_SHOWN:]
                    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                    text = "\n  ".join(["; its last output:", *lines]) if lines else ""
                    return f"the process of device {rank} (of 0 to {len(self._processes)}) {how}; {self._resume}{text}"
            if time.monotonic() >= end:
                return None
            time.sleep(0.1)

    def join(self) -> None:
        """Wait until all processes have ended.

        Raises:
            RankError: a process failed.
        """
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
        if reason := self.failure():
            raise RankError(reason)

    def end(self) -> None:
        """Kill all processes."""
        self._over.set()
        for process, errors in zip(self._processes, self._errors):
            process.kill()
            process.wait()
            errors.close()

    def _watch(self) -> None:
        """End this process when another has died and this one waits for it forever."""
        while not self._over.wait(0.5):
            if (reason := self.failure()) and not self._over.wait(SECONDS_TO_FAIL):
                self.end()
                end_process(reason)


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
