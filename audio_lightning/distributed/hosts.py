"""Watchdog for training processes started by torchrun or Slurm, on one machine or several.

torchrun and Slurm end the processes of a host when one of them fails. They do not notice a host that lost its power or
lacks the data: the other processes would wait for it in their first collective operation, by default for half an hour.
Therefore each process writes heartbeats, and the reason if it fails, to the store of the process group.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
import psutil
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from torch import distributed

from audio_lightning.core.errors import ConfigError
from audio_lightning.distributed.ranks import (
    SECONDS_TO_FAIL,
    SECONDS_TO_NOTICE,
    RankError,
    end_process,
    is_broken_connection,
)
from audio_lightning.run_folder import RunFolder

SECONDS_TO_MEET = 300.0
"""Time limit for all processes to connect; hosts may start at different times."""

SECONDS_OF_SILENCE = 60.0
"""Seconds without a heartbeat after which a process is considered dead."""

SECONDS_BETWEEN_BEATS = 2.0


class Peers:
    """The other processes of a training that torchrun or Slurm started; without such processes, it does nothing.

    Args:
        trainer: trainer of the run; its strategy gives the rank of this process.
        folder: run folder.

    Raises:
        ConfigError: several processes were started, but the trainer has one device.
        RankError: not all processes connected in time.
    """

    def __init__(self, trainer: pl.Trainer, folder: RunFolder) -> None:
        started = _processes_started()
        if started > 1 and trainer.world_size == 1:
            raise ConfigError(
                f"{started} processes were started, and each would train alone in {folder.path}: expected "
                "trainer.devices x trainer.num_nodes processes; choose trainer=ddp (or ddp_sim), or start one process"
            )
        self._resume = f"resume with the same command and resume={folder.path} instead of its other settings"
        self._over = threading.Event()
        self._store: distributed.Store | None = None
        cluster: Any = getattr(trainer.strategy, "cluster_environment", None)
        if trainer.world_size > 1 and isinstance(cluster, TorchElasticEnvironment | SLURMEnvironment):
            self._rank, self._world, self._host = cluster.global_rank(), cluster.world_size(), socket.gethostname()
            if trainer.num_nodes > 1:
                _choose_interface(cluster.main_address, cluster.main_port)
            self._store = self._meet(cluster.main_address, cluster.main_port)
            threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def agreed(self) -> Iterator[None]:
        """Leave the context only when all processes have reached its end without an error.

        Raises:
            RankError: another process failed.
        """
        with self._failures_shared():
            yield
            if self._store is None:
                return
            self._store.set(f"ready/{self._rank}", "")
            ready = [f"ready/{rank}" for rank in range(self._world)]
            while not self._store.check(ready):
                if reason := self._reported_failure():
                    raise RankError(reason)
                time.sleep(0.2)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the other processes during the training; report the end of one of them in one line.

        Raises:
            RankError: the connection to another process broke.
        """
        try:
            with self._failures_shared():
                yield
        finally:
            self._over.set()
            if self._store is not None and distributed.is_initialized() and distributed.get_backend() == "gloo":
                distributed.destroy_process_group()

    def _meet(self, address: str, port: int) -> distributed.Store:
        try:
            store: distributed.Store = distributed.TCPStore(
                address,
                port,
                # With torchrun, the agent on the first host holds the store.
                is_master=self._rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
                timeout=timedelta(seconds=SECONDS_TO_MEET),
                wait_for_workers=False,
                multi_tenant=True,  # the process group opens the same store again
            )
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            store = distributed.PrefixStore(f"audio_lightning/{attempt}", store)
            store.set(f"beat/{self._rank}", "0")
            here = [f"beat/{rank}" for rank in range(self._world)]
            deadline = time.monotonic() + SECONDS_TO_MEET
            while not store.check(here):
                if time.monotonic() > deadline:
                    absent = [rank for rank, key in enumerate(here) if not store.check([key])]
                    raise RankError(
                        f"of {self._world} processes, number {', '.join(map(str, absent))} did not connect to "
                        f"{address}:{port} within {SECONDS_TO_MEET:g} s; see their output on their hosts"
                    )
                time.sleep(0.1)
        except (distributed.DistError, RuntimeError) as error:
            raise RankError(
                f"process {self._rank} of {self._world} on {self._host} cannot reach the first at {address}:{port}; "
                "see its output on its host, and check that its name and port can be reached from here"
            ) from error
        return store

    @contextlib.contextmanager
    def _failures_shared(self) -> Iterator[None]:
        """Report a failure of this process to the others; name the other process whose failure ended this one."""
        try:
            yield
        except Exception as error:
            if self._store is None:
                raise
            if is_broken_connection(error):
                deadline = time.monotonic() + SECONDS_TO_NOTICE
                while not (reason := self._reported_failure()) and time.monotonic() < deadline:
                    time.sleep(0.2)
                broken = f"another process of the training has ended (its connection broke); {self._resume}"
                raise RankError(reason or broken) from error
            if not isinstance(error, RankError):
                self._report(self._ended(str(error).splitlines()[0] if str(error) else type(error).__name__))
            raise
        except SystemExit:
            self._report(self._ended("it was interrupted"))
            raise

    def _ended(self, reason: str) -> str:
        return f"process {self._rank} of {self._world} on {self._host} ended: {reason}"

    def _report(self, reason: str) -> None:
        with contextlib.suppress(distributed.DistError, RuntimeError):
            if self._store is not None and not self._store.check(["failed"]):
                self._store.set("failed", reason)

    def _reported_failure(self) -> str | None:
        """Return the failure reported by another process, or that of the first process if its store is lost."""
        assert self._store is not None
        try:
            return self._store.get("failed").decode() if self._store.check(["failed"]) else None
        except (distributed.DistError, RuntimeError):
            return f"the first process of the training, or its host, has ended; {self._resume}"

    def _watch(self) -> None:
        """Write heartbeats, and end this process when another one is dead.

        The first process checks the heartbeats of all others; the others check only those of the first.
        """
        others = range(1, self._world) if self._rank == 0 else range(1)
        last_beats = {rank: (b"", time.monotonic()) for rank in others}
        beats = 0
        assert self._store is not None
        while not self._over.wait(SECONDS_BETWEEN_BEATS):
            beats += 1
            now = time.monotonic()
            with contextlib.suppress(distributed.DistError, RuntimeError):  # handled below
                self._store.set(f"beat/{self._rank}", str(beats))
                for rank in others:
                    beat = self._store.get(f"beat/{rank}")
                    if beat != last_beats[rank][0]:
                        last_beats[rank] = beat, now
            silent = [rank for rank, (_, when) in last_beats.items() if now - when > SECONDS_OF_SILENCE]
            if silent:
                self._report(
                    f"process {silent[0]} of {self._world} has not reported for {SECONDS_OF_SILENCE:g} s: the process, "
                    f"its host or the network has failed; {self._resume}"
                )
            if (reason := self._reported_failure()) and not self._over.wait(SECONDS_TO_FAIL):
                end_process(reason)


def _processes_started() -> int:
    """Return the number of processes started by torchrun or srun; 1 without them."""
    torchrun = os.environ.get("WORLD_SIZE") if distributed.is_torchelastic_launched() else None
    return int(torchrun or os.environ.get("SLURM_STEP_NUM_TASKS") or 1)


def _choose_interface(address: str, port: int) -> None:
    """Make gloo use the network interface that leads to the first host.

    By default, gloo resolves its own host name, often to 127.0.0.1, which other hosts cannot reach.
    """
    if "GLOO_SOCKET_IFNAME" not in os.environ:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))  # sends nothing; it only looks up the route
            own = probe.getsockname()[0]
            for name, addresses in psutil.net_if_addrs().items():
                if any(each.address == own for each in addresses):
                    os.environ["GLOO_SOCKET_IFNAME"] = name
