"""UrbanSound8K: ten classes of city sounds in ten folds."""

import pandas as pd

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.tables import read_rows
from audio_lightning.errors import DataError


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
            DataError: the table is missing or lacks a column.
        """
        rows, problems = read_rows(self.root / self.TABLE, ("slice_file_name", "fsID", "fold", "classID", "class"))
        clips, numbers, names = [], dict[str, int](), set[str]()
        for line, row in rows:
            where = f"UrbanSound8K.csv, line {line}"
            name, label = row["slice_file_name"], row["class"]
            if not row["fold"].isdecimal() or not row["classID"].isdecimal():
                problems.append(
                    Problem(where, f"fold {row['fold']!r} and classID {row['classID']!r} must be whole numbers")
                )
            elif numbers.setdefault(label, int(row["classID"])) != int(row["classID"]):
                problems.append(
                    Problem(where, f"classID {row['classID']} for {label}, which has {numbers[label]} further up")
                )
            elif name in names:
                problems.append(Problem(where, f"{name} is listed a second time"))
            else:
                names.add(name)
                fold = int(row["fold"])
                clips.append((f"audio/fold{fold}/{name}", label, row["fsID"], fold))
        if not clips:
            raise DataError(f"{self.root / self.TABLE}: no row can be used; the first problem: {problems[0]}")
        table = pd.DataFrame(clips, columns=["path", "label", "group", "fold"])
        classes = sorted({clip[1] for clip in clips}, key=lambda label: (numbers[label], label))
        return Manifest(self.root, table, tuple(classes), problems)
