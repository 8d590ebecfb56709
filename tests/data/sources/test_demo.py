"""The demo data set is written once and read like any other."""

from pathlib import Path

import pytest

from audio_lightning.config import build, compose, quote_paths
from audio_lightning.core.errors import DataError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.sources.demo import source as demo
from audio_lightning.data.sources.demo.sounds import CLASSES, write_demo


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record the folders that are written, with few clips."""
    written: list[Path] = []

    def write(root: Path, **options: object) -> None:
        written.append(root)
        write_demo(root, sources_per_fold=1, clips_per_source=1)

    monkeypatch.setattr(demo, "write_demo", write)
    return written


def test_demo_is_written_once_and_read_like_any_data_set(tmp_path: Path, small: list[Path]) -> None:
    for _ in range(2):
        config = compose(quote_paths(["data=demo", f"data.cache_dir={tmp_path}/cache"]))
        ready = build(config.data, AudioDataModule, where="data")
        ready.setup()
        assert ready.task.classes == tuple(CLASSES)
        assert ready.leakage == "none found"
        assert len(ready.manifest) == 5 * 10
    assert small == [tmp_path / "cache" / f"demo-{demo.VERSION}"]


def test_demo_can_be_written_to_a_given_folder(tmp_path: Path, small: list[Path]) -> None:
    config = compose(quote_paths(["data=demo", f"data.cache_dir={tmp_path}/cache"]))
    config.data.root = f"{tmp_path}/mine"
    build(config.data, AudioDataModule, where="data").setup()
    assert small == [tmp_path / "mine"]


def test_unwritable_folder_is_an_error(tmp_path: Path, small: list[Path]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write the demo recordings to .*; choose another folder with"):
        demo.demo_root(tmp_path / "file/below")
