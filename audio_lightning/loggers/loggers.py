"""CSV logger of single steps, and the base class of the TensorBoard, W&B and MLflow loggers."""

import csv
import os
from abc import abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import FileError, UserError
from audio_lightning.core.files import read_json
from audio_lightning.core.messages import print_and_log
from audio_lightning.run_folder import RunFolder, run_files

RATE = "learning_rate"


class StepLogger(Logger):
    """CSV logger: ``steps.csv``, one row per logged value, with the columns ``step,epoch,name,value``.

    Rows are only appended, so the set of metrics may change during a run. A resumed run drops the rows logged after its
    checkpoint and continues the same file; Lightning's CSVLogger deletes the file when it starts.

    Args:
        save_dir: the run folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     logger = StepLogger(folder)
        ...     logger.log_metrics({"train/loss": 0.5, "epoch": 0}, step=9)
        ...     print(logger.path.read_text(encoding="utf-8"))
        step,epoch,name,value
        9,1,train/loss,0.5
        <BLANKLINE>
    """

    HEADER = ("step", "epoch", "name", "value")

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.path = Path(save_dir) / "steps.csv"
        self._started = False

    @property
    def name(self) -> str:
        """Kind of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Empty: a run folder has one such file."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one row per value."""
        step = int(step or 0)
        epoch = int(metrics.get("epoch", -1)) + 1
        if not self._started:
            self._keep_before(epoch)
            self._started = True
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(
                (step, epoch, name, float(value)) for name, value in metrics.items() if name != "epoch"
            )

    def _keep_before(self, epoch: int) -> None:
        """Start the file, or drop the rows that a killed run logged after its last checkpoint.

        Rows are compared by epoch, because the metrics of an epoch and the first loss of the next may share a step.
        """
        rows: list[list[str]] = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.reader(file) if len(row) == 4 and row[1].isdecimal() and int(row[1]) < epoch]
        partial = self.path.with_name(f".{self.path.name}.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([self.HEADER, *rows])
        os.replace(partial, self.path)


@dataclass(frozen=True)
class Row:
    """Values that are logged together.

    Attributes:
        epoch: number of the epoch, from 1.
        step: number of the optimizer step, from 0.
        values: values by name.
        of_epoch: whether the values are the metrics of a whole epoch.
    """

    epoch: int
    step: int
    values: Mapping[str, float]
    of_epoch: bool

    def points(self) -> Iterator[tuple[str, float, int]]:
        """Yield the name, the value and the x of each value: the epoch for metrics of an epoch, otherwise the step."""
        for name, value in self.values.items():
            yield name, value, self.epoch if self.of_epoch and not name.startswith(RATE) else self.step


class RunLogger(Logger):
    """Base class of the loggers of a run: wraps a Lightning logger, which is opened when the training begins.

    Beyond Lightning's logger, it merges the metrics of an epoch into one row, logs the configuration and the
    ``metrics.json`` of the run folder, and records how the run ended. A failed write (the disk is full, a server does
    not respond) is reported once, and the training continues.

    Args:
        save_dir: the run folder.
        log_files: store the files of the run folder, including the best checkpoint, as artifacts.

    Attributes:
        trainer: the trainer of the run; None before the run begins.
    """

    title: str
    """Name in messages."""

    gives_up = False
    """Whether one failure ends all writing, because every attempt takes time."""

    def __init__(self, save_dir: str, log_files: bool = False) -> None:
        super().__init__()
        self.folder = RunFolder(Path(save_dir))
        self.log_files = log_files
        self.trainer: pl.Trainer | None = None
        self._backend: Any = None
        self._held: dict[str, float] = {}
        self._begun = self._failed = False

    @property
    def name(self) -> str:
        """Name of the logger."""
        return self.title.lower()

    @property
    def version(self) -> str:
        """Empty: a run folder has one run."""
        return ""

    @property
    def backend(self) -> Any:
        """Lightning's logger, opened on first use."""
        if self._backend is None:
            self._backend = self.open()
        return self._backend

    @abstractmethod
    def open(self) -> Logger:
        """Begin or continue the run, and return its Lightning logger."""

    def write_config(self, config: dict[str, Any], *, multilabel: bool) -> None:
        """Log the configuration as hyperparameters."""
        self.backend.log_hyperparams(flat(config))

    def write_row(self, row: Row) -> None:
        """Log a row."""
        for name, value, x in row.points():
            self.backend.log_metrics({name: value}, x)

    def write_summary(self, values: Mapping[str, Any], epoch: int) -> None:
        """Log the numbers among the values as ``results/...``."""
        numbers = {f"results/{name}": float(value) for name, value in values.items() if isinstance(value, (int, float))}
        self.backend.log_metrics(numbers, epoch)

    def write_files(self, paths: Sequence[Path]) -> None:
        """Store files of the run folder as artifacts; a logger with the option ``log_files`` overrides this."""
        raise NotImplementedError

    def link_model(self, paths: Sequence[Path]) -> None:
        """Link files of the run folder to a registry of models; a logger with the option ``registry`` overrides it."""

    def close(self, backend: Any, exit_code: int) -> None:
        """End the run of ``backend``."""
        backend.finalize("failed" if exit_code else "success")

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Begin the run, once: Lightning calls this before a training and before each evaluation."""
        if not self._begun:
            self._begun = True
            task = params.get("task", {}) if isinstance(params, dict) else {}
            self.attempt(lambda: self._begin(multilabel=bool(task.get("multilabel"))))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log a row.

        Validation metrics are held back until the training metrics of their epoch arrive, so that an epoch has one row.
        Validation metrics without training metrics, and test metrics, belong to the best epoch and not to the history.
        """
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if all(name.startswith("test/") for name in values):
            return
        if all(name.startswith("validation/") for name in values):
            self._held = values
            return
        of_epoch = "train/loss" in values
        if of_epoch:
            values, self._held = {**values, **self._held}, {}
        last = self.trainer.current_epoch if self.trainer is not None else -1
        row = Row(int(metrics.get("epoch", last)) + 1, int(step or 0), {**values, **self._rates()}, of_epoch)
        self.attempt(lambda: self.write_row(row))

    @rank_zero_only
    def log_summary(self, values: Mapping[str, Any], epoch: int = 0) -> None:
        """Log values of the run as a whole."""
        self.attempt(lambda: self.write_summary(values, epoch))

    def log_results(self) -> None:
        """Log ``metrics.json`` and, with ``log_files``, the files of the finished run folder."""
        if self._backend is not None:
            metrics = read_json(self.folder.metrics)
            self.log_summary(metrics, metrics["epochs"])
            if self.log_files:
                self.attempt(lambda: self.write_files(run_files(self.folder)))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Do nothing: Lightning calls this after each fit and each evaluation; :meth:`finish` ends the run."""

    def finish(self, exit_code: int = 0) -> None:
        """End the run.

        Args:
            exit_code: a nonzero code marks the run as failed.
        """
        if (backend := self._backend) is not None:
            self._backend = None
            self.attempt(lambda: self.close(backend, exit_code))

    def attempt(self, write: Callable[[], None]) -> None:
        """Call ``write``; report the first failure in one line and continue. A :class:`UserError` is raised."""
        if self._failed and self.gives_up:
            return
        try:
            write()
        except UserError:
            raise
        except Exception as error:
            if not self._failed:
                what = "nothing more is logged" if self.gives_up else "not everything is logged"
                print_and_log(f"{self.title}: {what} ({why(error)}); the training continues")
            self._failed = True

    def _begin(self, *, multilabel: bool) -> None:
        _ = self.backend
        if self.folder.config.is_file():
            config: Any = OmegaConf.to_container(self.folder.read_config(), resolve=True)
            self.write_config(config, multilabel=multilabel)

    def _rates(self) -> dict[str, float]:
        """Return the learning rate, and that of each parameter group if there are several."""
        if self.trainer is None or not self.trainer.optimizers:
            return {}
        groups = [group for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
        rates = {RATE: float(groups[0]["lr"])}
        module = self.trainer.lightning_module
        if isinstance(module, AudioClassifier):  # the groups of one stage differ only in their weight decay
            names = [module.finetuning.stage_of(group) for group in groups]
        else:
            names = [str(group.get("name", place)) for place, group in enumerate(groups)] if len(groups) > 1 else []
        return rates | {f"{RATE}/{name}": float(group["lr"]) for name, group in zip(names, groups) if name is not None}


@contextmanager
def runs_ended(trainer: pl.Trainer) -> Iterator[None]:
    """End the runs of a trainer's loggers when the context ends: as finished, failed or interrupted.

    Args:
        trainer: trainer of the run; its run folder is complete when the context ends without an error.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]
    for logger in loggers:
        logger.trainer = trainer
    try:
        yield
    except BaseException as error:
        for logger in loggers:
            logger.finish(_exit_code(error))
        raise
    for logger in loggers:
        if trainer.is_global_zero:
            logger.log_results()
        logger.finish()


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten the settings of a training to dotted keys; a ``_target_`` is shortened to its class name."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if not prefix and name in ("logger", "hydra", "dashboard", "card", "plots", "resume", "callbacks"):
            continue
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif name == "_target_":
            found[prefix.rstrip(".")] = str(value).rpartition(".")[2]
        else:
            found[f"{prefix}{name}"] = value
    return found


def read_state(file: Path) -> dict[str, Any]:
    """Read the server-side identity of a run from its run folder; empty if the file is missing or damaged."""
    with suppress(FileError):
        if file.is_file() and isinstance(state := read_json(file), dict):
            return state
    return {}


def why(error: BaseException) -> str:
    """Return the first line of an error, or the name of its type if it has no message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if type(error).__name__ == "TrialPruned":  # pruned by a search, which is not a failure
        return 0
    code = getattr(error, "exit_code", None) or getattr(error, "code", None)
    return code if isinstance(code, int) else 1
