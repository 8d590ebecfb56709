"""ESC-50: fifty classes of environmental sounds in five folds."""

from collections.abc import Sequence

import pandas as pd

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.tables import classes_by_number, read_numbered_classes


class ESC50(AudioDataModule):
    r"""ESC-50: clips of 5 s in ``audio/``, described by ``meta/esc50.csv``.

    The five folds are the official ones: all clips of a source recording (``src_file``) are in one fold. Classes are in
    the order of ``target``.

    Source: Piczak (2015), ESC: Dataset for Environmental Sound Classification.

    Args:
        **options: see :class:`AudioDataModule`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from audio_lightning.data.sources.esc50 import ESC50
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (Path(root) / "meta").mkdir()
        ...     rows = ["filename,fold,target,category,src_file", "1-1-A-0.wav,1,0,dog,1", "2-2-A-1.wav,2,1,rooster,2"]
        ...     _ = (Path(root) / "meta/esc50.csv").write_text("\n".join(rows))
        ...     manifest = ESC50(root=root).read()
        >>> manifest.classes, manifest.table["path"].tolist()
        (('dog', 'rooster'), ['audio/1-1-A-0.wav', 'audio/2-2-A-1.wav'])
    """

    TABLE = "meta/esc50.csv"
    EXTRA_COLUMNS: Sequence[str] = ()

    def read(self) -> Manifest:
        """One row per clip of the table.

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
        """Select the rows of the data set: all."""
        return rows
