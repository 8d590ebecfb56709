"""Predictions on recordings of any kind equal those of the training's test."""

import csv
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
import torch
from recordings import DAMAGED, ODD
from running import run
from typer.testing import CliRunner

from audio_lightning.audio import find_recordings
from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint
from audio_lightning.cli.main import app
from audio_lightning.core.errors import DataError
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.predict import Prediction, _of_recording, predict

SHARES = [f"probability {name}" for name in tiny.CLASSES]


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_probabilities_equal_those_of_the_test(
    trained: Path, tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a checkpoint copied elsewhere, the data being somewhere else, too, and the cache gone."""
    shutil.copy(trained / "checkpoints/best.ckpt", tmp_path / "copied.ckpt")
    shutil.copytree(tiny_urbansound8k, tmp_path / "renamed")
    monkeypatch.setenv("AUDIO_LIGHTNING_CACHE", str(tmp_path / "empty"))
    expected = pd.read_csv(trained / "predictions.csv")
    files = [tmp_path / "renamed" / path for path in expected["path"]]
    code, out, _ = invoke("predict", tmp_path / "copied.ckpt", *files)
    assert code == 0
    found = pd.DataFrame(rows(out))
    np.testing.assert_allclose(found[SHARES].astype(float), expected[SHARES], atol=1e-5)
    assert list(found["predicted"]) == list(expected["predicted"])


def test_folders_are_searched(trained: Path, tiny_urbansound8k: Path) -> None:
    code, out, _ = invoke("predict", trained, tiny_urbansound8k / "audio")
    assert code == 0
    assert len(rows(out)) == 36


@pytest.fixture
def long_recording(tmp_path: Path) -> Path:
    """Two seconds of a low tone, then two of noise."""
    rng = np.random.default_rng(3)
    parts = [tiny.sound(label, rng, seconds=2, rate=16000) for label in ("low_tone", "noise")]
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), 16000)
    return tmp_path / "long.wav"


def test_long_recordings_are_predicted_window_by_window(trained: Path, long_recording: Path) -> None:
    code, out, _ = invoke("predict", trained, long_recording, "--hop", 0.5)
    assert code == 0
    table = rows(out)
    assert [float(row["start_seconds"]) for row in table] == [0.5 * index for index in range(8)]
    assert [float(row["end_seconds"]) for row in table] == [0.5 * index + 0.25 for index in range(8)]
    whole = invoke("predict", trained, long_recording)[1]
    assert len(rows(whole)) == 16
    assert float(rows(whole)[-1]["end_seconds"]) == 4.0
    shorter = invoke("predict", trained, long_recording, "--window", 0.125)[1]
    assert len(rows(shorter)) == 32


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_changes_nothing(trained: Path, long_recording: Path, batch_size: int) -> None:
    classifier = load_classifier(trained)
    reference = list(predict(classifier, [long_recording, long_recording]))
    found = list(predict(classifier, [long_recording, long_recording], batch_size=batch_size))
    assert [p.start_seconds for p in found] == [p.start_seconds for p in reference]
    np.testing.assert_allclose([p.probabilities for p in found], [p.probabilities for p in reference], atol=1e-5)


def test_json_and_the_most_probable(trained: Path, long_recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "predictions.json"
    code, _, _ = invoke("predict", trained, long_recording, "--format", "json", "--top-k", 2, "--output", out)
    assert code == 0
    answers = json.loads(out.read_text())
    assert len(answers) == 16
    for answer in answers:
        shares = list(answer["probabilities"].values())
        assert len(shares) == 2
        assert shares[0] >= shares[1]
        assert answer["predicted"] == next(iter(answer["probabilities"]))
    code, out_csv, _ = invoke("predict", trained, long_recording, "--top-k", 1)
    columns = ["path", "start_seconds", "end_seconds", "predicted", "class_1", "probability_1", "error"]
    assert list(rows(out_csv)[0]) == columns


def test_terminal_output_is_a_table_by_default(
    trained: Path, long_recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows(invoke("predict", trained, long_recording)[1])[0]["predicted"], "CSV in a pipe"
    assert invoke("predict", trained, long_recording, "--format", "table")[1].startswith("recordings in /")
    assert invoke("predict", trained, long_recording, "--format", "table", "--output", tmp_path / "t")[0] == 2
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    table = invoke("predict", trained, long_recording)[1]
    assert table.count("\nlong.wav ") == 16, table
    assert table.splitlines()[-1].startswith("next: audio-lightning predict ")
    table = invoke("predict", trained, long_recording, "--hop", 1.5, "--per-recording")[1]
    assert " --hop 1.5 --per-recording --output predictions.csv" in table.splitlines()[-1]
    answers = invoke("predict", trained, long_recording, "--format", "csv")[1].partition("\nnext: ")[0]
    assert len(rows(answers)) == 16
    written, _, following = invoke("predict", trained, long_recording, "--output", tmp_path / "p.csv")[1].splitlines()
    assert written == f"written: {tmp_path}/p.csv"
    assert shlex.split(following)[:3] == ["next:", "python", "-c"]
    read = subprocess.run([sys.executable, *shlex.split(following)[2:]], capture_output=True, text=True, check=True)
    assert "[16 rows x" in read.stdout
    assert len(rows((tmp_path / "p.csv").read_text())) == 16


def test_corrupt_files_have_an_error_row(trained: Path, long_recording: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    code, out, err = invoke("predict", trained, tmp_path / "bad.wav", tmp_path / "gone.wav", long_recording)
    table = rows(out)
    assert code == 1
    assert "2 of 3 recordings could not be read" in err
    assert "bad.wav" in table[0]["error"]
    assert "gone.wav" in table[1]["error"]
    assert table[0]["predicted"] == ""
    assert len(table) == 18
    assert all(row["predicted"] for row in table[2:])
    answers = json.loads(invoke("predict", trained, tmp_path / "bad.wav", long_recording, "--format", "json")[1])
    assert "error" in answers[0]
    assert "predicted" in answers[1]


@pytest.mark.parametrize("kind", [*DAMAGED, *ODD])
def test_damaged_and_unusual_recordings_are_predicted_or_listed(trained: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    {**DAMAGED, **ODD}[kind](path)
    code, out, _ = invoke("predict", trained, path)
    table = rows(out)
    if kind in DAMAGED:
        assert code == 1
        assert path.name in table[-1]["error"]
    else:
        assert code == 0
        assert sum(float(table[0][name]) for name in SHARES) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("option", "value"), [("window", 0.3), ("window", 0.0), ("window", math.nan), ("hop", 0.0), ("hop", math.inf)]
)
@pytest.mark.parametrize("command", ["predict", "embed"])
def test_invalid_windows_do_not_overwrite_earlier_output(
    trained: Path, tiny_urbansound8k: Path, tmp_path: Path, command: str, option: str, value: float
) -> None:
    (tmp_path / "answer.csv").write_text("an older one")
    output = ["--output", tmp_path / "answer.csv"]
    code, _, err = invoke(command, trained, tiny_urbansound8k / "audio", f"--{option}", value, *output)
    assert code == 2
    assert re.fullmatch(rf"error: --{option} .*: expected .*\n", err)
    assert (tmp_path / "answer.csv").read_text() == "an older one"


@pytest.mark.parametrize(
    ("command", "place"),
    [
        *((command, place) for command in ("predict", "embed") for place in ("folder", "file/answer.csv")),
        ("embed", "file/answer.npz"),
        ("evaluate", "file/folder"),
    ],
)
def test_unwritable_outputs_are_reported_in_one_line(
    trained: Path, tiny_urbansound8k: Path, tmp_path: Path, command: str, place: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    recordings = [] if command == "evaluate" else [next((tiny_urbansound8k / "audio").rglob("*.wav"))]
    code, _, err = invoke(command, trained, *recordings, "--output", tmp_path / place)
    assert code == 2
    assert re.fullmatch(rf"error: --output {tmp_path / place}: cannot be written \(.*\); choose another file\n", err)


def test_folders_without_recordings_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains no recordings"):
        find_recordings([tmp_path])


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """Recordings of 0.1 to 1.2 s, a run on overlapping windows of them, and its metrics. Read only."""
    root = tiny.write_instruments(tmp_path_factory.mktemp("windowed") / "data")
    windows = ["data=instruments", "data.clip_seconds=0.25", "data.hop_seconds=0.1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(root.parent / "cache"))
        metrics = run(root, root.parent / "run", *windows, "trainer.max_epochs=3")
    return root, root.parent / "run", metrics


def test_recording_predictions_equal_those_of_the_training(windowed: tuple[Path, Path, dict[str, Any]]) -> None:
    root, folder, metrics = windowed
    expected = pd.read_csv(folder / "recordings.csv")
    files = [root / path for path in expected["path"]]
    code, out, _ = invoke("predict", folder, *files, "--per-recording", "--batch-size", 3)
    assert code == 0
    found = pd.DataFrame(rows(out))
    assert list(found["path"]) == list(map(str, files))
    np.testing.assert_allclose(found[SHARES].astype(float), expected[SHARES], atol=1e-5)
    assert (found["predicted"] == expected["label"]).mean() == pytest.approx(metrics["test/recording_accuracy"])
    lengths = [soundfile.info(file).duration for file in files]
    np.testing.assert_allclose(found["end_seconds"].astype(float), lengths, atol=0.02)  # a short rest is left out
    answers = json.loads(invoke("predict", folder, *files, "--per-recording", "--format", "json")[1])
    assert [answer["predicted"] for answer in answers] == list(expected["predicted"])


def test_windows_of_the_training_are_the_default(
    windowed: tuple[Path, Path, dict[str, Any]],
) -> None:
    root, folder, _ = windowed
    expected = pd.read_csv(folder / "predictions.csv")
    files = [root / path for path in expected["path"].unique()]
    found = pd.DataFrame(rows(invoke("predict", folder, *files)[1]))
    np.testing.assert_allclose(found["start_seconds"].astype(float), expected["start_seconds"])
    np.testing.assert_allclose(found[SHARES].astype(float), expected[SHARES], atol=1e-5)
    embedded = rows(invoke("embed", folder, *files)[1])
    assert [row["start_seconds"] for row in embedded] == [str(float(start)) for start in found["start_seconds"]]
    for options, hop in (["--hop", 0.2], 0.2), (["--window", 0.05], 0.05):
        starts = [float(row["start_seconds"]) for row in rows(invoke("predict", folder, files[0], *options)[1])]
        assert starts == pytest.approx([hop * index for index in range(len(starts))])


def test_unreadable_recordings_have_one_row(trained: Path, long_recording: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    code, out, err = invoke("predict", trained, tmp_path / "bad.wav", long_recording, "--per-recording")
    bad, good = rows(out)
    assert code == 1
    assert "1 of 2 recordings could not be read" in err
    assert "bad.wav" in bad["error"]
    assert (good["start_seconds"], good["end_seconds"], good["error"]) == ("0.000", "4.000", "")


def test_recordings_damaged_in_the_middle_are_not_predicted(trained: Path, tmp_path: Path) -> None:
    damaged = [Prediction(tmp_path, 0.0, 0.25, np.ones(3, np.float32) / 3, ["noise"]), Prediction(tmp_path, error="x")]
    assert _of_recording(load_classifier(trained), damaged) == Prediction(tmp_path, error="x")


def broken(trained: Path, path: Path, pattern: str) -> Path:
    """A copy of the best checkpoint in which the last tensor whose name fits is NaN."""
    checkpoint = read_checkpoint(trained / "checkpoints/best.ckpt")
    name = [name for name in checkpoint["state_dict"] if re.search(pattern, name)][-1]
    checkpoint["state_dict"][name] = torch.full_like(checkpoint["state_dict"][name], math.nan)
    write_checkpoint(path, checkpoint)
    return path


def test_nan_probabilities_are_an_error_of_the_recording(trained: Path, long_recording: Path) -> None:
    """They would name a class all the same: the first one."""
    checkpoint = broken(trained, long_recording.with_name("nan.ckpt"), "running_var")
    message = (
        "the probabilities from 0.000 to 0.250 s hold NaN or infinite values; the checkpoint may be damaged, restore it"
    )
    for options in (["--per-recording"], []):
        code, out, err = invoke("predict", checkpoint, long_recording, long_recording, *options)
        assert code == 1
        assert all(not row["predicted"] for row in rows(out))
        assert rows(out)[0]["error"] == f"{long_recording}: {message}"
        assert "1 of 2 recordings could not be read" in err or "2 of 2 recordings could not be read" in err
    code, out, _ = invoke("predict", checkpoint, long_recording, "--format", "json")
    assert code == 1
    assert [sorted(entry) for entry in json.loads(out)] == [["error", "path"]] * 16
    code, out, err = invoke("embed", checkpoint, long_recording)
    assert (code, len(rows(out))) == (1, 0)
    assert "the embedding from 0.000 to 0.250 s hold" in err
    code, out, err = invoke("evaluate", checkpoint)
    assert (code, out) == (2, "")
    assert re.search(
        r"error: the probabilities of (\d+) of \1 test clips hold NaN or infinite values, the first is ", err
    )


def test_one_invalid_window_invalidates_the_recording(trained: Path) -> None:
    classifier = load_classifier(trained)
    even = np.full(classifier.task.num_classes, 1 / 3, np.float32)
    windows = [
        Prediction(Path("a"), error="first"),
        Prediction(Path("a"), 1.0, 2.0, even, ["x"]),
        Prediction(Path("a"), error="second"),
    ]
    assert _of_recording(classifier, windows).error == "first"
    assert _of_recording(classifier, windows[:2]).error == "first"


def test_nan_weights_are_rejected(trained: Path, tmp_path: Path, tiny_urbansound8k: Path) -> None:
    checkpoint = broken(trained, tmp_path / "nan.ckpt", r"network.*weight$")
    for command in (
        ["predict", checkpoint, tiny_urbansound8k],
        ["embed", checkpoint, tiny_urbansound8k],
        ["evaluate", checkpoint],
    ):
        code, out, err = invoke(*command)
        assert (code, out) == (2, "")
        assert re.fullmatch(r"error: .*nan.ckpt: network\S+ holds NaN or infinite weights; .*\n", err)
