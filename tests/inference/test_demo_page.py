"""The local demo page of a classifier."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from typer.testing import CliRunner

import audio_lightning as al
from audio_lightning.cli.main import app
from audio_lightning.core.errors import AudioError
from audio_lightning.figures.evaluation import png
from audio_lightning.figures.spectrogram import draw_spectrogram
from audio_lightning.inference.demo import predict_upload
from audio_lightning.inference.load import load_classifier


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    samples = np.concatenate([tiny.sound(label, np.random.default_rng(0)) for label in ("noise", "low_tone")])
    soundfile.write(tmp_path / "a.wav", samples, tiny.RATE)
    return tmp_path / "a.wav"


def test_page_predictions_equal_those_of_predict(trained: Path, sound: Path) -> None:
    shares, figure, rows = predict_upload(load_classifier(trained), str(sound))
    expected = al.predict(trained, sound, per_recording=True)
    assert shares is not None
    assert figure is not None
    for name, share in shares.items():
        assert share == pytest.approx(expected[f"probability {name}"].iloc[0], abs=1e-6)
    windows = al.predict(trained, sound)
    assert [row[2] for row in rows] == windows["predicted"].tolist()
    assert [row[:2] for row in rows] == [["0.00", "0.25"], ["0.25", "0.50"]]


def test_no_recording_gives_an_empty_result(trained: Path) -> None:
    assert predict_upload(load_classifier(trained), None) == (None, None, [])


def test_unreadable_uploads_are_named_without_their_folder(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"^a\.wav"):
        predict_upload(load_classifier(trained), str(tmp_path / "a.wav"))


def test_the_spectrogram_shows_seconds_and_hertz() -> None:
    time = np.arange(16_000) / 8000
    figure = draw_spectrogram(0.5 * np.sin(2 * np.pi * 1000 * time).astype(np.float32), 8000)
    (axes,) = figure.axes
    (image,) = axes.images
    assert axes.get_xlim() == (0.0, 2.0)
    loudest = np.asarray(image.get_array()).mean(axis=1).argmax()
    labels = [float(text.get_text().replace(",", "")) for text in axes.get_yticklabels()]
    assert np.interp(loudest, axes.get_yticks(), labels) == pytest.approx(1000, rel=0.1)
    assert png(figure).startswith(b"\x89PNG")


def test_missing_package_is_reported(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audio_lightning.inference.demo.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["demo", str(trained), "--no-browser"])
    assert result.exit_code == 2
    assert result.stderr == ("error: demo: gradio is not installed; pip install 'audio-lightning[demo]'\n")


def start(*arguments: object) -> subprocess.Popen[str]:
    """The command in a process of its own: gradio leaves sockets and loops behind."""
    line = [sys.executable, "-m", "audio_lightning", "demo", "--no-browser", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_page_is_served_on_localhost_only(trained: Path) -> None:
    pytest.importorskip("gradio")
    with start(trained, "--port", 0) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[4].rstrip(";")
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}config", timeout=60) as response:
            components = json.loads(response.read())["components"]
        with urllib.request.urlopen(url, timeout=60) as response:
            html = response.read().decode()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in error
    assert {"audio", "label", "plot", "dataframe"} <= {component["type"] for component in components}
    assert "fonts.googleapis.com" not in html


def test_used_ports_are_reported_in_one_line(trained: Path) -> None:
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start(trained, "--port", taken.getsockname()[1]) as process:
            _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert error.startswith("error: ")
    assert "choose another --port" in error
    assert error.count("\n") == 1
