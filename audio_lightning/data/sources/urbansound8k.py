"""UrbanSound8K: ten classes of city sounds in ten folds."""

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.sources.tables import classes_by_number, read_numbered_classes


class UrbanSound8K(AudioDataModule):
    """Clips of up to 4 s, described by ``metadata/UrbanSound8K.csv``, in ``audio/fold<k>/``.

    The folds are the official ones, of which the authors say to use them as they are: all clips of a source
    recording (``fsID``) are in one fold. Classes are in the order of ``classID``.

    Source: Salamon, Jacoby, Bello (2014), A Dataset and Taxonomy for Urban Sound Research.
    """

    TABLE = "metadata/UrbanSound8K.csv"

    def read(self) -> Manifest:
        """One row a clip of the table.

        Raises:
            DataError: the table is missing, lacks a column, or has no usable row.
        """
        rows, problems = read_numbered_classes(
            self.root / self.TABLE, file="slice_file_name", group="fsID", number="classID", label="class"
        )
        table = rows[["label", "group", "fold"]].copy()
        table.insert(0, "path", "audio/fold" + rows["fold"].astype(str) + "/" + rows["file"])
        return Manifest(self.root, table, classes_by_number(rows), problems)
