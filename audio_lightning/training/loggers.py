"""Loggers of our own."""

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger


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
