"""Submission files for tables of unlabelled recordings."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.core.errors import ConfigError, DataError, UserError
from audio_lightning.inference import submission
from audio_lightning.inference.predict import Prediction
from audio_lightning.inference.submission import predicted_rows, read_submission

CLASSES = ("dog bark", "rain", "siren")


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A table beside a folder of recordings, as competitions have it."""
    (tmp_path / "audio_test").mkdir()
    for name in ("b.wav", "a.wav", "c.wav"):
        (tmp_path / "audio_test" / name).touch()
    return table(tmp_path / "test.csv", "fname,licence", "b.wav,cc", "a.wav,cc", "c.wav,by")


def answers(monkeypatch: pytest.MonkeyPatch, request: submission.Submission, **options: Any) -> list[list[str]]:
    """The rows of the answer, where a.wav is rain, b.wav a dog and nothing else can be read."""
    shares = {"a.wav": [0.3, 0.6, 0.1], "b.wav": [0.7, 0.1, 0.2]}

    def predict(classifier: Any, recordings: list[Path], **others: Any) -> Any:
        assert others == {"per_recording": True}
        for path in recordings:
            if path.name not in shares:
                yield Prediction(path, error=f"{path}: damaged")
                continue
            found = np.array(shares[path.name])
            yield Prediction(path, 0.0, 1.0, found, [CLASSES[found.argmax()]])

    monkeypatch.setattr(submission, "predict", predict)
    classifier: Any = SimpleNamespace(task=SimpleNamespace(classes=CLASSES))
    return [cells for cells, _ in predicted_rows(request, classifier, **options)]


def test_rows_keep_their_order_and_identifying_columns(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = read_submission(clips, CLASSES)
    assert list(request.rows) == ["fname", "label"]
    assert [path.parent.name for path in request.recordings] == ["audio_test"] * 3
    assert answers(monkeypatch, request) == [["b.wav", "dog bark"], ["a.wav", "rain"], ["c.wav", ""]]


def test_recordings_are_named_without_their_ending_or_by_a_path(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(clips, "id,fold,where", "7,1,b", "3,1,audio_test/a.wav", "9,1,b")
    assert answers(monkeypatch, read_submission(clips, CLASSES)) == [
        ["7", "b", "dog bark"],
        ["3", "audio_test/a.wav", "rain"],
        ["9", "b", "dog bark"],
    ]


def test_a_sample_submission_is_filled_in(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(clips, "fname,label,usage", "a.wav,siren,x", "b.wav,siren,x")
    found = answers(monkeypatch, read_submission(clips, CLASSES))
    assert found == [["a.wav", "rain", "x"], ["b.wav", "dog bark", "x"]]
    table(clips, "fname,Siren,Dog_bark,rain", "a.wav,0,0,0", "c.wav,0,0,0")
    found = answers(monkeypatch, read_submission(clips, CLASSES))
    assert found == [["a.wav", "0.10000000", "0.30000000", "0.60000000"], ["c.wav", "", "", ""]]


def test_a_sample_defines_rows_and_columns(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(clips, "id,file", "1,a.wav", "2,b.wav", "3,c.wav")
    sample = table(tmp_path / "sample.csv", "target,id", "?,2", "?,1")
    found = answers(monkeypatch, read_submission(clips, CLASSES, sample=sample))
    assert found == [["dog bark", "2"], ["rain", "1"]]
    table(sample, "id,rain,siren", "1,,")
    assert answers(monkeypatch, read_submission(clips, CLASSES, sample=sample)) == [["1", "0.60000000", "0.10000000"]]


def test_several_labels_a_row(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = read_submission(clips, CLASSES)
    with pytest.raises(ConfigError, match="class dog bark contains one"):
        answers(monkeypatch, request, top_k=2)
    monkeypatch.setattr("test_submission.CLASSES", ("dog", "rain", "siren"))
    assert answers(monkeypatch, request, top_k=2)[0] == ["b.wav", "dog siren"]


@pytest.mark.parametrize(
    ("lines", "sample", "said"),
    [
        (
            ["fname", "b.wav", "lost.wav"],
            None,
            r"1 of 2 recordings of column fname .*, lost.wav, does not exist.*--root",
        ),
        (["fname", "b.wav", "twice.wav"], None, r"the first, twice.wav, exists 2 times"),
        (["name", "x.wav"], None, r"no column names recordings below .* \(first row: name x.wav\)"),
        (["fname", "b.wav", "a.wav,3"], None, r"test.csv, line 3: has 2 fields"),
        (["fname", "b.wav"], ["fname,label", "a.wav,"], "1 of 1 rows do not match one recording of test.csv"),
        (["fname", "b.wav"], ["name,label", "a.wav,"], "sample.csv: has the columns name, label; expected some of"),
        (["fname", "b.wav"], ["fname,one,two", "b.wav,,"], "one for the label or one for each class"),
        (["fname", "b.wav"], ["fname,rain,siren,snow", "b.wav,,,"], "one for the label or one for each class"),
    ],
)
def test_invalid_tables_are_reported(
    lines: list[str], sample: list[str] | None, said: str, clips: Path, tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twice.wav").touch()
    table(clips, *lines)
    given = None if sample is None else table(tmp_path / "sample.csv", *sample)
    with pytest.raises(DataError, match=said) as raised:
        read_submission(clips, CLASSES, sample=given)
    assert "\n" not in str(raised.value)


def test_missing_files_are_reported(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such table"):
        read_submission(tmp_path / "none.csv", CLASSES)
    with pytest.raises(UserError, match="no such table"):
        read_submission(clips, CLASSES, sample=tmp_path / "none.csv")
    with pytest.raises(ConfigError, match=r"--root .*none: no such folder"):
        read_submission(clips, CLASSES, root=tmp_path / "none")
    with pytest.raises(ConfigError, match=r"--path-column file: no such column in .* has the columns fname, licence"):
        read_submission(clips, CLASSES, path_column="file")


def test_the_command_writes_a_submission(trained: Path, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    metadata = pd.read_csv(tiny_urbansound8k / "metadata/UrbanSound8K.csv")
    names = metadata["slice_file_name"].tolist()[::-1]
    test = table(tmp_path / "test.csv", "fname", *names)
    line = ["predict", trained, test, "--root", tiny_urbansound8k, "--output", tmp_path / "submission.csv"]
    result = CliRunner().invoke(app, [str(word) for word in line])
    assert result.exit_code == 0, result.output
    assert f"{len(names)} rows of" in result.stderr
    found = list(csv.reader((tmp_path / "submission.csv").read_text().splitlines()))
    assert found[0] == ["fname", "label"]
    assert [row[0] for row in found[1:]] == names
    assert {row[1] for row in found[1:]} <= {*tiny.CLASSES}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["test.csv", "a.wav"], "a table must be the only argument"),
        (["a.wav", "--submission", "sample.csv"], "--submission: needs a table of recordings"),
        (["test.csv", "--format", "json"], "submissions for a table are CSV"),
        (["none.csv"], "none.csv: no such table"),
    ],
)
def test_conflicting_options_are_reported_in_one_line(more: list[str], said: str, trained: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(trained), *more])
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output
