"""UrbanSound8K: ten classes of city sounds in ten folds."""

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.sources.tables import classes_by_number, read_numbered_classes


class UrbanSound8K(AudioDataModule):
    r"""UrbanSound8K: clips of up to 4 s in ``audio/fold<k>/``, described by ``metadata/UrbanSound8K.csv``.

    The ten folds are the official ones, which the authors ask to use unchanged: all clips of a source recording
    (``fsID``) are in one fold. Classes are in the order of ``classID``.

    Source: Salamon, Jacoby, Bello (2014), A Dataset and Taxonomy for Urban Sound Research.

    Args:
        **options: see :class:`AudioDataModule`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from audio_lightning.data.sources.urbansound8k import UrbanSound8K
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (Path(root) / "metadata").mkdir()
        ...     rows = ["slice_file_name,fsID,fold,classID,class"]
        ...     rows += ["1-3-0-0.wav,1,5,3,dog_bark", "2-8-0-0.wav,2,10,8,siren"]
        ...     _ = (Path(root) / UrbanSound8K.TABLE).write_text("\n".join(rows))
        ...     manifest = UrbanSound8K(root=root).read()
        >>> manifest.classes, manifest.table["path"].tolist()
        (('dog_bark', 'siren'), ['audio/fold5/1-3-0-0.wav', 'audio/fold10/2-8-0-0.wav'])
    """

    TABLE = "metadata/UrbanSound8K.csv"

    def read(self) -> Manifest:
        """One row per clip of the table.

        Raises:
            DataError: the table is missing, lacks a column, or has no usable row.
        """
        rows, problems = read_numbered_classes(
            self.root / self.TABLE, file="slice_file_name", group="fsID", number="classID", label="class"
        )
        table = rows[["label", "group", "fold"]].copy()
        table.insert(0, "path", "audio/fold" + rows["fold"].astype(str) + "/" + rows["file"])
        return Manifest(self.root, table, classes_by_number(rows), problems)
