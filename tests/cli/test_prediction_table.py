"""Table of predictions for the terminal."""

from pathlib import Path

import numpy as np
import pytest

from audio_lightning.cli.prediction_table import print_predictions
from audio_lightning.core.task import AudioTask
from audio_lightning.inference.predict import Prediction

TASK = AudioTask(("siren", "dog", "drill", "car"), 8000, 8000)


def answer(path: str, start: float, labels: list[str], *probabilities: float) -> Prediction:
    return Prediction(Path(path), start, start + 1, np.array(probabilities), labels)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_rows_have_the_prediction_and_the_next_classes(
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
    folder = "" if text.startswith("recordings in sounds:") else "sounds/"
    assert text.count(f"{folder}a street.wav") >= 2
    for shown in ("0.0 to 1.0", "1.5 to 2.5", "0.700, 0.600", "error:", f"{folder}[red].wav", "sounds"):
        assert shown in text
    assert "[red].wav:" not in text  # its row names the recording
    if width == 120:
        assert "none of the classes" in text
        assert [line.split() for line in text.splitlines()[2:4]] == [
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


LONG = AudioTask(("air_conditioner", "children_playing", "engine_idling", "street_music"), 8000, 32000)


def urban(folder: str, start: float = 0) -> list[Prediction]:
    """Predictions with names and classes as long as those of UrbanSound8K."""
    names = ("159738-8-0-13.wav", "7383-3-0-0.wav", "a siren far away.wav")
    shares = np.array([0.1, 0.7, 0.15, 0.05])
    return [
        Prediction(Path(f"{folder}/{name}"), start, start + 4, shares, [LONG.classes[place]])
        for place, name in enumerate(names)
    ]


@pytest.mark.parametrize("start", [0, 3596])
@pytest.mark.parametrize("folder", ["recordings/fold5", "/data/recordings of a summer in the city/fold5"])
def test_eighty_columns_hold_one_table(
    start: float, folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = urban(folder, start)
    print_predictions(found, LONG, None)
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert text.count("\n\n") == 0
    assert max(map(len, lines)) <= 80
    for prediction in found:
        (line,) = (line for line in lines if prediction.path.name in line)
        assert prediction.labels
        assert prediction.labels[0] in line
        assert f"{start:.1f} to {start + 4:.1f}" in line
    assert f"recordings in {folder}:" in lines or folder in text


def test_requested_classes_are_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_predictions(urban("recordings"), LONG, 4)
    text = capsys.readouterr().out
    assert all(f"{name} 0." in text for name in LONG.classes)


def test_a_path_is_shortened_from_the_left_only_if_it_stays_unique(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    north, south = "winter/first week/mornings in the north", "summer/last week/evenings in the south"
    print_predictions([*urban(north)[:1], *urban(south)[1:2]], LONG, None)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 60
    assert [line.split()[0] for line in text.splitlines() if "0.0 to" in line] == [
        "…/159738-8-0-13.wav", "…/7383-3-0-0.wav"
    ]  # fmt: skip
    print_predictions([*urban(north)[:1], *urban(south)[:1]], LONG, None)
    text = capsys.readouterr().out
    assert f"{north}/159738-8-0-13.wav" in text
    assert f"{south}/159738-8-0-13.wav" in text


def test_a_long_folder_is_named_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = "/a/long/way/to/the/recordings/of/a/summer"
    names = [f"{folder}/{name}" for name in ("north/a.wav", "south/b.wav")]
    print_predictions([answer(name, 0, ["dog"], 0.1, 0.7, 0.15, 0.05) for name in names], TASK, None)
    above, _, *lines = capsys.readouterr().out.splitlines()
    assert above == f"recordings in {folder}:"
    assert [line.split()[0] for line in lines][-2:] == ["north/a.wav", "south/b.wav"]
