"""Data source of instrument recordings in class folders or a table, cut into short windows."""

from typing import Any

from audio_lightning.core.errors import ConfigError
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.sources.folder import Folder
from audio_lightning.data.sources.label_cells import LabelCells
from audio_lightning.data.sources.table import check_table, read_clips


class Instruments(Folder):
    """Instrument recordings of any length, in one folder per instrument, or listed with their instruments in a table.

    A window has the class and the group of its recording, so windows of one recording, or of all takes of one note,
    stay in one split.

    Args:
        table: file with the columns ``path`` and ``label``, relative to ``root`` or to the current folder, used instead
            of folder names; or a mapping from splits to such files.
        group_pattern: see :class:`Folder`.
        **options: see :class:`Folder`.

    Raises:
        ConfigError: both ``label_pattern`` and ``table`` are given.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from audio_lightning.data.sources.instruments import Instruments
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("banjo/banjo_A4_forte.mp3", "banjo/banjo_A4_piano.mp3", "banjo/banjo_C5_forte.mp3"):
        ...         (Path(root) / name).parent.mkdir(exist_ok=True)
        ...         (Path(root) / name).touch()
        ...     manifest = Instruments(root=root, group_pattern="^[^_]+_[A-G][0-9]").read()
        >>> manifest.table["group"].tolist()
        ['banjo_A4', 'banjo_A4', 'banjo_C5']
    """

    def __init__(
        self, *, table: str | dict[str, str] | None = None, group_pattern: str | None = None, **options: Any
    ) -> None:
        super().__init__(group_pattern=group_pattern, **options)
        if table is not None:
            check_table(table)
            if "label" in self.patterns:
                raise ConfigError("data.label_pattern: data.table defines the classes already; leave one out")
        self.table = table

    def list_recordings(self) -> Manifest:
        """Recordings and their instruments.

        Raises:
            DataError: the folder has another layout, or the table cannot be used.
        """
        if self.table is None:
            return super().list_recordings()
        return read_clips(
            self.root, self.table, {"path": "path", "label": "label"}, LabelCells(multilabel=self.multilabel)
        )
