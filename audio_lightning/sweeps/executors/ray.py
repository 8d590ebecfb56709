"""Executor on a Ray cluster: a running cluster, or a local one."""

import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from audio_lightning.core.cores import cores
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.executors.executors import Ended, Executor, watch
from audio_lightning.sweeps.trial import Job, run_trial

LOCAL_OBJECT_STORE = 80 * 1024**2
"""Shared memory of a local cluster in bytes; trials use none, but Ray needs at least 75 MiB."""

SECONDS_TO_END = 10.0
"""Seconds for killed trials to disappear before the cluster is left."""

_Wish = Literal["stop", "kill"] | None


@dataclass(frozen=True)
class _Running:
    folder: Path
    slots: int


class RayExecutor(Executor):
    """Executor of trials as tasks of a Ray cluster.

    Only the path of a trial's folder is sent over the network. The sweep folder and the recordings must therefore be on
    a file system that all machines share, and this package must be installed on all of them. A task watches the trial,
    which is its child process. The first task of a Ray worker imports the libraries; later trials are forked. A trial
    whose machine is lost has failed; with ``sweep.retries`` it is resumed on another machine.

    Args:
        workers: number of trials at the same time on a local cluster; otherwise the cluster's resources decide.
        address: address of a running cluster; ``auto``: the cluster of this machine; None: start a local cluster.
        cpus: CPUs of each trial; None: the cores of this machine divided by ``workers``.
        gpus: GPUs of each trial; with a fraction, several trials share a GPU.
        timeout: seconds after which a trial is killed, counted from its start on its machine; None: never.
        run: function that runs a trial in its process.

    Raises:
        ConfigError: Ray is not installed, the cluster does not respond, or no machine has room for a trial.
    """

    def __init__(
        self,
        *,
        workers: int,
        address: str | None = None,
        cpus: float | None = None,
        gpus: float = 0.0,
        timeout: float | None = None,
        run: Callable[[Job], None] = run_trial,
    ) -> None:
        self._cpus, self._gpus = cpus or max(1, cores() // workers), gpus
        self._timeout, self._run = timeout, run
        self._ray = _joined(address) if address else _started(num_cpus=self._cpus * workers)
        self._watch = self._ray.remote(max_retries=0)(_watch)
        self._running: dict[Any, _Running] = {}
        self._wish: _Wish = None
        self._sent: _Wish = None
        if not any(self._rooms()):
            self._ray.shutdown()
            raise ConfigError(
                f"sweep.executor=ray: no machine of the cluster has {self._cpus:g} CPUs and {gpus:g} GPUs for a trial; "
                "lower sweep.ray.cpus or sweep.ray.gpus"
            )
        self.slots = sum(self._rooms())

    def start(self, folder: Path, *, devices: int) -> bool:
        """See :meth:`Executor.start`; a trial with more processes than fit on any machine gets a whole machine."""
        needed = min(devices, max(1, *self._rooms()))
        if sum(run.slots for run in self._running.values()) + needed > self.slots:
            return False
        task = self._watch.options(num_cpus=self._cpus * needed, num_gpus=self._gpus * needed)
        job = Job(folder.resolve(), threads=max(1, int(self._cpus)))
        self._running[task.remote(self._run, job, self._timeout, Path.cwd())] = _Running(folder, needed)
        return True

    def wait(self, seconds: float) -> list[Ended]:
        """See :meth:`Executor.wait`; also updates the slots, because machines may join or leave."""
        self.slots = max(1, sum(self._rooms()))
        self._cancel()
        if not self._running:
            time.sleep(seconds)
            return []
        done, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [self._ended(task) for task in done]

    def stop(self) -> None:
        """See :meth:`Executor.stop`; sent to Ray at the next :meth:`wait`, as a signal may interrupt a call of Ray."""
        self._wish = "stop"

    def kill(self) -> None:
        """See :meth:`Executor.kill`; sent to Ray like :meth:`stop`."""
        self._wish = "kill"

    def close(self) -> None:
        """See :meth:`Executor.close`; a local cluster is shut down, a joined cluster keeps running."""
        if self._running:
            self.kill()
            self._cancel()
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=SECONDS_TO_END)
            self._running.clear()
        self._ray.shutdown()

    def _rooms(self) -> list[int]:
        """Return the number of trials that fit on each machine."""
        rooms = []
        for node in self._ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            room = has.get("CPU", 0.0) // self._cpus
            rooms.append(int(min(room, has.get("GPU", 0.0) // self._gpus) if self._gpus else room))
        return rooms

    def _cancel(self) -> None:
        """Send the requested stop or kill to Ray once."""
        if self._sent == self._wish:
            return
        self._sent = self._wish
        for task in self._running:
            self._ray.cancel(task, force=self._wish == "kill")

    def _ended(self, task: Any) -> Ended:
        folder = self._running.pop(task).folder
        try:
            code, reason = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            first = str(error).strip().partition("\n")[0]
            code, reason = -signal.SIGKILL, f"lost on the Ray cluster: {first}"
        return Ended(folder, code, None if self._wish else reason)


def _watch(run: Callable[[Job], None], job: Job, timeout: float | None, directory: Path) -> tuple[int, str | None]:
    """Ray task that watches a trial; Ray cancels a task by SIGINT."""
    if directory.is_dir():
        os.chdir(directory)  # for relative paths in the configuration
    # Otherwise the trial's process would first run Ray's main module.
    vars(sys.modules["__main__"]).pop("__file__", None)
    return watch(run, job, timeout=timeout, stop_on=(signal.SIGINT,))


def _started(num_cpus: float) -> Any:
    """Start Ray with a local cluster that other machines cannot reach."""
    # Makes Ray listen on 127.0.0.1 only, as it does by default on macOS.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return _initialized(
        address="local",
        num_cpus=math.ceil(num_cpus),
        object_store_memory=LOCAL_OBJECT_STORE,
        include_dashboard=False,
    )


def _joined(address: str) -> Any:
    """Connect Ray to a running cluster."""
    try:
        return _initialized(address=address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"sweep.ray.address={address}: cannot join that Ray cluster ({first}); expected auto or HOST:PORT of a "
            "cluster started with: ray start --head"
        ) from error


def _initialized(**options: Any) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a trial without GPUs sees none
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"sweep.executor=ray: {error.name} is not installed; pip install 'audio-lightning[ray]'"
        ) from error
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    return ray
