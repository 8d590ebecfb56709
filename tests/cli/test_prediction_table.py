"""Predictions as a table to read."""

from pathlib import Path

import numpy as np
import pytest

from audio_lightning.cli.prediction_table import print_predictions
from audio_lightning.inference.predict import Prediction
from audio_lightning.task import AudioTask

TASK = AudioTask(("siren", "dog", "drill", "car"), 8000, 8000)


def answer(path: str, start: float, labels: list[str], *probabilities: float) -> Prediction:
    return Prediction(Path(path), start, start + 1, np.array(probabilities), labels)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_row_has_the_answer_and_the_next_most_probable(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir("/")
    found = [
        answer("/sounds/a street.wav", 0, ["dog"], 0.1, 0.7, 0.15, 0.05),
        answer("/sounds/a street.wav", 1.5, ["dog", "siren"], 0.6, 0.7, 0.15, 0.05),
        answer("/sounds/b.wav", 0, [], 0.1, 0.2, 0.15, 0.05),
        Prediction(Path("/sounds/[red].wav"), error="/sounds/[red].wav: cannot be read"),
    ]
    assert print_predictions(found, TASK, None) == 1
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert text.count("sounds/a street.wav") >= 2
    for shown in ("0.0 to 1.0", "1.5 to 2.5", "0.700, 0.600", "error:", "sounds/[red].wav"):
        assert shown in text
    assert "[red].wav:" not in text  # its row names the recording
    if width == 120:
        assert "none of the classes" in text
        assert [line.split() for line in text.splitlines()[1:3]] == [
            ["sounds/a", "street.wav", "0.0", "to", "1.0", "dog", "0.700", "drill", "0.150,", "siren", "0.100"],
            ["sounds/a", "street.wav", "1.5", "to", "2.5", "dog,", "siren", "0.700,", "0.600", "drill", "0.150"],
        ]


def test_the_number_of_classes_can_be_chosen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_predictions([answer("a.wav", 0, ["dog"], 0.1, 0.7, 0.15, 0.05)], TASK, 1)
    assert "drill" not in capsys.readouterr().out
    print_predictions([answer("a.wav", 0, ["dog"], 0.1, 0.7, 0.15, 0.05)], TASK, 4)
    assert "drill 0.150, siren 0.100, car 0.050" in capsys.readouterr().out


def test_a_long_folder_is_named_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = "/a/long/way/to/the/recordings/of/a/summer"
    names = [f"{folder}/{name}" for name in ("north/a.wav", "south/b.wav")]
    print_predictions([answer(name, 0, ["dog"], 0.1, 0.7, 0.15, 0.05) for name in names], TASK, None)
    above, _, *lines = capsys.readouterr().out.splitlines()
    assert above == f"recordings in {folder}:"
    assert [line.split()[0] for line in lines][-2:] == ["north/a.wav", "south/b.wav"]
