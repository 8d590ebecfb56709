"""ESC-10: the ten classes of ESC-50 that are easiest to tell apart."""

from collections.abc import Sequence

import pandas as pd

from audio_lightning.core.errors import DataError
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.esc50 import ESC50
from audio_lightning.data.sources.tables import reject


class ESC10(ESC50):
    """The clips of ESC-50 whose column ``esc10`` is True, in the folder and the folds of ESC-50."""

    EXTRA_COLUMNS: Sequence[str] = ("esc10",)

    def choose(self, rows: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
        """The rows that belong to the data set.

        Raises:
            DataError: there are none.
        """
        rows = reject(
            rows, ~rows["esc10"].str.lower().isin(["true", "false"]), "esc10 {esc10!r} must be True or False", problems
        )
        chosen = rows[rows["esc10"].str.lower() == "true"]
        if chosen.empty:
            raise DataError(f"{self.root / self.TABLE}: esc10 is True in no row, expected it in those of ESC-10")
        return chosen
