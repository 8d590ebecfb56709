"""What a run leaves behind, and where."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from audio_lightning.errors import ConfigError
from audio_lightning.files import write_text


class File:
    """A file of a folder with a ``path``, as an attribute that gives its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: Any, owner: type) -> Path:
        return folder.path / self.name


def run_files(folder: "RunFolder") -> list[Path]:
    """Those files of a run that are worth keeping elsewhere: all in its folder, and the best checkpoint."""
    files = [path for path in sorted(folder.path.glob("*.*")) if path != folder.lock]
    return [path for path in (*files, folder.best) if path.is_file()]


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder (``hydra.run.dir``).
        config: the resolved configuration.
        environment: machine and versions.
        log: what was logged, with times.
        problems: what is wrong with the data, where something is.
        history: one row an epoch.
        best: checkpoint of the epoch with the best validation metric; of the last one where nothing is validated.
        last: checkpoint of the last epoch, which a resumed training goes on from.
        previous: checkpoint of the epoch before, for a ``last`` that is damaged.
        metrics: test and validation metrics and costs, flat; there once the run is finished.
        lr_finder: loss of the batch at every learning rate that ``find_lr=true`` tried.
        predictions: one row a test clip; like the next two, only where there are test clips.
        recordings: one row a test recording, where recordings are cut into windows.
        per_class: precision, recall and F1 of every class on the test clips.
        lock: held by the process that trains here, see :meth:`taken`.
    """

    path: Path

    config = File("config.yaml")
    environment = File("environment.json")
    log = File("train.log")
    problems = File("problems.csv")
    history = File("history.csv")
    best = File("checkpoints/best.ckpt")
    last = File("checkpoints/last.ckpt")
    previous = File("checkpoints/previous.ckpt")
    metrics = File("metrics.json")
    lr_finder = File("lr_finder.csv")
    predictions = File("predictions.csv")
    recordings = File("recordings.csv")
    per_class = File("per_class.csv")
    lock = File(".lock")

    @property
    def is_begun(self) -> bool:
        """Whether something came of a training here: a checkpoint, an epoch, a search, or results.

        A run that its data or its configuration stopped before that leaves nothing that another could not replace.
        """
        came = (self.history, self.lr_finder, self.metrics, *self.best.parent.glob("*.ckpt"))
        return any(path.exists() for path in came)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Have the folder, which exists, for this process alone.

        Raises:
            ConfigError: another one has it.
        """
        from filelock import FileLock, Timeout  # late, for it is not needed to say what is wrong with a command

        lock = FileLock(self.lock)
        try:
            with contextlib.suppress(NotImplementedError):  # a file system without locks
                lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(
                f"{self.path}: another process trains there now; wait for its end, or choose another hydra.run.dir"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def check_usable(self) -> None:
        """Refuse a folder that cannot be written, is taken, or holds a run, which would be overwritten.

        Raises:
            ConfigError: with the reason.
        """
        self.check_writable()
        with self.taken() if self.lock.exists() else contextlib.nullcontext():
            self.check_unbegun()

    def check_unbegun(self) -> None:
        """Refuse a folder that holds a run.

        Raises:
            ConfigError: see :attr:`is_begun`.
        """
        if self.is_begun:
            raise ConfigError(
                f"{self.path} holds a run already: go on with it by resume={self.path}, or choose another hydra.run.dir"
            )

    def check_writable(self) -> None:
        """Refuse a folder that cannot be made, or not written.

        Raises:
            ConfigError: with the reason.
        """
        nearest = next(path for path in (self.path.absolute(), *self.path.absolute().parents) if path.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            raise ConfigError(
                f"{self.path} cannot be made: {nearest} is {'not writable' if nearest.is_dir() else 'not a folder'}; "
                "choose another hydra.run.dir"
            )

    def write_config(self, config: DictConfig) -> None:
        """Write the resolved configuration."""
        write_text(self.config, OmegaConf.to_yaml(config, resolve=True))

    def read_config(self) -> DictConfig:
        """The configuration of the run.

        Raises:
            ConfigError: the folder holds no run.
        """
        if not self.config.is_file():
            expected = "expected a folder with config.yaml, as a training leaves it"
            raise ConfigError(f"{self.path}: {expected}" + ("" if self.path.exists() else "; there is no such folder"))
        config: Any = OmegaConf.load(self.config)
        OmegaConf.set_struct(config, True)
        return config
