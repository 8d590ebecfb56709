"""Run folder: the files of a training, with their names, readers and checks."""

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
    check_creatable,
    check_owner,
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
"""Entries of ``metrics.json`` that are text; all other entries are numbers or null."""

SHOWN = ("num_clips/train", "num_clips/validation", "num_clips/test", "epochs", "best_epoch", "parameters", "seconds")
"""Entries that every ``metrics.json`` of a training has."""

TIMED = ("seconds", "training_seconds")
"""Columns of ``history.csv`` with durations in seconds, which a resumed training needs."""

LARGEST = 1e300
"""Largest absolute value in ``metrics.json``; sums of larger values could overflow."""

FIT = "fit.json"
MODEL = "model.ckpt"
"""Files of the folder of a fit that has a result: its summary, and the classifier."""

FIT_STATE = "state.json"
"""File of every fit that has begun: its decisions."""

RUN_KEY = "hydra.run.dir"
"""Key of the run folder on the command line."""

ZIP = b"PK\x03\x04"
"""First bytes of a checkpoint, which is a ZIP archive."""

EXPORTED = (".onnx", ".pt2", ".pte", ".tflite")
"""Suffixes of exported models."""


class File:
    """Descriptor: the path of a file with a fixed name in a folder that has the attribute ``path``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: Any, owner: type) -> Path:
        return folder.path / self.name


def run_files(folder: "RunFolder") -> list[Path]:
    """List the files of a run to upload to a logger: all files in its folder, and the best checkpoint."""
    files = [path for path in sorted(folder.path.glob("*.*")) if path != folder.lock]
    return [path for path in (*files, folder.best) if path.is_file()]


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder (``hydra.run.dir``).
        config: the resolved configuration.
        environment: hardware and versions.
        log: log messages with times.
        problems: problems of the data; written only if there are any.
        history: one row per epoch.
        best: checkpoint of the epoch with the best validation metric; of the last epoch if there is no validation.
        last: checkpoint of the last epoch, from which a training resumes.
        previous: checkpoint of the epoch before, used if ``last`` is damaged.
        metrics: test and validation metrics and costs, a flat object; written when the run is finished.
        lr_finder: loss at every learning rate that ``tuner.lr_find=true`` tried.
        predictions: one row per test clip; this and the next two are written only if there are test clips.
        recordings: one row per test recording; written if recordings are cut into windows.
        per_class: precision, recall and F1 of every class on the test clips.
        steps: every logged value; written with ``logger=csv``.
        card: the model card: intended use, data, metrics and limits.
        robustness: metrics on corrupted clips; written by ``audio-lightning robustness``.
        energy: energy and emissions of the training; written with ``callbacks=emissions``.
        lock: lock file of the process that trains in this folder, see :meth:`taken`.
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
        """Whether the folder holds results of a training: an epoch, a checkpoint, a learning rate search or metrics.

        A run that failed earlier, because of its data or its configuration, leaves only files that can be overwritten.
        """
        results = (self.history, self.lr_finder, self.metrics, *self.best.parent.glob("*.ckpt"))
        return any(path.exists() for path in results)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Lock the folder, which must exist, for this process.

        Raises:
            ConfigError: another process holds the lock.
        """
        from filelock import FileLock, Timeout  # late: error messages about a command do not need it

        lock = FileLock(self.lock)
        try:
            with contextlib.suppress(NotImplementedError):  # a file system without locks
                lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(
                f"{self.path}: another process is training there; wait until it ends, or choose another hydra.run.dir"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def check_usable(self) -> None:
        """Check that a new training can use the folder: writable, not locked, without results to overwrite.

        Raises:
            ConfigError: it cannot.
            FileError: see :meth:`check_files`.
        """
        check_creatable(self.path, key=RUN_KEY)
        self.check_files()
        with self.taken() if self.lock.exists() else contextlib.nullcontext():
            self.check_unbegun()

    def check_unbegun(self) -> None:
        """Check that the folder contains no run, sweep or fit.

        Raises:
            ConfigError: it holds a run (:attr:`is_begun`), or is the folder of a sweep or a fit.
        """
        check_owner(self.path, "run", key=RUN_KEY)
        if self.is_begun:
            raise ConfigError(
                f"{self.path}: holds a run already; continue it with resume={self.path}, or choose another "
                "hydra.run.dir"
            )

    def write_config(self, config: DictConfig) -> None:
        """Write the resolved configuration."""
        write_text(self.config, OmegaConf.to_yaml(config, resolve=True))

    def check_files(self) -> None:
        """Check that every path of the run is a regular file or free; writing to a pipe would block for ever.

        Raises:
            FileError: a file is a pipe, a device or a folder, or a symbolic link leads out of the folder.
        """
        inside = self.path.resolve()
        entries = [entry for cls in type(self).__mro__ for entry in vars(cls).values()]
        for path in {self.path / entry.name for entry in entries if isinstance(entry, File)}:
            for place in (path.parent, path):
                if place != self.path and place.is_symlink() and not place.resolve().is_relative_to(inside):
                    raise FileError(f"{place}: a link that leads out of the folder; replace it by the file itself")
            if path.exists() and not path.is_file():
                raise FileError(f"{path}: expected a file, found {kind_of(path.stat().st_mode)}; move it away")

    def read_config(self, *, complete: bool = False) -> DictConfig:
        """Read the configuration of the run.

        Args:
            complete: require all nodes of a training.

        Raises:
            ConfigError: the folder contains no run.
            FileError: the file is damaged, or was not written by a run.
        """
        if not os.path.lexists(self.config):
            require_folder(self.path, A_RUN)
            raise ConfigError(f"{self.path}: {A_RUN}")
        return as_config(read_saved(self.config, complete=complete), where=str(self.config))

    def read_metrics(self, required: Iterable[str] = ()) -> dict[str, Any]:
        """Read ``metrics.json``.

        Args:
            required: entries that must exist and be numbers.

        Returns:
            Flat dictionary with the current names of metrics; empty if there is no file.

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
                raise FileError(f"{self.metrics} is damaged: {what}; restore a copy")
        return found

    def read_history(self, required: Iterable[str] = ()) -> "pd.DataFrame":
        """Read ``history.csv``: one row per epoch.

        Args:
            required: columns that must exist in addition to ``epoch``, without an empty cell.

        Raises:
            FileError: the file is missing or damaged.
        """
        history = read_frame(self.history, required=["epoch", *required])
        if list(history["epoch"]) != list(range(1, len(history) + 1)):
            raise FileError(f"{self.history} is damaged: expected the epochs 1, 2, ... in the column epoch")
        return history

    def read_predictions(self, path: Path) -> "pd.DataFrame":
        """Read ``predictions.csv`` or ``recordings.csv``: labels, predictions and the probability of each class.

        Raises:
            FileError: the file is missing or damaged.
        """
        return read_frame(path, texts=["path", "group", "label", "predicted"], required=["path", "label", "predicted"])

    def read_per_class(self) -> "pd.DataFrame":
        """Read ``per_class.csv``: one row per class.

        Raises:
            FileError: the file is missing or damaged.
        """
        return read_frame(self.per_class, texts=["class"], required=["class"])

    def check_resumable(self) -> None:
        """Check that the files of an interrupted run are complete; called before torch is imported.

        Raises:
            ConfigError: it is the folder of a sweep or a fit.
            FileError: a file is damaged.
        """
        check_owner(self.path, "run", key=RUN_KEY)
        self.check_files()
        remedy = "restore a copy, or train again in another hydra.run.dir"
        try:
            if self.last.exists() or self.previous.exists():
                self.read_history(TIMED)
            if self.steps.exists():
                # A value may be NaN, and a killed process leaves an incomplete line, which the logger drops.
                read_frame(self.steps, texts=["name"], required=["step", "epoch", "name"], whole=False)
        except FileError as error:
            raise FileError(f"{error}; {remedy}") from error


def find_checkpoint(path: Path) -> Path:
    """Find the checkpoint file of a path: the file itself, the best one of a run, or the classifier of a fit.

    Only its first bytes are read.

    Args:
        path: checkpoint file, run folder or fit folder.

    Raises:
        CheckpointError: there is none.
    """
    is_file = not path.is_dir()
    if not is_file:
        path = _of_folder(path)
    elif not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint or run folder{nearest_path(path)}")
    elif path.suffix.lower() in EXPORTED:
        raise CheckpointError(
            f"{path}: an exported model, which holds probabilities only; name the checkpoint or run folder that it was "
            "exported from (predict and evaluate accept .onnx)"
        )
    try:
        with open_regular(path, most=sys.maxsize, follow=is_file) as file:
            begins = file.read(len(ZIP))
    except FileError as error:
        raise CheckpointError(str(error)) from error
    # Older formats of torch, which may hold code, are rejected when the file is loaded.
    if begins.isascii() and begins != ZIP[: len(begins)]:
        raise CheckpointError(f"{path}: not a checkpoint; name a file such as checkpoints/best.ckpt, or its run folder")
    return path


def _of_folder(path: Path) -> Path:
    best = RunFolder(path).best
    if best.exists():
        return best
    if (path / MODEL).is_file():  # a finished fit, or the files of a model from the hub
        return path / MODEL
    if not (path / FIT_STATE).exists() and not (path / FIT).exists():
        raise CheckpointError(
            f"{path}: no checkpoints/best.ckpt in it; name the folder of a run or of a fit, or a .ckpt file"
        )
    raise CheckpointError(f"{path}: the fit is not finished (no {MODEL} in it); continue it with the same command")
