"""What a run leaves behind, and where."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config.renamed import upgrade_metrics
from audio_lightning.config.saved import as_config, read_saved
from audio_lightning.core.errors import CheckpointError, ConfigError, FileError
from audio_lightning.core.files import (
    A_RUN,
    kind_of,
    nearest_path,
    open_regular,
    read_frame,
    read_json,
    require_folder,
    shortened,
    write_text,
)

if TYPE_CHECKING:
    import pandas as pd

TEXTS = ("split", "leakage", "warnings", "chosen_by", "precision", "float32_layers", "device", "lower_is_better")
"""Entries of ``metrics.json`` that are words; of the others, all with a figure are numbers."""

SHOWN = ("num_clips/train", "num_clips/validation", "num_clips/test", "epochs", "best_epoch", "parameters", "seconds")
"""Entries that the ``metrics.json`` of every training has."""

TIMED = ("seconds", "training_seconds")
"""Columns of ``history.csv`` that a resumed training adds up."""

LARGEST = 1e300
"""Largest number in it: what is larger cannot be added up."""

FIT = "fit.json"
MODEL = "model.ckpt"
"""Files of the folder of a fit: what shows that it is one, and its answer."""

ZIP = b"PK\x03\x04"
"""How every checkpoint of this program begins."""


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
        lr_finder: loss of the batch at every learning rate that ``tuner.lr_find=true`` tried.
        predictions: one row a test clip; like the next two, only where there are test clips.
        recordings: one row a test recording, where recordings are cut into windows.
        per_class: precision, recall and F1 of every class on the test clips.
        steps: every value as it was logged, where ``logger=csv``.
        card: what the classifier is, and what to expect of it.
        robustness: metrics under disturbances, where they were measured.
        energy: of the training, where ``callbacks=emissions``.
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
    steps = File("steps.csv")
    card = File("MODEL_CARD.md")
    robustness = File("robustness.json")
    energy = File("energy.json")
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
        self.check_files()
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

    def check_files(self) -> None:
        """Refuse a folder in which something else has the name of a file: writing would wait for ever, or go elsewhere.

        Raises:
            FileError: a pipe, a device or a folder in place of a file, or a link that leads out of the folder.
        """
        inside = self.path.resolve()
        entries = [entry for cls in type(self).__mro__ for entry in vars(cls).values()]
        for path in {self.path / entry.name for entry in entries if isinstance(entry, File)}:
            for place in (path.parent, path):
                if place != self.path and place.is_symlink() and not place.resolve().is_relative_to(inside):
                    raise FileError(f"{place} is a link that leads out of the folder: put the file itself in its place")
            if path.exists() and not path.is_file():
                raise FileError(f"{path}: expected a file, found {kind_of(path.stat().st_mode)}; move it away")

    def read_config(self, *, complete: bool = False) -> DictConfig:
        """Read the configuration of the run.

        Args:
            complete: all nodes of a training must be there.

        Raises:
            ConfigError: the folder holds no run.
            FileError: the file is damaged, or holds what a run does not save.
        """
        if not os.path.lexists(self.config):
            require_folder(self.path, A_RUN)
            raise ConfigError(f"{self.path}: {A_RUN}")
        return as_config(read_saved(self.config, complete=complete), where=str(self.config))

    def read_metrics(self, required: Iterable[str] = ()) -> dict[str, Any]:
        """Read ``metrics.json``.

        Args:
            required: entries that must be there, and numbers.

        Returns:
            Flat, with the names of today; empty where there is no file.

        Raises:
            FileError: the file is damaged.
        """
        found = upgrade_metrics(read_json(self.metrics)) if os.path.lexists(self.metrics) else {}
        for name in (*required, *found):
            value = found.get(name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) > LARGEST
            known = isinstance(value, str) if name in TEXTS else number or value is None
            if not known or (value is None and name in required):
                what = f"{shortened(name)} is {shortened(value)}" if name in found else f"it lacks {name}"
                raise FileError(f"{self.metrics} is damaged: {what}")
        return found

    def read_history(self, required: Iterable[str] = ()) -> "pd.DataFrame":
        """Read ``history.csv``: one row an epoch.

        Args:
            required: columns that must be there beside ``epoch``, without an empty cell.

        Raises:
            FileError: the file is missing or damaged.
        """
        history = read_frame(self.history, required=["epoch", *required])
        if list(history["epoch"]) != list(range(1, len(history) + 1)):
            raise FileError(f"{self.history} is damaged: expected the epochs 1, 2, ... in the first column")
        return history

    def read_predictions(self, path: Path) -> "pd.DataFrame":
        """Read ``predictions.csv`` or ``recordings.csv``: what was predicted, with the probability of each class.

        Raises:
            FileError: the file is missing or damaged.
        """
        return read_frame(path, texts=["path", "group", "label", "predicted"], required=["path", "label", "predicted"])

    def read_per_class(self) -> "pd.DataFrame":
        """Read ``per_class.csv``: one row a class.

        Raises:
            FileError: the file is missing or damaged.
        """
        return read_frame(self.per_class, texts=["class"], required=["class"])

    def check_resumable(self) -> None:
        """Refuse to go on with a run whose files are damaged, before anything heavy is imported.

        Raises:
            FileError: with the file.
        """
        self.check_files()
        remedy = "put a copy back, or train again in another hydra.run.dir"
        try:
            if self.last.exists() or self.previous.exists():
                self.read_history(TIMED)
            if self.steps.exists():
                # A value may be NaN, and a process that was killed leaves half a line, which the logger drops.
                read_frame(self.steps, texts=["name"], required=["step", "epoch", "name"], whole=False)
        except FileError as error:
            raise FileError(f"{error}; {remedy}") from error


def find_checkpoint(path: Path) -> Path:
    """The checkpoint itself, the best one of a run folder, or the answer of a fit; its contents are not looked at.

    Raises:
        CheckpointError: there is none.
    """
    named = not path.is_dir()
    if not named:
        path = _of_folder(path)
    elif not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint or run folder{nearest_path(path)}")
    try:
        with open_regular(path, most=sys.maxsize, follow=named) as file:
            begins = file.read(len(ZIP))
    except FileError as error:
        raise CheckpointError(str(error)) from error
    # Other formats of torch, which may hold code, are refused when the file is read.
    if begins.isascii() and begins != ZIP[: len(begins)]:
        raise CheckpointError(
            f"{path} is not a checkpoint: expected a file such as checkpoints/best.ckpt, or its run folder"
        )
    return path


def _of_folder(path: Path) -> Path:
    best = RunFolder(path).best
    if best.exists():
        return best
    if not (path / FIT).exists():
        raise CheckpointError(f"{path} has no checkpoints/best.ckpt: expected the folder of a run, or a .ckpt file")
    if not (path / MODEL).exists():
        raise CheckpointError(
            f"{path} has no {MODEL} yet: the fit has not come to its answer; give its command again, which goes on"
        )
    return path / MODEL
