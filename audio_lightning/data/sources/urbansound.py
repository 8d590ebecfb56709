"""UrbanSound in the layout of a competition: a table of numbers and classes, and a folder of recordings."""

import pandas as pd

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.sources.tables import read_table, reject, require_rows


class UrbanSound(AudioDataModule):
    r"""UrbanSound in a competition's layout: ``train.csv`` with the columns ``ID, Class``, and ``Train/<ID>.wav``.

    The table has neither folds nor source recordings, so that clips of one recording may be in several splits, and the
    results state that leakage cannot be excluded. The competition's ``test.csv`` has no labels and is not used.

    Args:
        **options: see :class:`AudioDataModule`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from audio_lightning.data.sources.urbansound import UrbanSound
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = (Path(root) / "train.csv").write_text("ID,Class\n0,siren\n1,drilling\n")
        ...     manifest = UrbanSound(root=root).read()
        >>> manifest.classes, manifest.table["path"].tolist()
        (('drilling', 'siren'), ['Train/0.wav', 'Train/1.wav'])
    """

    TABLE = "train.csv"

    def read(self) -> Manifest:
        """One row per clip of the table.

        Raises:
            DataError: the table is missing, lacks a column, or has no usable row.
        """
        path = self.root / self.TABLE
        rows, problems = read_table(path, ("ID", "Class"))
        rows = reject(rows, rows.duplicated("ID"), "ID {ID} is listed a second time", problems)
        require_rows(path, rows, problems)
        table = pd.DataFrame({"path": "Train/" + rows["ID"] + ".wav", "label": rows["Class"]})
        return Manifest(self.root, table, tuple(sorted(rows["Class"].unique())), problems)
