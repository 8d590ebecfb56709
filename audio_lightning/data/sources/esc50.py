"""ESC-50: fifty classes of environmental sounds in five folds."""

from collections.abc import Sequence

import pandas as pd

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.tables import classes_by_number, read_numbered_classes


class ESC50(AudioDataModule):
    """Clips of 5 s, described by ``meta/esc50.csv``, in ``audio/``.

    The five folds are the official ones: all clips of a source recording (``src_file``) are in one of them. Classes are
    in the order of ``target``.

    Source: Piczak (2015), ESC: Dataset for Environmental Sound Classification.
    """

    TABLE = "meta/esc50.csv"
    EXTRA_COLUMNS: Sequence[str] = ()

    def read(self) -> Manifest:
        """One row a clip of the table.

        Raises:
            DataError: the table is missing, lacks a column, or has no usable row.
        """
        rows, problems = read_numbered_classes(
            self.root / self.TABLE,
            file="filename",
            group="src_file",
            number="target",
            label="category",
            extra=self.EXTRA_COLUMNS,
        )
        rows = self.choose(rows, problems)
        table = rows[["label", "group", "fold"]].copy()
        table.insert(0, "path", "audio/" + rows["file"])
        return Manifest(self.root, table, classes_by_number(rows), problems)

    def choose(self, rows: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
        """The rows that belong to the data set: all."""
        return rows
