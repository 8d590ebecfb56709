"""New, changed and removed recordings are found by names, labels, sizes and times."""

import os
import shutil
from pathlib import Path

import pytest
import tiny

from audio_lightning.core.errors import DataError
from audio_lightning.fit.recordings import Difference, difference, look


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny.write_folder(tmp_path / "data", clips=3)


def seen(root: Path) -> dict[str, list[object]]:
    return look(["data=folder", f"data.root={root}"], [["feature=nonesuch"], ["experiment=auto"]])


def test_nothing_changed_is_no_difference(root: Path, tmp_path: Path) -> None:
    before = seen(root)
    assert len(before) == 9
    assert difference(before, seen(root)) == Difference(0, 0, 0, 0)
    assert str(difference(before, before)) == ""
    copied = Path(shutil.copytree(root, tmp_path / "elsewhere"))
    assert difference(before, seen(copied)) == Difference(0, 0, 0, 0)


def test_new_gone_and_changed_recordings_are_counted(root: Path) -> None:
    before = seen(root)
    shutil.copy(root / "noise/0.wav", root / "noise/9.wav")
    (root / "noise/1.wav").unlink()
    (root / "low_tone/0.wav").rename(root / "high_tone/0.wav")  # another label, and the old one is gone
    (root / "low_tone/1.wav").write_bytes((root / "low_tone/1.wav").read_bytes()[:-100])
    found = difference(before, seen(root))
    assert str(found) == f"1 new, 2 gone, {found.changed} changed"
    assert found.changed in (1, 2)


def test_rewritten_files_are_counted_separately(root: Path) -> None:
    before = seen(root)
    os.utime(root / "noise/0.wav", ns=(0, 0))
    assert difference(before, seen(root)) == Difference(0, 0, 0, 1)


def test_a_folder_that_is_no_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        seen(tmp_path / "none")
