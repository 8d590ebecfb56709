"""``sweep.py`` with trials that misbehave, by their seed: ``python chaos.py KEY=VALUE...``."""

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import audio_lightning.training.run as training
from audio_lightning.cli.sweep import main
from audio_lightning.compare.trials import TrialFolder
from audio_lightning.sweeps.executors import executors
from audio_lightning.sweeps.trial import Job, run_trial

RAISES, EXITS, FILLS_THE_MEMORY, HANGS = 101, 102, 103, 104

train = training.train


def run(job: Job) -> None:
    """Run a misbehaving trial in its process."""
    training.train = misbehave
    run_trial(job)


def misbehave(config: Any, folder: TrialFolder, **arguments: Any) -> Any:
    _leave_a_mark(folder.path)
    if config.seed == RAISES:
        raise RuntimeError("raised on purpose")
    if config.seed == EXITS:
        os._exit(9)
    if config.seed == FILLS_THE_MEMORY:
        _fill_the_memory()
    if config.seed == HANGS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
    return train(config, folder, **arguments)


def _leave_a_mark(folder: Path) -> None:
    """Record this process, and whether another process that runs the trial is still alive."""
    for other in folder.glob("alive-*"):
        if Path(f"/proc/{other.name.partition('-')[2]}").exists():
            (folder / "run by two").touch()
    (folder / f"alive-{os.getpid()}").touch()


def _fill_the_memory() -> None:
    """Ask for memory until there is none, and end as the kernel ends such a process."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    taken = []
    try:
        while True:
            taken.append(bytearray(256 << 20))
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    executors.LocalExecutor.__init__.__kwdefaults__["run"] = run
    sys.exit(main())
