"""Annotated recordings as a data source."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
import soundfile
import tiny
from data_sources import read, source

from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.opening import open_source
from audio_lightning.data.sources.annotations import Annotations

RATE = 8000
Track = Sequence[tuple[float, float, str]]


def record(root: Path, name: str, seconds: float = 4.0) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(len(name)).normal(size=round(seconds * RATE)) / 10
    soundfile.write(root / name, sound, RATE)


def annotate(root: Path, name: str, *annotations: tuple[float, float, str], seconds: float = 4.0) -> None:
    """A recording with a label track beside it."""
    record(root, name, seconds)
    text = "".join(f"{start}\t{stop}\t{label}\n" for start, stop, label in annotations)
    (root / name).with_suffix(".txt").write_text(text or "start\tstop\tlabel\n")


def annotations(root: Path, **options: Any) -> Manifest:
    return read("annotations", root, "data.clip_seconds=1.0", **options)


def clips(manifest: Manifest) -> dict[tuple[str, float], str]:
    return {(path, start): label for path, start, label in zip(*(manifest.table[c] for c in COLUMNS))}


COLUMNS = ("path", "start_seconds", "label")


def test_a_window_is_a_clip_and_a_recording_a_group(tmp_path: Path) -> None:
    annotate(tmp_path, "a.wav", (0.0, 1.0, "x"), (2.6, 3.2, "y"))
    annotate(tmp_path, "deep/b.wav", (1.0, 3.0, "y"), seconds=3.0)
    record(tmp_path, "c.wav")
    manifest = annotations(tmp_path)
    assert clips(manifest) == {
        ("a.wav", 0.0): "x",
        ("a.wav", 2.0): "y",
        ("deep/b.wav", 1.0): "y",
        ("deep/b.wav", 2.0): "y",
    }
    assert manifest.table["group"].tolist() == manifest.table["path"].tolist()
    assert (manifest.table["stop_seconds"] == manifest.table["start_seconds"] + 1).all()
    assert manifest.label_separator is None
    assert manifest.problems == []
    assert manifest.notes == []
    assert manifest.found == (
        "annotations: 3 in 2 recordings of 0.1 min (Audacity 2); 2 labels (y 2, x 1); windows of 1 s: 4 with a label, "
        "2 without annotations, left out, 1 with too little of an annotation, left out"
    )


@pytest.mark.parametrize(
    ("track", "multilabel"),
    [
        ([(0.0, 1.0, "x"), (1.0, 2.0, "y")], False),
        ([(0.0, 1.0, "x"), (0.2, 0.8, "y")], True),
        ([(0.0, 1.0, "x")], True),  # present or absent
    ],
)
def test_multilabel_is_inferred_from_the_annotations(tmp_path: Path, track: Track, multilabel: bool) -> None:
    annotate(tmp_path, "a.wav", *track)
    manifest = annotations(tmp_path)
    assert (manifest.label_separator is not None) == multilabel
    config = compose(quote_paths(["data=annotations", f"data.root={tmp_path}", "data.clip_seconds=1.0"]))
    check_config(config)
    assert config.data.multilabel == multilabel
    assert config.monitor == ("validation/mean_average_precision" if multilabel else "validation/accuracy")


def test_windows_without_annotation_are_clips_without_a_label(tmp_path: Path) -> None:
    annotate(tmp_path, "a.wav", (0.0, 1.0, "x"), (0.0, 1.0, "y"), (2.9, 4.0, "x"))
    manifest = annotations(tmp_path)
    assert clips(manifest) == {("a.wav", 0.0): "x|y", ("a.wav", 1.0): "", ("a.wav", 3.0): "x"}
    assert manifest.targets().tolist() == [[1, 1], [0, 0], [1, 0]]
    manifest = annotations(tmp_path, use_unannotated=False)
    assert clips(manifest) == {("a.wav", 0.0): "x|y", ("a.wav", 3.0): "x"}


def test_a_recording_without_annotations_holds_none_of_the_classes(tmp_path: Path) -> None:
    annotate(tmp_path, "a.wav", (0.0, 1.0, "x"))
    annotate(tmp_path, "b.wav", seconds=2.0)
    found = clips(annotations(tmp_path))
    assert [label for (path, _), label in found.items() if path == "b.wav"] == ["", ""]


@pytest.mark.parametrize("multilabel", [True, False])
def test_background_class_of_unannotated_windows(tmp_path: Path, multilabel: bool) -> None:
    annotate(tmp_path, "a.wav", (0.0, 1.0, "x"), (2.9, 4.0, "y"))
    manifest = annotations(tmp_path, background_label="nothing", multilabel=multilabel)
    assert clips(manifest) == {("a.wav", 0.0): "x", ("a.wav", 1.0): "nothing", ("a.wav", 3.0): "y"}
    assert manifest.classes == ("nothing", "x", "y")
    assert "1 without annotations, of class nothing" in manifest.found


def test_one_label_a_clip_is_the_one_that_fills_most_of_it(tmp_path: Path) -> None:
    annotate(tmp_path, "a.wav", (0.0, 0.8, "x"), (0.0, 0.5, "y"), (0.4, 0.9, "y"), (1.0, 2.0, "x"))
    manifest = annotations(tmp_path, multilabel=False)
    assert clips(manifest) == {("a.wav", 0.0): "y", ("a.wav", 1.0): "x"}
    assert "1 of these with several, reduced to the longest one" in manifest.found


def test_one_class_and_one_label_a_clip(tmp_path: Path) -> None:
    annotate(tmp_path, "a.wav", (0.0, 1.0, "x"))
    with pytest.raises(DataError, match=r"all annotations have the label x, .*data.background_label=background makes"):
        annotations(tmp_path, multilabel=False)


def test_recordings_without_any_annotation(tmp_path: Path) -> None:
    annotate(tmp_path, "a.wav")
    with pytest.raises(DataError, match="the annotated recordings have no annotations; expected at least one label"):
        annotations(tmp_path)


# Assignment of files to recordings


@pytest.mark.parametrize(
    ("recording", "file"),
    [
        ("rec.wav", "rec.txt"),
        ("rec.wav", "rec.wav.txt"),
        ("rec.wav", "rec.Table.1.selections.txt"),
        ("rec.1.wav", "rec.1.TXT"),
        (normalize("NFC", "grün.wav"), normalize("NFD", "grün.txt")),
    ],
)
def test_annotation_files_named_like_the_recording(tmp_path: Path, recording: str, file: str) -> None:
    record(tmp_path, recording)
    (tmp_path / file).write_text("0\t1\tx\n1\t2\ty\n")
    assert sorted(clips(annotations(tmp_path)).values()) == ["x", "y"]


def test_several_files_of_a_recording_count_together(tmp_path: Path) -> None:
    record(tmp_path, "a.wav")
    (tmp_path / "a.Table.1.selections.txt").write_text("Begin Time (s)\tEnd Time (s)\tSpecies\n0\t1\tx\n")
    (tmp_path / "a.ann.txt").write_text("2\t3\ty\n")
    (tmp_path / "notes.txt").write_text("windy\n")
    manifest = annotations(tmp_path)
    assert clips(manifest) == {("a.wav", 0.0): "x", ("a.wav", 2.0): "y"}
    assert "(Audacity 1, Raven 1, labels in column Species)" in manifest.found
    assert manifest.notes == ["ignored: 1 other file (.txt 1)"]


def test_no_annotations(tmp_path: Path) -> None:
    record(tmp_path, "a.wav")
    (tmp_path / "all.csv").write_text("start,stop,label\n0,1,x\n")
    message = "no annotation file is next to a recording of the same name, only all.csv; expected one such as a.txt"
    with pytest.raises(DataError, match=message):
        annotations(tmp_path)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(DataError, match=r"contains no recordings; expected WAV, .* found 1 other file"):
        annotations(tmp_path)


def test_a_table_names_the_recordings_by_the_paths_of_another_machine(tmp_path: Path) -> None:
    for name in ("mon/a.wav", "tue/a.wav", "tue/b.wav"):
        record(tmp_path, name)
    rows = [
        r"C:\bird study\mon\a.wav,0,1,x",
        "/home/ann/tue/a.wav,1,2,x",
        "b.wav,0:02,0:03,y",
        "./tue/b,0,1,y",
        "a.wav,0,1,x",  # ambiguous
        "c.wav,0,1,x",
        ",0,1,x",
    ]
    (tmp_path / "all.csv").write_text("Begin Path,start,stop,label\n" + "\n".join(rows))
    manifest = annotations(tmp_path, table="all.csv")
    assert clips(manifest) == {
        ("mon/a.wav", 0.0): "x",
        ("tue/a.wav", 1.0): "x",
        ("tue/b.wav", 0.0): "y",
        ("tue/b.wav", 2.0): "y",
    }
    assert sorted(map(str, manifest.problems)) == [
        "a.wav: there is no such recording below data.root, or more than one",
        "all.csv, line 8: names no recording",
        "c.wav: there is no such recording below data.root, or more than one",
    ]


def test_a_table_of_other_recordings(tmp_path: Path) -> None:
    record(tmp_path, "a.wav")
    (tmp_path / "all.csv").write_text("path,start,stop,label\nb.wav,0,1,x\n")
    with pytest.raises(
        DataError, match=r"names no recording below data.root, such as b.wav; check that data.root is the folder"
    ):
        annotations(tmp_path, table="all.csv")


def test_a_selection_table_of_several_files_and_one_whose_recording_was_renamed(tmp_path: Path) -> None:
    header = "Begin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"
    for name in ("a.wav", "b.wav", "c.wav"):
        record(tmp_path, name)
    (tmp_path / "a.selections.txt").write_text(f"{header}1\t2\ta.wav\t1\tx\n6\t7\tb.wav\t2\ty\n")
    (tmp_path / "c.selections.txt").write_text(f"{header}3\t4\told.wav\t3\tx\n")
    assert clips(annotations(tmp_path)) == {("a.wav", 1.0): "x", ("b.wav", 2.0): "y", ("c.wav", 3.0): "x"}


def test_a_table_for_each_split(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        record(tmp_path, name)
    for name, label in (("a", "x"), ("b", "y")):
        (tmp_path / f"{name}.csv").write_text(f"path,start,stop,label\n{name}.wav,0,1,{label}\n")
    manifest = annotations(tmp_path, table={"train": "a.csv", "test": "b.csv"})
    assert dict(zip(manifest.table["path"], manifest.table["split"])) == {"a.wav": "train", "b.wav": "test"}


def test_columns_say_group_fold_and_split_of_a_recording(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav", "d.wav", "e.wav"):
        record(tmp_path, name)
    rows = ["a,0,1,x,ann,1,train", "a,1,2,y,ann,1,train", "b,0,1,x,,2,dev", "c,0,1,x,bob,1,test", "c,1,2,x,cem,1,test"]
    rows += ["d,0,1,x,dan,one,test", "e,0,1,x,eve,1,rest"]
    (tmp_path / "all.csv").write_text("path,start,stop,label,who,fold,part\n" + "\n".join(rows))
    options = {"group_column": "who", "fold_column": "fold", "split_column": "part"}
    manifest = annotations(tmp_path, table="all.csv", **options)
    found = manifest.table[["path", "group", "fold", "split"]].drop_duplicates().to_numpy().tolist()
    assert found == [["a.wav", "ann", 1, "train"], ["b.wav", "b.wav", 2, "validation"]]
    assert [str(problem).partition(" (")[0] for problem in manifest.problems] == [
        "c.wav: its annotations have more than one group: bob, cem",
        "d.wav: fold 'one' must be a whole number",
        "e.wav: split 'rest' must be one of train, training, validation, valid, val, dev, test, testing, eval",
    ]


def test_names_of_recordings_say_group_and_fold(tmp_path: Path) -> None:
    for name in ("1-ann.wav", "2-ann.wav", "3-bob.wav", "x-bob.wav"):
        annotate(tmp_path, name, (0, 1, "x"), (1, 2, "y"))
    manifest = annotations(tmp_path, group_pattern="(?<=-)[a-z]+", fold_pattern="^[0-9]")
    found = manifest.table[["path", "group", "fold"]].drop_duplicates().to_numpy().tolist()
    assert found == [["1-ann.wav", "ann", 1], ["2-ann.wav", "ann", 2], ["3-bob.wav", "bob", 3]]
    assert [str(problem) for problem in manifest.problems] == [
        "x-bob.wav: data.fold_pattern='^[0-9]' finds no fold in its name"
    ]
    assert "2 groups (ann 4, bob 2)" in manifest.found


# Problems


def test_annotations_beyond_the_end(tmp_path: Path) -> None:
    annotate(tmp_path, "a.wav", (0, 1, "x"), (3, 9, "y"), (4, 5, "y"), (60, 61, "y"))
    manifest = annotations(tmp_path)
    assert clips(manifest) == {("a.wav", 0.0): "x", ("a.wav", 3.0): "y"}
    assert [str(problem) for problem in manifest.problems] == [
        "a.txt, line 3: starts at 4 s, after the end of a.wav at 4.000 s",
        "a.txt, line 4: starts at 60 s, after the end of a.wav at 4.000 s",
    ]
    assert manifest.notes == [
        "1 annotation (a.txt, line 2) ends after the end of the recording; only the part within is used"
    ]


def test_files_and_recordings_that_cannot_be_used(tmp_path: Path) -> None:
    annotate(tmp_path, "a.wav", (0, 1, "x"), (1, 2, "y"))
    annotate(tmp_path, "broken.wav", (0, 1, "x"))
    (tmp_path / "broken.wav").write_bytes(b"")
    record(tmp_path, "notes.wav")
    (tmp_path / "notes.txt").write_text("recorded by Ann\n")
    annotate(tmp_path, "twin.wav", (0, 1, "x"))
    record(tmp_path, "twin.flac")
    manifest = annotations(tmp_path)
    assert set(manifest.table["path"]) == {"a.wav"}
    assert [(problem.where, problem.kind) for problem in manifest.problems] == [
        ("notes.txt", "table"),
        ("twin.txt", "table"),
        ("broken.wav", "unreadable"),
    ]
    assert "has no column with a common name for the start" in manifest.problems[0].what
    assert "is next to 2 recordings of the same name: twin.flac, twin.wav; rename one" in manifest.problems[1].what
    assert manifest.problems[2].what.startswith("is an empty file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_seconds": 2.0}, "data.hop_seconds=2.0 is more than data.clip_seconds=1.0"),
        ({"background_label": "a|b"}, "data.background_label='a|b': expected a name without |"),
        ({"min_overlap_share": 2.0}, "data.min_overlap_share=2.0: expected more than 0"),
        ({"table": {"rest": "a.csv"}}, "data.table.rest: there is no such split"),
        ({"table": {"train": "a.csv"}, "split_column": "part"}, "data.table defines the splits already"),
        ({"fold_pattern": "^.", "fold_column": "fold"}, "data.fold_pattern: data.fold_column defines the fold already"),
    ],
)
def test_invalid_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        source("annotations", tmp_path, "data.clip_seconds=1.0", **options)


# As a data module


def test_durations_are_independent_of_the_window(tmp_path: Path) -> None:
    annotate(tmp_path, "a.wav", (0, 0.5, "x"), (1, 3, "y"), (3.5, 9, "y"))
    module = source("annotations", tmp_path)
    assert isinstance(module, Annotations)
    found = module.annotated
    assert (found.annotations["stop_seconds"] - found.annotations["start_seconds"]).tolist() == [0.5, 2.0, 0.5]
    assert found.recordings["seconds"].to_dict() == {"a.wav": 4.0}


def test_clips_are_the_samples_of_the_windows(tmp_path: Path) -> None:
    tiny.write_annotated(tmp_path)
    module = source("annotations", tmp_path, "data.clip_seconds=0.25", "data.hop_seconds=0.125")
    opened = open_source(module)
    assert opened.method == "grouped"
    assert opened.leakage == "none found"
    module.setup()
    samples = soundfile.read(tmp_path / "rec0.wav", dtype="float32")[0]
    rows = module.manifest.table
    (row,) = rows.index[(rows["path"] == "rec0.wav") & (rows["start_seconds"] == 1.25)]
    assert rows.loc[row, "label"] == "low_tone"
    split = rows.loc[row, "split"]
    position = module.manifest.rows(split).tolist().index(row)
    batch = module.batch(split, np.array([position]))
    np.testing.assert_allclose(batch["waveform"][0].numpy(), samples[10000:12000], atol=1e-4)
    assert module.hop_samples is None
    assert module.unlisted() == []


def test_recordings_that_are_measured_for_a_check_are_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotate(tmp_path / "data", "a.wav", (0.0, 1.0, "x"), (2.6, 3.2, "y"))
    annotate(tmp_path / "data", "b.wav", (1.0, 3.0, "y"))
    lines = ["data=annotations", f"data.root={tmp_path}/data", f"data.cache_dir={tmp_path}/cache"]
    said = []
    for _ in range(2):
        check_config(compose(quote_paths(lines)))
        said.append(capsys.readouterr().out)
    assert said == ["measuring recordings: 1/2\nmeasuring recordings: 2/2\n", ""]
