"""Recordings in the folders of a table that the table does not list."""

import shutil
from pathlib import Path

import pytest
import tiny
from running import run

from audio_lightning.audio import Finder
from audio_lightning.config import build, compose
from audio_lightning.data.datamodule import AudioDataModule

TABLE = ("data=table", "data.table=clips.csv")


def beside(root: Path, *names: str) -> None:
    """Copies of a listed recording under other names."""
    first = min(root.rglob("*.wav"))
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first, root / name)


def ready(root: Path, *overrides: str) -> AudioDataModule:
    options = [f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=0.25", *overrides]
    datamodule = build(compose([*TABLE, *options]).data, AudioDataModule, where="data")
    datamodule.setup()
    return datamodule


def test_training_reports_unlisted_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tiny.write_table(tmp_path / "data")
    run(root, tmp_path / "first", *TABLE, "trainer.max_epochs=1")
    assert "not listed" not in capsys.readouterr().out
    beside(root, "sounds/new.wav", "sounds/deep/er.wav", "sounds/._hidden.wav")
    (root / "sounds/notes.txt").write_text("no recording")
    run(root, tmp_path / "second", *TABLE, "trainer.max_epochs=1")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "not listed" in line]
    expected = f"note: 2 recordings below {root} are not listed and not used (such as sounds/deep/er.wav)"
    assert line == expected


def test_each_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.write_table(tmp_path / "data")
    beside(root, "sounds/a/b.wav")
    listed: list[str] = []
    original = Finder._list
    monkeypatch.setattr(Finder, "_list", lambda finder, below: listed.append(below) or original(finder, below))
    datamodule = ready(root)
    assert not listed, "a table is no folder"
    assert datamodule.unlisted() == ["sounds/a/b.wav"]
    assert sorted(listed) == ["sounds/", "sounds/a/"]


def test_folders_outside_of_the_root_are_not_searched(tmp_path: Path) -> None:
    elsewhere = tiny.write_table(tmp_path / "elsewhere")
    beside(elsewhere, "sounds/new.wav")
    root = tmp_path / "data"
    root.mkdir()
    text = (elsewhere / "clips.csv").read_text(encoding="utf-8")
    (root / "clips.csv").write_text(text.replace("sounds/", f"{elsewhere}/sounds/"))
    assert ready(root).unlisted() == []


def test_a_folder_that_cannot_be_read_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.write_table(tmp_path / "data")

    def refuse(finder: Finder, below: str) -> list[str]:
        raise PermissionError(13, "Permission denied", f"{finder.root}/{below}")

    monkeypatch.setattr(Finder, "recordings", refuse)
    assert ready(root).unlisted() == []
