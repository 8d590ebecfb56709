"""UrbanSound as a competition hands it out: a table of numbers and classes, a folder of recordings."""

import pandas as pd

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.tables import read_rows
from audio_lightning.errors import DataError


class UrbanSound(AudioDataModule):
    """``train.csv`` with the columns ``ID, Class``, and recordings in ``Train/<ID>.wav``.

    The table names neither folds nor source recordings, so clips of one recording may end up on both sides of any
    split: the results say that leakage cannot be excluded. Its ``test.csv`` has no labels and is not used.
    """

    TABLE = "train.csv"

    def read(self) -> Manifest:
        """One row a clip of the table.

        Raises:
            DataError: the table is missing or lacks a column.
        """
        rows, problems = read_rows(self.root / self.TABLE, ("ID", "Class"))
        clips: dict[str, str] = {}
        for line, row in rows:
            path = f"Train/{row['ID']}.wav"
            if path in clips:
                problems.append(Problem(f"{self.TABLE}, line {line}", f"ID {row['ID']} is listed a second time"))
            else:
                clips[path] = row["Class"]
        if not clips:
            raise DataError(f"{self.root / self.TABLE}: no row can be used; the first problem: {problems[0]}")
        table = pd.DataFrame(clips.items(), columns=["path", "label"])
        return Manifest(self.root, table, tuple(sorted(set(clips.values()))), problems)
