"""``audio-lightning embed``: the input of the head, window by window."""

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.inference.load import load_classifier


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    files = [tmp_path / "short.wav", tmp_path / "long.wav"]
    for file, seconds in zip(files, (0.25, 0.75)):
        soundfile.write(file, rng.uniform(-0.5, 0.5, round(8000 * seconds)), 8000, subtype="FLOAT")
    return files


def test_the_head_makes_the_predictions_of_the_embeddings(
    trained: Path, recordings: list[Path], tmp_path: Path
) -> None:
    arguments = [str(trained), *map(str, recordings)]
    assert CliRunner().invoke(app, ["embed", *arguments, "--output", str(tmp_path / "e.npz")]).exit_code == 0
    result = CliRunner().invoke(app, ["predict", *arguments, "--output", str(tmp_path / "p.csv")])
    assert result.exit_code == 0
    predictions = pd.read_csv(tmp_path / "p.csv")
    with np.load(tmp_path / "e.npz") as found:
        assert found["path"].tolist() == [str(recordings[0]), *[str(recordings[1])] * 3] == predictions["path"].tolist()
        np.testing.assert_allclose(found["start_seconds"], [0, 0, 0.25, 0.5])
        np.testing.assert_allclose(found["end_seconds"], [0.25, 0.25, 0.5, 0.75])
        classifier = load_classifier(trained)
        with torch.inference_mode():
            probabilities = classifier.activate(classifier.network.head(torch.from_numpy(found["embedding"])))
    columns = [name for name in predictions if name.startswith("probability")]
    np.testing.assert_allclose(predictions[columns], probabilities, atol=1e-6)


def test_a_table_of_embeddings(trained: Path, recordings: list[Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["embed", str(trained), str(recordings[0]), "--output", str(tmp_path / "e.csv")])
    assert result.exit_code == 0
    assert result.stdout == f"written: {tmp_path}/e.csv\n"  # what to type next is for a terminal
    table = pd.read_csv(tmp_path / "e.csv")
    assert list(table.columns[:4]) == ["path", "start_seconds", "end_seconds", "embedding 0"]
    assert table.shape == (1, 3 + load_classifier(trained).network.embedding_dim)


@pytest.mark.parametrize(("name", "shown"), [("my e.npz", "(1, "), ("it's.csv", "embedding 15")])
def test_suggested_command_reads_the_embeddings(
    trained: Path, recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shown: str
) -> None:
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    line = ["embed", str(trained), str(recordings[0]), "--output", str(tmp_path / name)]
    following = CliRunner().invoke(app, line).stdout.splitlines()[-1]
    assert shlex.split(following)[:3] == ["next:", "python", "-c"]
    read = subprocess.run([sys.executable, *shlex.split(following)[2:]], capture_output=True, text=True, check=True)
    assert shown in read.stdout


def test_unreadable_recordings_do_not_stop_the_others(trained: Path, recordings: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    files = [str(tmp_path / "bad.wav"), str(recordings[0])]
    for output in ("e.csv", "e.npz"):
        result = CliRunner().invoke(app, ["embed", str(trained), *files, "--output", str(tmp_path / output)])
        assert result.exit_code == 1
        assert "1 of 2 recordings could not be read" in result.output
    assert len(pd.read_csv(tmp_path / "e.csv")) == 1
    with np.load(tmp_path / "e.npz") as found:
        assert len(found["embedding"]) == 1
