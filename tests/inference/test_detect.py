"""Detection in recordings, by a classifier whose scores are known."""

import csv
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import recordings
import soundfile
import torch
import untrained
from loudness import Loudness, write_bursts
from typer.testing import CliRunner

import audio_lightning as al
from audio_lightning.cli.main import app
from audio_lightning.core.errors import AudioError, ConfigError
from audio_lightning.inference.detect import (
    DetectionPlan,
    Job,
    Processes,
    detect,
    detect_all,
    make_jobs,
    number_of_processes,
)
from audio_lightning.inference.events import Event, EventSettings
from audio_lightning.inference.load import load_classifier


def plan(hop: float | None = 0.1, window: float | None = None, **options: Any) -> DetectionPlan:
    return DetectionPlan(EventSettings({"loud": 0.6}, **options), window, hop)


def events(classifier: Any, path: Path, wanted: DetectionPlan) -> list[Event]:
    found: list[Event] = []
    detect(classifier, path, wanted, found.append)
    return found


@pytest.mark.parametrize(("window", "hop"), [(1.0, 0.1), (1.0, 0.25), (0.5, 0.05), (0.25, 0.1)])
@pytest.mark.parametrize("rate", [8000, 11025])
def test_onsets_and_offsets_are_where_the_sound_is(tmp_path: Path, window: float, hop: float, rate: int) -> None:
    """At any window, overlap and sample rate of the recording."""
    path = write_bursts(tmp_path / "a.wav", [(2.03, 4.5), (6.777, 9.0)], 12, rate)
    found = events(Loudness(window=window), path, plan(hop, window))
    assert [(event.start_seconds, event.stop_seconds) for event in found] == [
        (pytest.approx(2.03, abs=0.002), pytest.approx(4.5, abs=0.002)),
        (pytest.approx(6.777, abs=0.002), pytest.approx(9.0, abs=0.002)),
    ]


@pytest.mark.parametrize("window", [0.25, 0.5, 1.0])
def test_the_error_of_an_onset_grows_with_the_window_only_by_the_response(tmp_path: Path, window: float) -> None:
    """A classifier that needs 0.8 of a window is late by 0.3 windows; one that needs half of it is not."""
    path = write_bursts(tmp_path / "a.wav", [(2.0, 5.0)], 8)
    for needed, bias in (0.5, 0.0), (0.8, 0.3):
        classifier = Loudness(lambda share, needed=needed: (share >= needed).float(), window=window)
        (event,) = events(classifier, path, plan(window / 20, window))
        assert event.start_seconds - 2.0 == pytest.approx(bias * window, abs=window / 20)


@pytest.mark.full
def test_an_onset_after_three_hours_is_exact(tmp_path: Path) -> None:
    onset = 3 * 3600 + 0.5
    path = write_bursts(tmp_path / "long.flac", [(onset, onset + 2)], onset + 5, 1000)
    (event,) = events(Loudness(sample_rate=1000), path, plan())
    assert event.start_seconds == pytest.approx(onset, abs=0.001)
    assert event.stop_seconds == pytest.approx(onset + 2, abs=0.001)


def test_a_short_recording_is_one_window(tmp_path: Path) -> None:
    (event,) = events(
        Loudness(lambda share: share * 0 + 0.9), write_bursts(tmp_path / "a.wav", [(0, 0.3)], 0.3), plan()
    )
    assert (event.start_seconds, event.stop_seconds) == (0.0, 0.3)


def test_a_damaged_recording_has_the_events_before_the_damage(tmp_path: Path) -> None:
    samples, _ = soundfile.read(write_bursts(tmp_path / "a.wav", [(1, 2.5)], 40), dtype="float32")
    samples[30 * 8000] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    found: list[Event] = []
    with pytest.raises(AudioError, match=r"the first at 30\.000 s"):
        detect(Loudness(), tmp_path / "a.wav", plan(), found.append)
    assert [event.start_seconds for event in found] == [pytest.approx(1, abs=0.002)]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (plan(window=2.0), "--window 2"),
        (plan(hop=0.0), "--hop 0"),
        (plan(merge_gap_seconds=-1.0), "--merge-gap -1"),
        (plan(min_duration_seconds=float("nan")), "--min-duration nan"),
    ],
)
def test_invalid_windows_and_durations(wanted: DetectionPlan, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wanted.resolved(Loudness())


def test_a_quarter_of_a_window_is_the_hop_by_default() -> None:
    wanted = plan(hop=None).resolved(Loudness())
    assert (wanted.window_seconds, wanted.hop_seconds) == (1.0, 0.25)


def test_tables_mirror_the_folders_of_the_recordings(tmp_path: Path) -> None:
    for name in ("in/a.wav", "in/deep/er/b.wav", "in/deep/er/b.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_bursts(tmp_path / name, [], 1)
    jobs = make_jobs([tmp_path / "in"], tmp_path / "out", "csv")
    assert [str(job.output and job.output.relative_to(tmp_path / "out")) for job in jobs] == [
        "a.detections.csv",
        "deep/er/b.flac.detections.csv",
        "deep/er/b.wav.detections.csv",
    ]
    (tmp_path / "other").mkdir()
    write_bursts(tmp_path / "other/a.wav", [], 1)
    with pytest.raises(ConfigError, match="would be written for both"):
        make_jobs([tmp_path / "in", tmp_path / "other"], tmp_path / "out", "csv")


def test_tables_are_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the program is killed: a partial table has another, hidden name."""
    path, output = write_bursts(tmp_path / "a.wav", [(1, 2.5)], 5), tmp_path / "out/a.csv"

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("audio_lightning.inference.events.EventFinder.finish", die)
        with pytest.raises(Killed):
            list(detect_all(Loudness(), [Job(path, output)], plan()))
    assert list((tmp_path / "out").iterdir()) == []
    (outcome,) = detect_all(Loudness(), [Job(path, output)], plan())
    assert len(pd.read_csv(output)) == len(outcome.events) == 1
    assert outcome.seconds == 5.0


@pytest.fixture
def loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that loads as the classifier of loudness."""
    monkeypatch.setattr("audio_lightning.inference.load.load_classifier", lambda *_, **__: Loudness())
    (tmp_path / "best.ckpt").touch()
    return tmp_path / "best.ckpt"


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["detect", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_command_prints_a_table_and_lists_unreadable_recordings(loud: Path, tmp_path: Path) -> None:
    path = write_bursts(tmp_path / "a.wav", [(2, 3.5)], 8)
    recordings.DAMAGED["nan.wav"](tmp_path / "nan.wav")
    code, out, err = invoke(loud, tmp_path / "nan.wav", path, "--threshold", 0.6, "--hop", 0.1)
    assert code == 1
    (row,) = csv.DictReader(out.splitlines())
    assert row == {
        "path": str(path),
        "start_seconds": "2.000000",
        "end_seconds": "3.500000",
        "label": "loud",
        "confidence": "1.0000",
    }
    assert "nan.wav: holds NaN" in err
    assert "1 of 2 recordings could not be read" in err
    assert "note: not reported: silence" in err
    assert re.search(r"1 events in 2 recordings of 0.1 min \(in .* real-time factor", err)


def test_a_folder_is_resumed(loud: Path, tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    for name in ("in/a.wav", "in/deep/b.wav"):
        write_bursts(tmp_path / name, [(2, 3.5)], 8)
    options = ["--output", tmp_path / "out", "--format", "audacity", "--threshold", 0.6, "--hop", 0.1]
    assert invoke(loud, tmp_path / "in", *options)[0] == 0
    first, second = tmp_path / "out/a.detections.labels.txt", tmp_path / "out/deep/b.detections.labels.txt"
    assert first.read_text() == second.read_text() == "2.000000\t3.500000\tloud\n"
    first.write_text("as it was\n")
    second.unlink()
    code, _, err = invoke(loud, tmp_path / "in", *options, "--skip-existing")
    assert code == 0
    assert "1 skipped, as their tables exist" in err
    assert first.read_text() == "as it was\n"
    assert second.read_text() == "2.000000\t3.500000\tloud\n"


def test_suffix_sets_the_format(loud: Path, tmp_path: Path) -> None:
    path = write_bursts(tmp_path / "a.wav", [(2, 3.5)], 8)
    for name, start in ("new/a.txt", "Selection\tView"), ("a.csv", "path,"), ("a.jsonl", '{"path"'):
        assert invoke(loud, path, "--output", tmp_path / name, "--hop", 0.1)[0] == 0
        assert (tmp_path / name).read_text().startswith(start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--skip-existing"], "--skip-existing: needs --output FOLDER"),
        (["--format", "audacity"], "a label track is for one recording, found 2"),
        (["--format", "parquet"], "cannot be written to stdout"),
        (["--threshold", "lud=0.5"], "did you mean loud?"),
        (["--threshold", "much"], "expected auto, a probability above 0 and up to 1, or CLASS=PROBABILITY"),
        (["--event-duration", "lud=0.5"], "--event-duration lud=0.5: no such class; did you mean loud?"),
        (["--event-duration", "0"], "--event-duration 0: expected auto, none, a number of seconds above 0, or CLASS="),
        (["--ignore", "loud"], "no class is left to report"),
    ],
)
def test_invalid_options_are_reported_in_one_line(loud: Path, tmp_path: Path, options: list[str], message: str) -> None:
    if "parquet" in options:
        pytest.importorskip("pyarrow")
    (tmp_path / "in").mkdir()
    for name in ("in/a.wav", "in/b.wav"):
        write_bursts(tmp_path / name, [], 1)
    code, _, err = invoke(loud, tmp_path / "in", *options)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_api_function(tmp_path: Path) -> None:
    path = write_bursts(tmp_path / "a.wav", [(2, 3.5), (5, 6.2)], 8)
    (tmp_path / "b.wav").write_text("no sound")
    found = al.detect(Loudness(), tmp_path, threshold=0.6, hop_seconds=0.1)
    assert list(found.columns) == ["path", "start_seconds", "end_seconds", "label", "confidence", "error"]
    assert list(found["path"]) == [str(path), str(path), str(tmp_path / "b.wav")]
    np.testing.assert_allclose(found["start_seconds"], [2, 5, np.nan], atol=1e-3)
    assert "b.wav" in found["error"][2]
    merged = al.detect(Loudness(), path, threshold=0.6, hop_seconds=0.1, merge_gap_seconds=2)
    assert len(merged) == 1


@pytest.fixture
def click(tmp_path: Path) -> Path:
    return write_bursts(tmp_path / "click.wav", [(4.0, 4.2), (7.0, 9.0)], 12)


def responds(typical: float) -> Loudness:
    """A classifier that responds to half of the click, and stores a typical duration."""
    classifier = Loudness(lambda share: (share >= 0.1).float())
    classifier.sounding_seconds = torch.tensor([typical, np.nan])
    return classifier


@pytest.mark.parametrize(
    ("options", "start", "stop"),
    [
        ([], 4.0, 4.2),
        (["auto"], 4.0, 4.2),
        (["none"], 3.6, 4.6),
        (["0.6"], 3.8, 4.4),
        (["none", "loud=0.4"], 3.9, 4.3),
    ],
)
def test_short_events_have_the_duration_of_the_option(
    click: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], start: float, stop: float
) -> None:
    monkeypatch.setattr("audio_lightning.inference.load.load_classifier", lambda *_, **__: responds(0.2))
    (tmp_path / "best.ckpt").touch()
    arguments = [word for value in options for word in ("--event-duration", value)]
    code, out, err = invoke(tmp_path / "best.ckpt", click, "--threshold", 0.6, "--hop", 0.05, *arguments)
    assert code == 0, err
    assert "typical durations" not in err
    found = [(float(row["start_seconds"]), float(row["end_seconds"])) for row in csv.DictReader(out.splitlines())]
    long = (pytest.approx(6.6, abs=0.06), pytest.approx(9.4, abs=0.06))
    assert found == [(pytest.approx(start, abs=0.06), pytest.approx(stop, abs=0.06)), long]
    given = {"": "none", "loud": 0.4} if len(options) > 1 else options[0] if options else "auto"
    frame = al.detect(responds(0.2), click, threshold=0.6, hop_seconds=0.05, event_duration=given)
    np.testing.assert_allclose(frame[["start_seconds", "end_seconds"]], found, atol=1e-6)


def test_none_is_no_duration_in_python(click: Path) -> None:
    frame = al.detect(responds(0.2), click, threshold=0.6, hop_seconds=0.05, event_duration=None)
    assert frame["start_seconds"][0] == pytest.approx(3.6, abs=0.06)


def test_a_checkpoint_without_durations_is_noted(loud: Path, tmp_path: Path) -> None:
    path = write_bursts(tmp_path / "a.wav", [(2, 3.5)], 8)
    _, _, err = invoke(loud, path, "--threshold", 0.6)
    assert "note: the checkpoint contains no typical durations of the classes" in err
    assert "typical durations" not in invoke(loud, path, "--threshold", 0.6, "--event-duration", "none")[2]


@pytest.mark.full
@pytest.mark.parametrize(
    ("typed", "recordings", "device", "free", "number", "why"),
    [
        (None, 3, "cpu", 1e12, 1, None),
        (None, 100, "cpu", 1e12, 4, None),
        (None, 100, "cuda", 1e12, 1, None),
        (None, 100, "cpu", 1, 1, None),
        (3, 3, "cpu", 1e12, 3, None),
        (3, 2, "cpu", 1e12, 2, None),
        (99, 100, "cpu", 1e12, 4, "--workers 99: 4 processes instead, one for each of 4 cores"),
        (99, 100, "cpu", 1, 1, "GB are free"),
    ],
)
def test_processes_are_limited_by_cores_and_memory(
    monkeypatch: pytest.MonkeyPatch,
    typed: int | None,
    recordings: int,
    device: str,
    free: float,
    number: int,
    why: str | None,
) -> None:
    monkeypatch.setattr("audio_lightning.inference.detect.cores", lambda: 4)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free))

    found, note = number_of_processes(typed, recordings, device)

    assert found == number
    assert note is None if why is None else note is not None and why in note


def test_parallel_processes_detect_the_same_events(tmp_path: Path) -> None:
    checkpoint = untrained.write_member(tmp_path / "a.ckpt", *untrained.CNN)
    for number in range(3):
        recordings.write_tones(tmp_path / f"{number}.wav", 1.0 + number)
    (tmp_path / "bad.wav").write_text("no sound")
    jobs = make_jobs([tmp_path / f"{name}.wav" for name in (2, "bad", 0, 1)])
    wanted = DetectionPlan(EventSettings(dict.fromkeys(["high_tone", "low_tone", "noise"], 0.2)))
    classifier = load_classifier(checkpoint)
    expected = list(detect_all(classifier, jobs, wanted))
    found = list(detect_all(classifier, jobs, wanted, processes=Processes(2, checkpoint)))
    assert [outcome.recording for outcome in found] == [job.recording for job in jobs]
    assert [outcome.error for outcome in found] == [outcome.error for outcome in expected]
    assert [len(outcome.events) for outcome in found] == [len(outcome.events) for outcome in expected]
    assert sum(len(outcome.events) for outcome in found) > 0
