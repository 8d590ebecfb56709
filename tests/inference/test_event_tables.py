"""Event tables are readable by Raven, Audacity, pandas and our annotation reader."""

import json
from pathlib import Path

import pandas as pd
import pytest
import recordings

from audio_lightning.core.errors import ConfigError
from audio_lightning.data.sources.annotated import find_annotated
from audio_lightning.data.sources.annotation_files import read_annotations
from audio_lightning.inference.event_tables import COLUMNS, ENDINGS, Format, event_table
from audio_lightning.inference.events import Event

EVENTS = [Event("wren", 0.5, 1.25, 0.91), Event('say "robin, red"', 10800.500125, 10801.75, 0.6123456)]
TIMES = [(0.5, 1.25, "wren"), (10800.500125, 10801.75, 'say "robin, red"')]


def write(path: Path, kind: Format, *found: tuple[Path, list[Event]]) -> Path:
    with event_table(path, kind) as table:
        for recording, events in found:
            table.begin(recording)
            for event in events:
                table.write(event)
    return path


def write_recording(path: Path, seconds: float = 2.0, sample_rate: int = 11025) -> Path:
    recordings.write_tones(path, seconds, sample_rate=sample_rate)
    return path


@pytest.mark.parametrize("kind", ["raven", "audacity", "csv"])
def test_annotation_reader_reads_the_tables(tmp_path: Path, kind: Format) -> None:
    recording = write_recording(tmp_path / "rec.wav")
    file = read_annotations(
        write(tmp_path / f"rec{ENDINGS[kind]}", kind, (recording, EVENTS)), {}, names_recordings=False
    )
    assert file.problems == []
    assert file.program == {"raven": "Raven", "audacity": "Audacity", "csv": "table"}[kind]
    rows = file.rows[["start_seconds", "stop_seconds", "label"]]
    assert list(rows["label"]) == [label for *_, label in TIMES]
    assert rows[["start_seconds", "stop_seconds"]].to_numpy().tolist() == [pytest.approx(times) for *times, _ in TIMES]


@pytest.mark.parametrize("kind", ["raven", "audacity", "csv"])
def test_a_folder_of_detections_is_a_data_set(tmp_path: Path, kind: Format) -> None:
    """As ``data=annotations`` finds it: detections are labels to correct and to train on."""
    for name, label in ("a.wav", "x"), ("b.c.wav", "y"):
        recording = write_recording(tmp_path / name)
        write(tmp_path / f"{recording.stem}{ENDINGS[kind]}", kind, (recording, [Event(label, 0.5, 1.5, 0.9)]))
    found = find_annotated(tmp_path, [], {})
    rows = found.annotations[["path", "label", "start_seconds", "stop_seconds"]]
    assert rows.to_numpy().tolist() == [["a.wav", "x", 0.5, 1.5], ["b.c.wav", "y", 0.5, 1.5]]
    assert found.problems == []


def test_a_selection_table_of_several_recordings(tmp_path: Path) -> None:
    """Times go on from one recording to the next; frequencies end with the band of each."""
    first = write_recording(tmp_path / "a.wav", 2.0, 11025)
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    second = write_recording(tmp_path / "b.wav", 3.0, 48000)
    event = [Event("x\ty", 0.5, 1.5, 0.9)]
    file = write(tmp_path / "all.txt", "raven", (first, event), (broken, []), (second, event))
    table = pd.read_csv(file, sep="\t")
    assert list(table["Selection"]) == [1, 2]
    assert list(table["Begin Time (s)"]) == [0.5, 2.5]
    assert list(table["End Time (s)"]) == [1.5, 3.5]
    assert list(table["File Offset (s)"]) == [0.5, 0.5]
    assert list(table["Low Freq (Hz)"]) == [0, 0]
    assert list(table["High Freq (Hz)"]) == [5512.5, 24000]
    assert list(table["Begin File"]) == ["a.wav", "b.wav"]
    assert list(table["Annotation"]) == ["x y", "x y"]
    read = read_annotations(file, {}, names_recordings=True)
    assert list(read.rows["start_seconds"]) == [0.5, 0.5]
    assert list(read.rows["path"]) == [str(first), str(second)]


def test_json_lines_and_parquet_have_the_columns_of_csv(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.jsonl", "jsonl", (tmp_path / "rec.wav", EVENTS)).read_text().splitlines()
    assert list(json.loads(lines[0])) == list(COLUMNS)
    expected = pd.read_csv(write(tmp_path / "a.csv", "csv", (tmp_path / "rec.wav", EVENTS)))
    assert list(expected.columns) == list(COLUMNS)
    pd.testing.assert_frame_equal(pd.DataFrame([json.loads(line) for line in lines]), expected)
    pytest.importorskip("pyarrow")
    file = write(tmp_path / "a.parquet", "parquet", (tmp_path / "rec.wav", EVENTS))
    pd.testing.assert_frame_equal(pd.read_parquet(file), expected)


@pytest.mark.parametrize("kind", list(ENDINGS))
def test_a_table_without_events_can_be_read(tmp_path: Path, kind: Format) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    path = write(tmp_path / "a", kind)
    if kind == "parquet":
        assert len(pd.read_parquet(path)) == 0
    else:
        assert len(path.read_text().splitlines()) == (kind in ("raven", "csv"))


def test_events_are_flushed_at_once(tmp_path: Path) -> None:
    with event_table(tmp_path / "a.csv", "csv") as table:
        table.begin(tmp_path / "rec.wav")
        table.write(EVENTS[0])
        assert len((tmp_path / "a.csv").read_text().splitlines()) == 2


def test_parquet_is_not_for_the_screen() -> None:
    with pytest.raises(ConfigError, match=r"--output FILE\.parquet"):
        event_table(None, "parquet")
