"""Detected events against annotated ones."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from loudness import Loudness, write_bursts

import audio_lightning as al
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.inference.event_metrics import evaluate_events, onset_errors, read_reference


def table(*rows: tuple[str, float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["path", "start_seconds", "end_seconds", "label"]).assign(confidence=0.9)


REFERENCE = table(("a", 1, 2, "x"), ("a", 5, 7, "x"), ("a", 5, 6, "y"), ("b", 0, 1, "x"))
FOUND = table(("a", 1.1, 2.2, "x"), ("a", 4.5, 5.1, "x"), ("a", 5.3, 7, "x"), ("b", 3, 4, "x"), ("b", 0.1, 1, "y"))


def test_onset_errors_are_of_the_events_that_overlap_most() -> None:
    np.testing.assert_allclose(onset_errors(FOUND, REFERENCE), [0.1, 0.3])
    assert len(onset_errors(FOUND[:0], REFERENCE)) == 0
    once = table(("a", 0, 10, "x"))
    assert len(onset_errors(once, REFERENCE)) == 1, "a detected event is used once"


def test_missing_packages_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sed_eval", None)
    with pytest.raises(ConfigError, match=r"pip install 'audio-lightning\[events\]'"):
        evaluate_events(FOUND, REFERENCE, seconds={"a": 10, "b": 10})


def test_f1_of_events_and_segments() -> None:
    """By hand: of 4 annotated and 5 detected events one is right, (1, 2) as (1.1, 2.2)."""
    pytest.importorskip("sed_eval")
    pytest.importorskip("sed_scores_eval")
    found = evaluate_events(FOUND, REFERENCE, seconds={"a": 10.0, "b": 10.0})
    assert found["event_precision"] == pytest.approx(1 / 5)
    assert found["event_recall"] == pytest.approx(1 / 4)
    assert found["event_f1"] == pytest.approx(2 / 9)
    # Seconds of x annotated: a 1, 5, 6; b 0. Detected: a 1, 2, 4, 5, 6; b 3. Of y: a 5; b 0.
    assert found["segment_f1"] == pytest.approx(2 * 3 / (5 + 7))
    assert found["onset_error_median"] == pytest.approx(0.2)
    assert found["events_matched"] == 2
    assert 0 <= found["psds"] < 1
    right = evaluate_events(REFERENCE, REFERENCE, seconds={"a": 10.0, "b": 10.0})
    assert {name: right[name] for name in ("event_f1", "segment_f1", "psds", "onset_error_median")} == {
        "event_f1": 1.0,
        "segment_f1": 1.0,
        "psds": 1.0,
        "onset_error_median": 0.0,
    }


def test_no_events_is_an_error() -> None:
    with pytest.raises(DataError, match="no events"):
        evaluate_events(FOUND[:0], REFERENCE[:0], seconds={"a": 10})


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_annotations_of_recordings(tmp_path: Path) -> None:
    recordings = [tmp_path / name for name in ("in/rec.wav", "in/rec.2.wav", "in/sub/rec.wav")]
    write(tmp_path / "truth/in/rec.txt", "1\t2\tx\n")
    write(tmp_path / "truth/rec.2.Table.1.selections.txt", "Begin Time (s)\tEnd Time (s)\tAnnotation\n3\t4\ty\n")
    write(tmp_path / "truth/sub/rec.csv", "start,stop,label\n5,6,z\n")
    found = read_reference(tmp_path / "truth", recordings)
    assert found.to_numpy().tolist() == [
        [str(recordings[0]), 1.0, 2.0, "x"],
        [str(recordings[1]), 3.0, 4.0, "y"],
        [str(recordings[2]), 5.0, 6.0, "z"],
    ]
    one = read_reference(tmp_path / "truth/in/rec.txt", recordings[:1])
    assert one.to_numpy().tolist() == [[str(recordings[0]), 1.0, 2.0, "x"]]
    several = write(
        tmp_path / "all.csv", "path,start,stop,label\nD:\\x\\rec.2.wav,1,2,x\nother.wav,1,2,x\nrec.wav,3,4,y\n"
    )
    found = read_reference(several, recordings[:2])
    assert found.to_numpy().tolist() == [[str(recordings[1]), 1.0, 2.0, "x"], [str(recordings[0]), 3.0, 4.0, "y"]]


def test_annotations_that_are_missing_or_wrong(tmp_path: Path) -> None:
    write(tmp_path / "truth/rec.txt", "1\t2\tx\n2\t1\ty\n")
    with pytest.raises(DataError, match=r"annotation file with the name of .*other\.wav, found none"):
        read_reference(tmp_path / "truth", [tmp_path / "other.wav"])
    with pytest.raises(DataError, match="1 invalid rows; correct them, first this one: "):
        read_reference(tmp_path / "truth", [tmp_path / "rec.wav"])
    write(tmp_path / "truth/rec.csv", "start,stop,label\n5,6,z\n")
    with pytest.raises(DataError, match=r"found 2, such as rec\.csv and rec\.txt"):
        read_reference(tmp_path / "truth", [tmp_path / "rec.wav"])


def test_detection_and_its_evaluation(tmp_path: Path) -> None:
    pytest.importorskip("sed_eval")
    pytest.importorskip("sed_scores_eval")
    path = write_bursts(tmp_path / "in/a.wav", [(2, 4)], 10)
    quiet = write_bursts(tmp_path / "in/quiet.wav", [], 10)
    write(tmp_path / "truth/a.txt", "2\t4\tloud\n")
    write(tmp_path / "truth/quiet.txt", "6\t7\tloud\n")
    found = al.detect(Loudness(), [path, quiet], threshold=0.6, hop_seconds=0.1)  # type: ignore[arg-type]
    metrics = al.evaluate_events(found, tmp_path / "truth", [path, quiet])
    assert metrics["event_recall"] == 0.5, "a recording without detections counts"
    assert metrics["event_precision"] == 1.0
    assert metrics["onset_error_median"] == pytest.approx(0, abs=0.001)
