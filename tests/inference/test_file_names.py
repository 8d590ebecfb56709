"""File names that are not UTF-8: recordings are read, and tables, messages and the terminal show escape sequences."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
from recordings import write_tones
from typer.testing import CliRunner
from untrained import CNN, write_member

import audio_lightning as al
from audio_lightning.audio import describe, find_recordings
from audio_lightning.cli.main import app
from audio_lightning.core.errors import AudioError
from audio_lightning.core.utf8 import as_utf8
from audio_lightning.inference.event_tables import ENDINGS, Format

LATIN_1 = os.fsdecode(b"lat\xe9.wav")
NAMES = ["a.wav", "lat\\udce9.wav", "z.wav"]
"""Names of the recordings in tables."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_member(tmp_path_factory.mktemp("checkpoint") / "one.ckpt", *CNN)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with three recordings; the name of the second one is Latin-1."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    write_tones(folder / "a.wav", 0.25, sample_rate=tiny.RATE)
    try:
        shutil.copy(folder / "a.wav", folder / LATIN_1)
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    shutil.copy(folder / "a.wav", folder / "z.wav")
    return folder


def invoke(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.stderr, result.exception)
    return result.stdout, result.stderr


def paths(folder: Path) -> list[str]:
    return [f"{folder}/{name}" for name in NAMES]


def test_text_becomes_utf8() -> None:
    assert as_utf8("Tür\n\\x") == "Tür\n\\x"
    assert as_utf8(Path(LATIN_1)) == NAMES[1]
    assert str(AudioError(f"{LATIN_1}: is damaged")) == "lat\\udce9.wav: is damaged"


def test_headers_are_read_whatever_the_suffix(sounds: Path) -> None:
    flac = sounds / os.fsdecode(b"\xe9.sound")
    soundfile.write(sounds / "x.flac", np.zeros(99), 8000)
    (sounds / "x.flac").rename(flac)
    assert describe(flac).frames == 99
    assert flac in find_recordings([sounds])


@pytest.mark.parametrize("to_file", [False, True])
def test_predictions(checkpoint: Path, sounds: Path, tmp_path: Path, to_file: bool) -> None:
    def printed(*options: object) -> str:
        out = tmp_path / "predictions"
        text, _ = invoke("predict", checkpoint, sounds, *options, *(["--output", out] if to_file else []))
        return out.read_text("utf-8") if to_file else text

    assert [row["path"] for row in csv.DictReader(printed("--format", "csv").splitlines())] == paths(sounds)
    assert [entry["path"] for entry in json.loads(printed("--format", "json"))] == paths(sounds)


def test_predictions_on_the_terminal(checkpoint: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    table, _ = invoke("predict", checkpoint, sounds, "--format", "table")
    assert all(name in table for name in NAMES)


def test_unreadable_recordings_are_named(checkpoint: Path, sounds: Path) -> None:
    (sounds / LATIN_1).write_bytes(b"")
    for words in (["predict"], ["predict", "--format", "json"], ["embed"], ["suggest"], ["detect"]):
        said = "".join(invoke(words[0], checkpoint, sounds, *words[1:], code=1))
        assert "lat\\udce9.wav: is an empty file" in said.replace("\\\\", "\\")


@pytest.mark.parametrize("kind", list(ENDINGS))
def test_event_tables(checkpoint: Path, sounds: Path, tmp_path: Path, kind: Format) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    words = ("detect", checkpoint, sounds, "--threshold", "0.001", "--format", kind)
    invoke(*words, "--output", tmp_path / "tables")
    names = [os.fsdecode(name) + ENDINGS[kind] for name in (b"a", b"lat\xe9", b"z")]
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == sorted(names)
    if kind == "audacity":
        return
    invoke(*words, "--output", tmp_path / "one.table")
    if kind == "parquet":
        found = pd.read_parquet(tmp_path / "one.table")["path"].tolist()
    elif kind == "jsonl":
        found = [json.loads(line)["path"] for line in (tmp_path / "one.table").read_text("utf-8").splitlines()]
    else:
        table = pd.read_csv(tmp_path / "one.table", sep="\t" if kind == "raven" else ",")
        found = table["Begin Path" if kind == "raven" else "path"].tolist()
    assert list(dict.fromkeys(found)) == paths(sounds)


def test_embeddings(checkpoint: Path, sounds: Path, tmp_path: Path) -> None:
    table, _ = invoke("embed", checkpoint, sounds)
    assert [row["path"] for row in csv.DictReader(table.splitlines())] == paths(sounds)
    invoke("embed", checkpoint, sounds, "--output", tmp_path / "e.npz")
    assert np.load(tmp_path / "e.npz")["path"].tolist() == paths(sounds)


def test_suggestions_recognize_labelled_windows(checkpoint: Path, sounds: Path, tmp_path: Path) -> None:
    table, _ = invoke("suggest", checkpoint, sounds)
    assert sorted(row["path"] for row in csv.DictReader(table.splitlines())) == NAMES
    first = tmp_path / "first.csv"
    invoke("suggest", checkpoint, sounds, "--output", first)
    assert len(invoke("suggest", checkpoint, sounds, "--labelled", first)[0].splitlines()) == 1


def test_tables_in_python(checkpoint: Path, sounds: Path) -> None:
    classifier = al.load(checkpoint)
    assert al.predict(classifier, sounds)["path"].tolist() == paths(sounds)
    assert al.embed(classifier, sounds)["path"].tolist() == paths(sounds)
    assert sorted(al.suggest(classifier, sounds)["path"]) == NAMES
    events = al.detect(classifier, sounds, threshold=0.001)
    assert events["path"].drop_duplicates().tolist() == paths(sounds)
