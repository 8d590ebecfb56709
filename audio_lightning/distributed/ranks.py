"""A training on several devices: one process each, started by the first one, watched by it, and ended with it.

Lightning would start them by running the command line again, which is another command in each of them, and none at all
where a training is started from Python. Here each is given the configuration and the run folder instead
(:mod:`audio_lightning.training.rank`). torchrun's own ``start_processes`` does not fit either: it replaces the signal
handlers of the process that calls it, and that one trains here. Processes of torchrun or Slurm are left to these.
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
"""How long a broken connection may be seen before the process that it led to is seen to have ended."""

SECONDS_TO_FAIL = 10.0
"""How long the first process may go on when another has died: with some backends it would wait for it forever."""

LINES_SHOWN = 15


class RankError(UserError):
    """Another process of the training ended before its time."""

    exit_code = 1


@contextlib.contextmanager
def other_ranks(trainer: pl.Trainer, config: DictConfig, folder: RunFolder, *, resume: bool) -> Iterator[None]:
    """Have the other processes of this machine for as long as the context lasts, if there are to be any.

    Args:
        trainer: whose strategy says how many.
        config: of the run.
        folder: of the run.
        resume: see :func:`audio_lightning.training.run.train`.

    Raises:
        ConfigError: a strategy that starts processes in another way.
        RankError: a process ended before its time.
    """
    strategy: Any = trainer.strategy
    if strategy.launcher is None or strategy.cluster_environment.creates_processes_externally:
        yield
        return
    if not isinstance(strategy.launcher, _SubprocessScriptLauncher):
        raise ConfigError(
            f"trainer.strategy={config.trainer.strategy}: expected one that starts processes, such as ddp"
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
    order = {
        "config": OmegaConf.to_yaml(config, resolve=True),
        "folder": str(folder.path.absolute()),
        "resume": resume,
        "parent": os.getpid(),
    }
    with _environment(shared):
        others = _Others(trainer.num_devices - 1, order)
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
            # The next training of this process makes a group of its own. NCCL may wait here for those that are gone.
            if distributed.is_initialized() and distributed.get_backend() == "gloo":
                distributed.destroy_process_group()


def is_broken_connection(error: Exception) -> bool:
    """Whether an exchange failed because of another process, as far as that can be told from what was raised."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"gloo|nccl|connection (closed|reset)", str(error), re.I))


def end_process(reason: str) -> None:
    """End this process from another thread than that which waits for a process that is gone."""
    log.info("stopped: %s", reason)
    print(f"error: {reason}", file=sys.stderr, flush=True)
    os._exit(RankError.exit_code)


class Together(Callback):
    """What the processes of a training have to agree upon; where there is one, nothing."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mind SIGTERM."""
        self._mind_sigterm(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mind SIGTERM, and have the same network everywhere; DDP sees to that by itself."""
        self._mind_sigterm(trainer)
        if isinstance(trainer.strategy, ShardedStrategy) and trainer.world_size > 1:
            trainer.strategy.share_buffers()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mind SIGTERM."""
        self._mind_sigterm(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop together, also where only the first process has a callback that wants to."""
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(trainer.should_stop, all=False)

    def _mind_sigterm(self, trainer: pl.Trainer) -> None:
        """End at once: Lightning's own handler waits for an exchange with processes that know nothing of it."""
        if trainer.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _stop)


def _stop(*_: Any) -> None:
    sys.exit(143)


class _Others:
    """The processes that this one has started.

    Args:
        count: how many.
        order: what they are told.
    """

    def __init__(self, count: int, order: dict[str, Any]) -> None:
        self._resume = "go on with: " + shlex.join(["python", "train.py", f"resume={order['folder']}"])
        self._said: list[IO[str]] = []
        self._processes: list[subprocess.Popen[str]] = []
        self._over = threading.Event()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        for rank in range(1, count + 1):
            said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - see end()
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "audio_lightning.training.rank"],
                env={**os.environ, "LOCAL_RANK": str(rank), "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                text=True,
                start_new_session=True,  # Ctrl-C is for the first process, which ends the others
            )
            self._said.append(said)
            self._processes.append(process)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # it died; that is seen soon
                json.dump(order, pipe)
        if count:
            threading.Thread(target=self._watch, daemon=True).start()

    def failure(self, seconds: float = 0.0) -> str | None:
        """What became of a process that failed, if one does within so many seconds."""
        end = time.monotonic() + seconds
        while True:
            for rank, (process, said) in enumerate(zip(self._processes, self._said), 1):
                if code := process.poll():
                    said.seek(0)
                    lines = said.read().strip().splitlines()[-LINES_SHOWN:]
                    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                    text = "\n  ".join(["; its last words:", *lines]) if lines else ""
                    return f"the process of device {rank} (of 0 to {len(self._processes)}) {how}; {self._resume}{text}"
            if time.monotonic() >= end:
                return None
            time.sleep(0.1)

    def join(self) -> None:
        """Wait for those that are about to end.

        Raises:
            RankError: one failed.
        """
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)
        if reason := self.failure():
            raise RankError(reason)

    def end(self) -> None:
        """Leave none behind."""
        self._over.set()
        for process, said in zip(self._processes, self._said):
            process.kill()
            process.wait()
            said.close()

    def _watch(self) -> None:
        """End this process where one of the others has died and this one waits for it for good."""
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
