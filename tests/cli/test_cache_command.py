"""``audio-lightning cache``: list and clear."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.data.store.cache import Cache, default_cache_dir
from audio_lightning.data.store.recordings import Recordings


@pytest.fixture
def decoded(tmp_path: Path) -> Path:
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds/a.wav", np.full(36_000, 0.5), 8000)
    Cache(tmp_path / "cache", dtype="int16").decode(Recordings([tmp_path / "sounds/a.wav"]), 8000)
    return tmp_path / "cache"


def test_list_and_clear(decoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    listed = CliRunner().invoke(app, ["cache", "list", "--dir", str(decoded)])
    assert listed.exit_code == 0
    row = next(line for line in listed.output.splitlines() if "int16" in line)
    cells = re.split(r" {2,}", row.strip())
    assert cells[1:5] == ["1", "0.00", "8,000 Hz", "int16"]
    assert cells[-1] == str(decoded.parent / "sounds")
    assert listed.output.splitlines()[-2].startswith("1 data set, ")
    line = f"to remove all: audio-lightning cache clear --dir {decoded}"
    assert listed.output.splitlines()[-1] == line

    cleared = CliRunner().invoke(app, ["cache", "clear", "--dir", str(decoded)])
    assert cleared.exit_code == 0
    assert "removed" in cleared.output
    assert Cache(decoded).sets() == []
    again = CliRunner().invoke(app, ["cache", "list", "--dir", str(decoded)])
    assert "contains no decoded recordings" in again.output


def test_an_empty_cache_is_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIO_LIGHTNING_CACHE", str(tmp_path / "none"))
    assert default_cache_dir() == tmp_path / "none"
    for command in ("list", "clear"):
        found = CliRunner().invoke(app, ["cache", command])
        assert found.exit_code == 0
        assert str(tmp_path / "none") in found.output
        assert found.output.splitlines()[-1] == "next: audio-lightning train data=folder data.root=DIR"
