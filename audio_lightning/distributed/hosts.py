"""Processes of one training that torchrun or Slurm has started, on one machine or on several.

torchrun and Slurm end the processes of a host when one of them fails. They notice neither a host that lost its power,
nor one without the data: the others would wait for it in their first exchange, by default for half an hour. So each
process writes heartbeats and the reason of its end to the store of the process group.
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
"""How long the processes may take until all have come: hosts need not start at once."""

SECONDS_OF_SILENCE = 60.0
"""How long nothing may be heard of a process until it is taken for dead."""

SECONDS_BETWEEN_BEATS = 2.0


class Peers:
    """The other processes, where torchrun or Slurm has started them; otherwise there are none, and nothing happens.

    Args:
        trainer: whose strategy says which process this is.
        folder: of the run.

    Raises:
        ConfigError: several processes were started, and the trainer has one device.
        RankError: not all came.
    """

    def __init__(self, trainer: pl.Trainer, folder: RunFolder) -> None:
        started = _processes_started()
        if started > 1 and trainer.world_size == 1:
            raise ConfigError(
                f"{started} processes were started, and each would train alone in {folder.path}: expected as many as "
                "trainer.devices x trainer.num_nodes; choose trainer=ddp (or ddp_sim), or start one process"
            )
        self._resume = f"go on by the same command with resume={folder.path} in place of its other settings"
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
        """Go on after this only where all processes come out of it.

        Raises:
            RankError: another process did not.
        """
        with self._told():
            yield
            if self._store is None:
                return
            self._store.set(f"ready/{self._rank}", "")
            ready = [f"ready/{rank}" for rank in range(self._world)]
            while not self._store.check(ready):
                if reason := self._failed():
                    raise RankError(reason)
                time.sleep(0.2)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Train within this: an end of another process is said in one line, and nothing is watched any more after it.

        Raises:
            RankError: the connection to another process broke.
        """
        try:
            with self._told():
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
                # With torchrun, its agent on the first host has the store.
                is_master=self._rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
                timeout=timedelta(seconds=SECONDS_TO_MEET),
                wait_for_workers=False,
                multi_tenant=True,  # the process group opens the same one again
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
                        f"{address}:{port} within {SECONDS_TO_MEET:g} s: see what they say on their hosts"
                    )
                time.sleep(0.1)
        except (distributed.DistError, RuntimeError) as error:
            raise RankError(
                f"process {self._rank} of {self._world} on {self._host} cannot reach the first one at {address}:{port}:"
                " see what that says on its host, and whether its name and port can be reached from here"
            ) from error
        return store

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell the others what this process ends by, and say which other one it was that ended this one."""
        try:
            yield
        except Exception as error:
            if self._store is None:
                raise
            if is_broken_connection(error):
                deadline = time.monotonic() + SECONDS_TO_NOTICE
                while not (reason := self._failed()) and time.monotonic() < deadline:
                    time.sleep(0.2)
                broken = f"the connection to another process of the training broke: it has ended; {self._resume}"
                raise RankError(reason or broken) from error
            if not isinstance(error, RankError):
                self._tell(self._ended(str(error).splitlines()[0] if str(error) else type(error).__name__))
            raise
        except SystemExit:
            self._tell(self._ended("it was interrupted"))
            raise

    def _ended(self, reason: str) -> str:
        return f"process {self._rank} of {self._world} on {self._host} ended: {reason}"

    def _tell(self, reason: str) -> None:
        with contextlib.suppress(distributed.DistError, RuntimeError):
            if self._store is not None and not self._store.check(["failed"]):
                self._store.set("failed", reason)

    def _failed(self) -> str | None:
        """What another process has told, or that the store has gone together with the first one."""
        assert self._store is not None
        try:
            return self._store.get("failed").decode() if self._store.check(["failed"]) else None
        except (distributed.DistError, RuntimeError):
            return f"the first process of the training, or its host, has ended; {self._resume}"

    def _watch(self) -> None:
        """Tell that this process lives, and end it where it waits for another one that does not.

        The first process listens to all the others, and these to the first one alone.
        """
        others = range(1, self._world) if self._rank == 0 else range(1)
        heard = {rank: (b"", time.monotonic()) for rank in others}
        beats = 0
        assert self._store is not None
        while not self._over.wait(SECONDS_BETWEEN_BEATS):
            beats += 1
            now = time.monotonic()
            with contextlib.suppress(distributed.DistError, RuntimeError):  # seen below
                self._store.set(f"beat/{self._rank}", str(beats))
                for rank in others:
                    beat = self._store.get(f"beat/{rank}")
                    if beat != heard[rank][0]:
                        heard[rank] = beat, now
            silent = [rank for rank, (_, when) in heard.items() if now - when > SECONDS_OF_SILENCE]
            if silent:
                self._tell(
                    f"process {silent[0]} of {self._world} has not reported for {SECONDS_OF_SILENCE:g} s: it or "
                    f"its host has ended, or the network has; {self._resume}"
                )
            if (reason := self._failed()) and not self._over.wait(SECONDS_TO_FAIL):
                end_process(reason)


def _processes_started() -> int:
    """How many processes torchrun or srun says that it started; 1 where neither did."""
    torchrun = os.environ.get("WORLD_SIZE") if distributed.is_torchelastic_launched() else None
    return int(torchrun or os.environ.get("SLURM_STEP_NUM_TASKS") or 1)


def _choose_interface(address: str, port: int) -> None:
    """Let gloo use the network interface that leads to the first host.

    By itself it takes the address of the own host name: often 127.0.0.1, which the others cannot reach.
    """
    if "GLOO_SOCKET_IFNAME" not in os.environ:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))  # sends nothing: it only asks for the route
            own = probe.getsockname()[0]
            for name, addresses in psutil.net_if_addrs().items():
                if any(each.address == own for each in addresses):
                    os.environ["GLOO_SOCKET_IFNAME"] = name
