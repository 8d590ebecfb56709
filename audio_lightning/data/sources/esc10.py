"""ESC-10: ten classes of ESC-50 that are easy to distinguish."""

from collections.abc import Sequence

import pandas as pd

from audio_lightning.core.errors import DataError
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.esc50 import ESC50
from audio_lightning.data.sources.tables import reject


class ESC10(ESC50):
    r"""ESC-10: clips of ESC-50 with True in the column ``esc10``, in the folder and the folds of ESC-50.

    Args:
        **options: see :class:`AudioDataModule`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from audio_lightning.data.sources.esc10 import ESC10
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (Path(root) / "meta").mkdir()
        ...     rows = ["filename,fold,target,category,esc10,src_file", "1-1-A-0.wav,1,0,dog,True,1"]
        ...     rows += ["2-2-A-1.wav,2,14,chirping_birds,False,2"]
        ...     _ = (Path(root) / "meta/esc50.csv").write_text("\n".join(rows))
        ...     manifest = ESC10(root=root).read()
        >>> manifest.classes
        ('dog',)
    """

    EXTRA_COLUMNS: Sequence[str] = ("esc10",)

    def choose(self, rows: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
        """Select the rows of the data set.

        Raises:
            DataError: no row has True in the column ``esc10``.
        """
        rows = reject(
            rows, ~rows["esc10"].str.lower().isin(["true", "false"]), "esc10 {esc10!r} must be True or False", problems
        )
        chosen = rows[rows["esc10"].str.lower() == "true"]
        if chosen.empty:
            raise DataError(f"{self.root / self.TABLE}: no row has True in column esc10; expected the clips of ESC-10")
        return chosen
