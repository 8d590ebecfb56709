"""Trials on a Ray cluster: one that runs, or one of this machine alone."""

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
"""Bytes of shared memory of a cluster that is started here; trials need none, and Ray no less than 75 MiB."""

SECONDS_TO_END = 10.0
"""How long trials that were ended have to be gone from a cluster before it is left."""

_Wish = Literal["stop", "kill"] | None


@dataclass(frozen=True)
class _Running:
    folder: Path
    slots: int


class RayExecutor(Executor):
    """Trials as tasks of a Ray cluster.

    What crosses the network is the path of a trial's folder. So the folder of the sweep lies on a file system that all
    machines share, the recordings do, too, and this package is installed on all of them. A task watches the trial,
    which is a process below it; the first one that a worker of Ray runs waits there for the libraries to be imported,
    later ones are forked. A trial whose machine is lost has failed, and goes on elsewhere with ``sweep.retries``.

    Args:
        workers: trials at once on a cluster that is started here; elsewhere the cluster's resources decide.
        address: of a running cluster, ``auto`` for the one that this machine belongs to; None to start one here.
        cpus: of each trial; None for this machine's cores shared between ``workers``.
        gpus: of each trial; parts of one let several share it.
        timeout: seconds after which a trial is ended, counted from when it starts on its machine; None for never.
        run: what a trial's process does.

    Raises:
        ConfigError: Ray is not installed, no cluster answers, or none of its machines has room for a trial.
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
        self._told: _Wish = None
        if not any(self._rooms()):
            self._ray.shutdown()
            raise ConfigError(
                f"no machine of the Ray cluster has the {self._cpus:g} CPUs and {gpus:g} GPUs that a trial is to get: "
                "lower sweep.ray.cpus or sweep.ray.gpus"
            )
        self.slots = sum(self._rooms())

    def start(self, folder: Path, *, devices: int) -> bool:
        """See :meth:`Executor.start`; a trial with more processes than any machine has room for gets one for itself."""
        needed = min(devices, max(1, *self._rooms()))
        if sum(run.slots for run in self._running.values()) + needed > self.slots:
            return False
        task = self._watch.options(num_cpus=self._cpus * needed, num_gpus=self._gpus * needed)
        job = Job(folder.resolve(), threads=max(1, int(self._cpus)))
        self._running[task.remote(self._run, job, self._timeout, Path.cwd())] = _Running(folder, needed)
        return True

    def wait(self, seconds: float) -> list[Ended]:
        """See :meth:`Executor.wait`; machines that have joined or left meanwhile are counted here."""
        self.slots = max(1, sum(self._rooms()))
        self._cancel()
        if not self._running:
            time.sleep(seconds)
            return []
        done, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [self._ended(task) for task in done]

    def stop(self) -> None:
        """See :meth:`Executor.stop`; Ray is told at the next :meth:`wait`, for this may come in the midst of a call."""
        self._wish = "stop"

    def kill(self) -> None:
        """See :meth:`Executor.kill`; as :meth:`stop`."""
        self._wish = "kill"

    def close(self) -> None:
        """See :meth:`Executor.close`; a cluster that was started here ends, one that was joined is left as it is."""
        if self._running:
            self.kill()
            self._cancel()
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=SECONDS_TO_END)
            self._running.clear()
        self._ray.shutdown()

    def _rooms(self) -> list[int]:
        """How many trials each machine has room for."""
        rooms = []
        for node in self._ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            room = has.get("CPU", 0.0) // self._cpus
            rooms.append(int(min(room, has.get("GPU", 0.0) // self._gpus) if self._gpus else room))
        return rooms

    def _cancel(self) -> None:
        """Tell Ray what is wished, once."""
        if self._told == self._wish:
            return
        self._told = self._wish
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
    """The task: a cancelled one is sent an interrupt."""
    if directory.is_dir():
        os.chdir(directory)  # for what a configuration gives relative to it
    # Else the trial's process would first run what is Ray's main module here.
    vars(sys.modules["__main__"]).pop("__file__", None)
    return watch(run, job, timeout=timeout, stop_on=(signal.SIGINT,))


def _started(num_cpus: float) -> Any:
    """Ray, with a cluster of this machine alone that nothing outside can reach."""
    # What Ray does on macOS by itself: listen on 127.0.0.1, where otherwise it listens on every address.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return _initialized(
        address="local",
        num_cpus=math.ceil(num_cpus),
        object_store_memory=LOCAL_OBJECT_STORE,
        include_dashboard=False,
    )


def _joined(address: str) -> Any:
    """Ray, connected to a running cluster."""
    try:
        return _initialized(address=address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"sweep.ray.address={address}: cannot join that Ray cluster ({first}); expected auto or HOST:PORT of one "
            "that was started with: ray start --head"
        ) from error


def _initialized(**options: Any) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a trial without GPUs sees none
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"sweep.executor=ray needs the package {error.name}: pip install 'audio-lightning[ray]'"
        ) from error
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    return ray
