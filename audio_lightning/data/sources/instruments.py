"""Recordings of instruments, one a folder or as a table says, cut into short windows."""

from typing import Any

from audio_lightning.core.errors import ConfigError
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.sources.folder import Folder
from audio_lightning.data.sources.label_cells import LabelCells
from audio_lightning.data.sources.table import check_table, read_clips


class Instruments(Folder):
    """Recordings of any length, a folder an instrument, or a table that says which instrument is in which file.

    A window belongs to the class and to the group of its recording, so windows of one recording, or of all takes of one
    note, never lie on both sides of a split.

    Args:
        table: file with the columns ``path`` and ``label``, relative to ``root`` or to the current folder, that is read
            instead of the names of the folders; also a mapping from splits to such files.
        group_pattern: see :class:`Folder`.
        **options: see :class:`Folder`.

    Raises:
        ConfigError: ``label_pattern`` beside ``table``.
    """

    def __init__(
        self, *, table: str | dict[str, str] | None = None, group_pattern: str | None = None, **options: Any
    ) -> None:
        super().__init__(group_pattern=group_pattern, **options)
        if table is not None:
            check_table(table)
            if "label" in self.patterns:
                raise ConfigError("data.label_pattern: data.table names the classes already; leave one out")
        self.table = table

    def list_recordings(self) -> Manifest:
        """The recordings and their instruments.

        Raises:
            DataError: the folder is not laid out like that, or the table is none that can be used.
        """
        if self.table is None:
            return super().list_recordings()
        return read_clips(
            self.root, self.table, {"path": "path", "label": "label"}, LabelCells(multilabel=self.multilabel)
        )
