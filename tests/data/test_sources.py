"""Each source's tables: what is read from good ones, and what is said about bad ones."""

from pathlib import Path

import pytest
import tiny

from audio_lightning.config import build, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.errors import DataError


def source(name: str, root: Path, *overrides: str) -> AudioDataModule:
    config = compose(quote_paths([f"data={name}", f"data.root={root}", "data.sample_rate=8000", *overrides]))
    return build(config.data, AudioDataModule, where="data")


def test_urbansound8k(tmp_path: Path) -> None:
    tiny.write_urbansound8k(tmp_path, folds=3, clips=4)
    manifest = source("urbansound8k", tmp_path).read()
    assert manifest.classes == tiny.CLASSES
    assert len(manifest) == 3 * 3 * 4
    assert not manifest.problems
    first = manifest.table.iloc[0].to_dict()
    assert first == {
        "path": "audio/fold1/1000-0-0-0.wav",
        "label": "high_tone",
        "group": "1000",
        "fold": 1,
        "split": "",
    }
    assert not manifest.missing_files()


def test_urbansound8k_names_every_wrong_row(tmp_path: Path) -> None:
    tiny.write_urbansound8k(tmp_path)
    with (tmp_path / "metadata/UrbanSound8K.csv").open("a") as file:
        file.write("short,row\n")
        file.write("x.wav,1,0,1,1,first,0,high_tone\n")
        file.write("y.wav,,0,1,1,1,0,high_tone\n")
        file.write("1000-0-0-0.wav,1000,0,1,1,1,0,high_tone\n")
        file.write("z.wav,1,0,1,1,1,7,high_tone\n")
        file.write("gone.wav,1,0,1,1,1,0,high_tone\n")
    manifest = source("urbansound8k", tmp_path).read()
    assert [str(problem) for problem in manifest.problems] == [
        "UrbanSound8K.csv, line 38: has 2 fields, the header has 8",
        "UrbanSound8K.csv, line 40: fsID is empty",
        "UrbanSound8K.csv, line 39: fold 'first' and classID '0' must be whole numbers",
        "UrbanSound8K.csv, line 41: 1000-0-0-0.wav is listed a second time",
        "UrbanSound8K.csv, line 42: classID 7 for high_tone, which has 0 further up",
    ]
    assert [problem.where for problem in manifest.missing_files()] == ["audio/fold1/gone.wav"]


def test_urbansound_competition(tmp_path: Path) -> None:
    tiny.write_urbansound(tmp_path)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("0,noise\n")
    manifest = source("urbansound", tmp_path).read()
    assert manifest.classes == tuple(sorted(tiny.CLASSES))
    assert list(manifest.table["path"][:2]) == ["Train/0.wav", "Train/1.wav"]
    assert not manifest.knows_groups
    assert [str(problem) for problem in manifest.problems] == ["train.csv, line 32: ID 0 is listed a second time"]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (None, "No such file or directory"),
        ("", "no column ID, Class: expected ID, Class, found an empty file"),
        ("ID,class\n1,x\n", "no column Class: expected ID, Class, found ID, class"),
        ("ID,Class\n", "has a header and no rows"),
        ("ID,Class\n,\n1,\n", "no row can be used"),
        (b"ID,Class\n1,\xff\xfe\n", "is not a CSV file in UTF-8"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, contents: str | bytes | None, message: str) -> None:
    if contents is not None:
        data = contents if isinstance(contents, bytes) else contents.encode()
        (tmp_path / "train.csv").write_bytes(data)
    with pytest.raises(DataError, match=message):
        source("urbansound", tmp_path).read()


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes("\ufeffID,Class\r\n7,x\r\n".encode())
    assert list(source("urbansound", tmp_path).read().table["path"]) == ["Train/7.wav"]
