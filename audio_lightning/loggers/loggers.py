"""Loggers of our own, and what those of them have in common that have a page to look at."""

import csv
import os
from abc import abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import UserError
from audio_lightning.core.files import read_json
from audio_lightning.core.messages import print_and_log
from audio_lightning.loggers.media.items import Item
from audio_lightning.run_folder import RunFolder

RATE = "learning_rate"


class StepLogger(Logger):
    """``steps.csv``: one row a logged value, with the columns ``step,epoch,name,value``.

    Rows are only ever added, so metrics may come and go; a resumed run drops what was logged after its checkpoint
    and goes on in the same file (Lightning's CSVLogger deletes the file when it starts).

    Args:
        save_dir: the run folder.
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
        """There is one file a run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The configuration is in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row a value."""
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
        """Start the file, or drop what a killed run logged between its last checkpoint and its end.

        By epochs: the metrics of an epoch and the first loss of the next one may have the same step.
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
    """What is logged at once.

    Attributes:
        epoch: counted from 1.
        step: counted from 0.
        values: by name.
        of_epoch: whether the values are those of a whole epoch.
    """

    epoch: int
    step: int
    values: Mapping[str, float]
    of_epoch: bool

    def points(self) -> Iterable[tuple[str, float, int]]:
        """Name, value and place on the x axis of each value: the epoch of what belongs to one, and else the step."""
        for name, value in self.values.items():
            yield name, value, self.epoch if self.of_epoch and not name.startswith(RATE) else self.step


class DashboardLogger(Logger):
    """A logger with a page to look at.

    It gets the rows of the history and of the steps, sorted out, and everything that a
    :class:`~audio_lightning.loggers.media.callback.Dashboard` shows. What cannot be written (the disk is full, a
    server does not answer) is said once, and the training goes on.

    Args:
        save_dir: the run folder.

    Attributes:
        trainer: that logs.
    """

    title: str
    """What it is called on the screen."""

    gives_up = False
    """Whether one failure ends all writing, because every attempt takes time."""

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.folder = RunFolder(Path(save_dir))
        self.trainer: pl.Trainer | None = None
        self._held: dict[str, float] = {}
        self._begun = self._failed = False

    @abstractmethod
    def begin(self, *, multilabel: bool) -> None:
        """Begin the run and log its configuration, which is in the run folder."""

    @abstractmethod
    def write_row(self, row: Row) -> None:
        """Log what was measured."""

    @abstractmethod
    def write_item(self, item: Item, step: int) -> None:
        """Show an item; ``step`` is the number of epochs that are behind it."""

    @abstractmethod
    def write_facts(self, facts: Mapping[str, float]) -> None:
        """Log numbers that belong to the run as a whole."""

    @abstractmethod
    def write_results(self, metrics: Mapping[str, Any]) -> None:
        """Log what is in ``metrics.json``, and whatever the finished run folder holds."""

    @abstractmethod
    def end(self, exit_code: int) -> None:
        """End the run."""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Begin the run; Lightning asks for it before a training and before each evaluation."""
        if not self._begun:
            self._begun = True
            task = params.get("task", {}) if isinstance(params, dict) else {}
            self.attempt(lambda: self.begin(multilabel=bool(task.get("multilabel"))))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log a row.

        Validation metrics wait for the training metrics of their epoch, so that an epoch has one row; those that no
        training metrics follow, and test metrics, are of the best epoch and none of the history.
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
    def show(self, item: Item) -> None:
        """Show an item."""
        epochs = self.trainer.current_epoch if self.trainer is not None else 0
        self.attempt(lambda: self.write_item(item, epochs))

    @rank_zero_only
    def log_facts(self, facts: Mapping[str, float]) -> None:
        """Log numbers that belong to the run as a whole."""
        self.attempt(lambda: self.write_facts(facts))

    def log_results(self) -> None:
        """Log what the run folder holds of a finished training."""
        self.attempt(lambda: self.write_results(read_json(self.folder.metrics)))

    def finish(self, exit_code: int = 0) -> None:
        """End the run.

        Args:
            exit_code: anything but 0 marks it as failed.
        """
        self.attempt(lambda: self.end(exit_code))

    def attempt(self, write: Callable[[], None]) -> None:
        """Write, or say once that it cannot be done, and go on; a user's mistake is raised."""
        if self._failed and self.gives_up:
            return
        try:
            write()
        except UserError:
            raise
        except Exception as error:
            if not self._failed:
                what = "nothing more is logged" if self.gives_up else "not everything is logged"
                print_and_log(f"{self.title}: {what} ({why(error)}); the training goes on")
            self._failed = True

    def _rates(self) -> dict[str, float]:
        """The learning rate, and where there are several groups of parameters, also that of each."""
        if self.trainer is None or not self.trainer.optimizers:
            return {}
        groups = [group for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
        rates = {RATE: float(groups[0]["lr"])}
        if len(groups) == 1:
            return rates
        names = [str(group.get("name", place)) for place, group in enumerate(groups)]
        module = self.trainer.lightning_module
        if isinstance(module, AudioClassifier) and len(module.finetuning.stages) == len(groups):
            names = list(reversed(module.finetuning.stages))
        return rates | {f"{RATE}/{name}": float(group["lr"]) for name, group in zip(names, groups)}


@contextmanager
def runs_ended(trainer: pl.Trainer) -> Iterator[None]:
    """End the runs of a trainer's loggers with the context: as finished, failed or interrupted.

    Args:
        trainer: whose run folder is complete when the context ends well.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, DashboardLogger)]
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
    """What a configuration says about the training, with dotted keys; a target is named by its class alone."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if not prefix and name in ("logger", "cache", "hydra", "dashboard", "plots", "resume", "callbacks"):
            continue
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif name == "_target_":
            found[prefix.rstrip(".")] = str(value).rpartition(".")[2]
        else:
            found[f"{prefix}{name}"] = value
    return found


def why(error: BaseException) -> str:
    """The first line of an error, or its kind."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if type(error).__name__ == "TrialPruned":  # a search gave it up, which is nobody's failure
        return 0
    code = getattr(error, "exit_code", None) or getattr(error, "code", None)
    return code if isinstance(code, int) else 1
