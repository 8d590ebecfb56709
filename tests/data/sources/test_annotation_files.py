"""Raven selection tables, Audacity label tracks, and tables with start and stop columns."""

import math
import re
from pathlib import Path

import pytest

from audio_lightning.core.errors import DataError
from audio_lightning.data.sources.annotation_files import AnnotationFile, read_annotations

RAVEN = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")


def tabbed(*rows: tuple[object, ...]) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def read(folder: Path, name: str, text: str, *, names_recordings: bool = False, **columns: str) -> AnnotationFile:
    (folder / name).write_text(text, encoding="utf-8")
    return read_annotations(folder / name, columns, names_recordings=names_recordings)


def found(file: AnnotationFile) -> list[tuple[float, float, str]]:
    rows = file.rows[["start_seconds", "stop_seconds", "label"]]
    return list(rows.itertuples(index=False, name=None))


def test_a_selection_table_with_two_views_of_each_selection(tmp_path: Path) -> None:
    text = tabbed(
        (*RAVEN, "Annotation"),
        (1, "Waveform 1", 1, 0.5, 1.25, 0, 8000, "wren"),
        (1, "Spectrogram 1", 1, 0.5, 1.25, 100, 8000, "wren"),
        (2, "Waveform 1", 1, 2, 3, 0, 8000, ""),
        (2, "Spectrogram 1", 1, 2, 3, 0, 8000, 'say "robin'),
    )
    file = read(tmp_path, "a.txt", text)
    assert (file.program, file.label_column, file.problems) == ("Raven", "Annotation", [])
    assert found(file) == [(0.5, 1.25, "wren"), (2.0, 3.0, 'say "robin')]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("Species", "Annotation"), "Annotation"),
        (("Species Code", "Common Name"), "Common Name"),
        (("Avg Power Density (dB FS/Hz)", "My Own"), "My Own"),
    ],
)
def test_the_label_column_is_found(tmp_path: Path, columns: tuple[str, str], expected: str) -> None:
    values = [f"of {column}" for column in columns]
    file = read(tmp_path, "a.txt", tabbed((*RAVEN, *columns), (1, "Waveform 1", 1, 0, 1, 0, 1, *values)))
    assert file.label_column == expected
    assert found(file) == [(0.0, 1.0, f"of {expected}")]


def test_a_label_column_that_is_named_goes_first(tmp_path: Path) -> None:
    text = tabbed((*RAVEN, "Annotation", "Type"), (1, "Waveform 1", 1, 0, 1, 0, 1, "a", "song"))
    assert found(read(tmp_path, "a.txt", text, label="Type")) == [(0.0, 1.0, "song")]


def test_times_of_several_files_in_a_row_count_from_the_beginning_of_each(tmp_path: Path) -> None:
    text = tabbed(
        (*RAVEN, "Begin File", "File Offset (s)", "Annotation"),
        (1, "Waveform 1", 1, 5, 6, 0, 1, "a.wav", 5, "x"),
        (2, "Waveform 1", 1, 65, 67.5, 0, 1, "b.wav", 5, "y"),
    )
    file = read(tmp_path, "all.txt", text, names_recordings=True)
    assert found(file) == [(5.0, 6.0, "x"), (5.0, 7.5, "y")]
    assert file.rows["path"].tolist() == ["a.wav", "b.wav"]


def test_a_selection_table_without_selections(tmp_path: Path) -> None:
    file = read(tmp_path, "a.txt", tabbed(RAVEN))
    assert (found(file), file.problems) == ([], [])


@pytest.mark.parametrize("comma", [False, True])
def test_a_label_track(tmp_path: Path, comma: bool) -> None:
    text = "0.5\t1.25\twren\n\\\t100.0\t8000.0\n\n2.0\t3.0\ta call, loud\n"
    file = read(tmp_path, "a.txt", re.sub(r"(?<=\d)\.(?=\d)", ",", text) if comma else text)
    assert (file.program, file.problems) == ("Audacity", [])
    assert found(file) == [(0.5, 1.25, "wren"), (2.0, 3.0, "a call, loud")]


def test_wrong_lines_of_a_label_track(tmp_path: Path) -> None:
    lines = ["0\t1\tx", "1\t1\tx", "3\t2\tx", "-1\t2\tx", "0\t1\t", "0\t1", "rest", "0\t1\tx|y", "soon\t2\tx"]
    file = read(tmp_path, "a.txt", "\n".join(lines))
    times = "must be seconds, mm:ss or hh:mm:ss, with 0 <= start < stop"
    assert sorted(map(str, file.problems)) == [
        f"a.txt, line 2: start '1' and stop '1' {times}",
        f"a.txt, line 3: start '3' and stop '2' {times}",
        f"a.txt, line 4: start '-1' and stop '2' {times}",
        "a.txt, line 5: has no label, from 0 to 1",
        "a.txt, line 6: has no label, from 0 to 1",
        "a.txt, line 7: expected start, stop and label separated by tabs, found 'rest'",
        "a.txt, line 8: label 'x|y' contains '|'; rename it",
        f"a.txt, line 9: start 'soon' and stop '2' {times}",
    ]
    assert found(file) == [(0.0, 1.0, "x")]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("start,end,label", "0:01,00:00:02.5,x"),
        ("Onset;Offset;Event_Label", "1;2,5;x"),
        ("file,start_time,end_time,species", "a.wav,1,2.5,x"),
        ("Start (s),End (s),Scientific name,Common name,Confidence", "1,2.5,Xus xus,x,0.9"),
    ],
)
def test_tables_with_usual_names_of_columns(tmp_path: Path, header: str, row: str) -> None:
    assert found(read(tmp_path, "a.csv", f"{header}\n{row}\n")) == [(1.0, 2.5, "x")]


def test_rows_of_whole_recordings_and_of_those_that_hold_nothing(tmp_path: Path) -> None:
    text = "path,start,stop,label\na.wav,,,x\nb.wav,,,\nc.wav,1,2,\n"
    file = read(tmp_path, "all.csv", text, names_recordings=True)
    rows = file.rows[["path", "start_seconds", "stop_seconds", "label"]]
    assert rows.to_numpy().tolist() == [["a.wav", 0.0, math.inf, "x"], ["b.wav", 0.0, 0.0, ""]]
    assert list(map(str, file.problems)) == ["all.csv, line 4: has no label, from 1 to 2"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "from where,label\n1,x\n", "has no column with a common name for the start of each annotation, only"),
        (
            "a.csv",
            "start,stop,what\n1,2,x\n",
            "for the labels, only start, stop, what; name the column with data.label",
        ),
        (
            "a.txt",
            "recorded by Ann\n",
            "has no column with a common name for the start of each annotation, only recorded",
        ),
        ("a.txt", "", "is empty; expected a table with start, stop and label, or an Audacity label track"),
        ("a.txt", "\xff", "has no column with a common name"),
    ],
)
def test_other_files_are_not_annotations(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read(tmp_path, name, text)


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("0\t1\tKohlmeise\n1\t2\tGrünfink\n".encode("latin-1"))
    with pytest.raises(DataError, match="in UTF-8"):
        read_annotations(tmp_path / "a.txt", {}, names_recordings=False)


def test_missing_named_column(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"has no column kind, only start, stop, label; name the column with data.label_col"
    ):
        read(tmp_path, "a.csv", "start,stop,label\n1,2,x\n", label="kind")
