"""Live sound: the windows, their times and latencies, with files and pipes as the source."""

import io
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from loudness import Loudness, write_bursts
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.live import (
    LiveAnswer,
    LiveStatistics,
    listen,
    microphone,
    microphone_rate,
    of_recording,
    raw_pcm,
)
from audio_lightning.inference.predict import predict


def answers(path: Path, classifier: Any = None, **options: Any) -> tuple[list[LiveAnswer], LiveStatistics]:
    statistics, rate = LiveStatistics(), soundfile.info(path).samplerate
    return list(listen(classifier or Loudness(), of_recording(path), rate, statistics, **options)), statistics


@pytest.mark.parametrize("rate", [8000, 11025, 48000])
@pytest.mark.parametrize(("window", "hop"), [(None, 0.1), (0.5, 0.5), (0.25, 0.7), (None, None)])
def test_windows_begin_at_multiples_of_the_hop(
    tmp_path: Path, rate: int, window: float | None, hop: float | None
) -> None:
    """Predictions equal those of the samples at the same times, at any sample rate of the source."""
    path = write_bursts(tmp_path / "a.wav", [(2, 4)], 6, rate)
    found, statistics = answers(path, Loudness(window=window or 1.0), window_seconds=window, hop_seconds=hop)
    window, hop = window or 1.0, hop or 0.25
    assert [answer.start_seconds for answer in found] == pytest.approx([hop * k for k in range(len(found))])
    assert found[-1].stop_seconds == pytest.approx(6, abs=hop + 0.05)
    for answer in found:
        assert answer.stop_seconds - answer.start_seconds == pytest.approx(window)
        filled = max(0.0, min(answer.stop_seconds, 4) - max(answer.start_seconds, 2))
        assert answer.probabilities[0] == pytest.approx(filled / window, abs=0.01)
    assert statistics.heard_seconds == 6
    assert len(statistics.latencies) == len(found)
    assert 0 < statistics.real_time_factor < 10


class Levels(Loudness):
    """The probability of ``loud`` is the mean absolute sample, so that every sample counts."""

    def probabilities(self, waveform: Any) -> Any:
        share = waveform.abs().mean(dim=1)
        return torch.stack([share, 1 - share], dim=1)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 192_000])
@pytest.mark.parametrize("seconds", [1, 3])
def test_the_end_of_a_recording_is_predicted_as_by_predict(tmp_path: Path, rate: int, seconds: int) -> None:
    """The resampler holds back samples, which the window at the end of the source needs."""
    noise = np.random.default_rng(0).uniform(-1, 1, seconds * rate)
    soundfile.write(tmp_path / "a.wav", noise, rate, subtype="FLOAT")
    found, _ = answers(tmp_path / "a.wav", Levels(), hop_seconds=0.5)
    classifier: Any = Levels()
    expected = list(predict(classifier, [tmp_path / "a.wav"], hop_seconds=0.5))
    assert [answer.start_seconds for answer in found] == [one.start_seconds for one in expected]
    for answer, one in zip(found, expected):
        np.testing.assert_allclose(answer.probabilities, one.probabilities, atol=1e-6)


def test_latency_is_measured_from_the_last_sample(tmp_path: Path) -> None:
    class Slow(Loudness):
        def probabilities(self, waveform: Any) -> Any:
            time.sleep(0.05)
            return super().probabilities(waveform)

    found, statistics = answers(write_bursts(tmp_path / "a.wav", [], 3), Slow(), hop_seconds=1.0)
    assert len(found) == 3
    assert all(0.05 <= answer.latency_seconds < 1 for answer in found)
    assert statistics.busy_seconds >= 0.15


def test_real_time_recordings_keep_their_pace(tmp_path: Path) -> None:
    path = write_bursts(tmp_path / "a.wav", [], 0.4)
    began = time.perf_counter()
    assert sum(len(samples) for samples, _ in of_recording(path, real_time=True)) == 3200
    assert time.perf_counter() - began >= 0.39


def test_raw_pcm_comes_in_pieces_of_any_length() -> None:
    """Also in such as divide a sample."""

    class Dribble(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 1, 333))

    samples = np.arange(-2000, 2000, dtype="<i2")
    pieces = [piece for piece, _ in raw_pcm(Dribble(samples.tobytes()), 8000)]
    np.testing.assert_array_equal(np.concatenate(pieces) * 32768, samples)


@pytest.mark.parametrize("rate", [1, 10, 1_000_000])
def test_pipes_of_any_allowed_rate_are_read_to_their_end(rate: int) -> None:
    samples = np.arange(-50, 50, dtype="<i2")
    pieces = [piece for piece, _ in raw_pcm(io.BytesIO(samples.tobytes()), rate)]
    np.testing.assert_array_equal(np.concatenate(pieces) * 32768, samples)


@pytest.mark.parametrize("rate", [-1, 0, 1_000_001, 99999999999999999999])
def test_implausible_rates_are_reported_before_the_sound_is_read(loud: Path, rate: int) -> None:
    result = CliRunner().invoke(app, ["listen", str(loud), "--source", "-", "--rate", str(rate)], input=b"1234")
    said = f"error: --rate {rate}: expected a sample rate from 1 to 1,000,000 Hz; give that of the source\n"
    assert (result.exit_code, result.stderr) == (2, said)
    with pytest.raises(ConfigError, match="expected a sample rate from 1"):
        listen(Loudness(), iter([]), rate, LiveStatistics())  # type: ignore[arg-type]


def microphones(**values: Any) -> SimpleNamespace:
    """The package for microphones, with one that gives three blocks."""

    class Stream:
        def __init__(self, callback: Any, blocksize: int, channels: int, **_: Any) -> None:
            for _ in range(3):
                callback(np.full((blocksize, channels), 0.5, np.float32), blocksize, None, None)

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    defaults = {
        "InputStream": Stream,
        "PortAudioError": RuntimeError,
        "query_devices": lambda *_: {"default_samplerate": 44100.0},
    }
    return SimpleNamespace(**{**defaults, **values})


def test_a_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", microphones())
    assert microphone_rate() == 44100
    blocks = microphone(44100, LiveStatistics())
    assert [len(next(blocks)[0]) for _ in range(3)] == [2205] * 3


def test_blocks_are_dropped_and_counted_where_the_classifier_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", microphones())
    monkeypatch.setattr("audio_lightning.inference.live.MOST_WAITING", 1)
    statistics = LiveStatistics()
    next(microphone(1000, statistics))
    assert statistics.dropped_seconds == pytest.approx(0.1)


def test_without_a_microphone_or_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("no device")

    monkeypatch.setitem(sys.modules, "sounddevice", microphones(query_devices=none))
    with pytest.raises(ConfigError, match="no microphone found"):
        microphone_rate()
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ConfigError, match=r"pip install 'audio-lightning\[listen\]'"):
        microphone_rate()


@pytest.fixture
def loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("audio_lightning.inference.load.load_classifier", lambda *_, **__: Loudness())
    (tmp_path / "best.ckpt").touch()
    return tmp_path / "best.ckpt"


def test_the_command_on_a_file_and_on_a_pipe(loud: Path, tmp_path: Path) -> None:
    path = write_bursts(tmp_path / "a.wav", [(1, 3)], 3)
    by_file = CliRunner().invoke(app, ["listen", str(loud), "--source", str(path), "--hop", "1"])
    lines = ["0.00 to 1.00 s: silence 1.000", "1.00 to 2.00 s: loud 1.000", "2.00 to 3.00 s: loud 1.000"]
    assert by_file.stdout.splitlines() == lines
    assert re.match(r"3 windows in 3\.0 s of sound: latency .* real-time factor \d\.\d{4}\n", by_file.stderr)
    samples, _ = soundfile.read(path, dtype="int16")
    options = ["listen", str(loud), "--source", "-", "--rate", "8000", "--hop", "1", "--threshold", "0.9"]
    by_pipe = CliRunner().invoke(app, options, input=samples.tobytes())
    assert by_pipe.exit_code == 0
    assert by_pipe.stdout.splitlines() == lines


def test_conflicting_options_are_reported_in_one_line(loud: Path, tmp_path: Path) -> None:
    for words in (
        ["--source", "-"],
        ["--rate", "8000"],
        ["--source", "a.wav", "--microphone", "0"],
        ["--source", "gone.wav"],
    ):
        result = CliRunner().invoke(app, ["listen", str(loud), *words])
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1


def test_sounds_shorter_than_a_window_are_reported(loud: Path, tmp_path: Path) -> None:
    path = write_bursts(tmp_path / "a.wav", [], 0.5)
    result = CliRunner().invoke(app, ["listen", str(loud), "--source", str(path)])
    assert result.exit_code == 0
    assert "no predictions: the sound was shorter than one window" in result.stderr
