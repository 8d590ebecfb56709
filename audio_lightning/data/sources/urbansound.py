"""UrbanSound as a competition hands it out: a table of numbers and classes, a folder of recordings."""

import pandas as pd

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.sources.tables import read_table, reject, require_rows


class UrbanSound(AudioDataModule):
    """``train.csv`` with the columns ``ID, Class``, and recordings in ``Train/<ID>.wav``.

    The table names neither folds nor source recordings, so clips of one recording may end up on both sides of any
    split: the results say that leakage cannot be excluded. Its ``test.csv`` has no labels and is not used.
    """

    TABLE = "train.csv"

    def read(self) -> Manifest:
        """One row a clip of the table.

        Raises:
            DataError: the table is missing, lacks a column, or has no usable row.
        """
        path = self.root / self.TABLE
        rows, problems = read_table(path, ("ID", "Class"))
        rows = reject(rows, rows.duplicated("ID"), "ID {ID} is listed a second time", problems)
        require_rows(path, rows, problems)
        table = pd.DataFrame({"path": "Train/" + rows["ID"] + ".wav", "label": rows["Class"]})
        return Manifest(self.root, table, tuple(sorted(rows["Class"].unique())), problems)
