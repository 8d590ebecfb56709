"""Data sources: manifests of valid tables and folders, and problems of invalid ones."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from data_sources import read, source, touch

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.sources.folder import SPLIT_NAMES
from audio_lightning.data.splitting.leakage import LeakageError


def said(manifest: Manifest) -> list[str]:
    return [str(problem) for problem in manifest.problems]


WRITERS = {
    "urbansound8k": tiny.write_urbansound8k,
    "urbansound": tiny.write_urbansound,
    "esc50": tiny.write_esc50,
    "esc10": tiny.write_esc50,
    "folder": tiny.write_folder,
    "table": tiny.write_table,
    "instruments": tiny.write_instruments,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_source_can_be_loaded(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    overrides = ["data.table=clips.csv"] if name == "table" else []
    datamodule = source(name, tmp_path, *overrides, "data.batch_size=4")
    manifest = datamodule.read()
    assert not manifest.problems
    assert not manifest.missing_files()
    datamodule.setup()
    batch = next(iter(datamodule.train_dataloader()))
    assert batch["waveform"].shape == (4, datamodule.task.num_samples)
    assert set(datamodule.task.classes) <= set(tiny.CLASSES)


def test_urbansound8k(tmp_path: Path) -> None:
    tiny.write_urbansound8k(tmp_path, folds=3, clips=4)
    manifest = read("urbansound8k", tmp_path)
    assert manifest.classes == tiny.CLASSES
    assert len(manifest) == 3 * 3 * 4
    assert not manifest.problems
    first = manifest.table.iloc[0]
    assert first[["path", "label", "group", "fold", "split"]].to_dict() == {
        "path": "audio/fold1/1000-0-0-0.wav",
        "label": "high_tone",
        "group": "1000",
        "fold": 1,
        "split": "",
    }
    assert not manifest.missing_files()


def test_urbansound8k_names_every_wrong_row(tmp_path: Path) -> None:
    tiny.write_urbansound8k(tmp_path)
    with (tmp_path / "metadata/UrbanSound8K.csv").open("a") as file:
        file.write("short,row\n")
        file.write("x.wav,1,0,1,1,first,0,high_tone\n")
        file.write("y.wav,,0,1,1,1,0,high_tone\n")
        file.write("1000-0-0-0.wav,1000,0,1,1,1,0,high_tone\n")
        file.write("z.wav,1,0,1,1,1,7,high_tone\n")
        file.write("gone.wav,1,0,1,1,1,0,high_tone\n")
    manifest = read("urbansound8k", tmp_path)
    assert said(manifest) == [
        "UrbanSound8K.csv, line 38: has 2 fields, the header has 8",
        "UrbanSound8K.csv, line 40: fsID is empty",
        "UrbanSound8K.csv, line 39: fold 'first' and classID '0' must be whole numbers",
        "UrbanSound8K.csv, line 42: classID 7 for high_tone, which has 0 in an earlier row",
        "UrbanSound8K.csv, line 41: 1000-0-0-0.wav is listed a second time",
    ]
    assert [problem.where for problem in manifest.missing_files()] == ["audio/fold1/gone.wav"]


def test_urbansound_competition(tmp_path: Path) -> None:
    tiny.write_urbansound(tmp_path)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("0,noise\n")
    manifest = read("urbansound", tmp_path)
    assert manifest.classes == tuple(sorted(tiny.CLASSES))
    assert list(manifest.table["path"][:2]) == ["Train/0.wav", "Train/1.wav"]
    assert not manifest.knows_groups
    assert said(manifest) == ["train.csv, line 32: ID 0 is listed a second time"]


@pytest.mark.parametrize(
    ("name", "table", "contents", "message"),
    [
        ("urbansound", "train.csv", "ID,Class\n,\n1,\n", "no row can be used; the first problem: train.csv, line 3"),
        ("urbansound8k", "metadata/UrbanSound8K.csv", "slice_file_name,fsID,fold,classID,class\na,1,x,1,b\n", "no row"),
        (
            "urbansound8k",
            "metadata/UrbanSound8K.csv",
            "slice_file_name,fsID,fold,class\na,1,x,b\n",
            "no column classID",
        ),
        ("esc50", "meta/esc50.csv", "filename,fold,target,category,src_file\na,1,x,dog,b\n", "no row can be used"),
        ("esc10", "meta/esc50.csv", "filename,fold,target,category,src_file\na,1,1,dog,b\n", "no column esc10"),
        (
            "esc10",
            "meta/esc50.csv",
            "filename,fold,target,category,src_file,esc10\na,1,1,dog,b,False\n",
            "no row has True",
        ),
        (
            "table",
            "t.csv",
            "path,label\na.wav,\n",
            "no row can be used; the first problem: t.csv, line 2: label is empty",
        ),
    ],
)
def test_table_without_usable_rows(tmp_path: Path, name: str, table: str, contents: str, message: str) -> None:
    touch(tmp_path, table).joinpath(table).write_text(contents)
    with pytest.raises(DataError, match=message):
        read(name, tmp_path, *(["data.table=t.csv"] if name == "table" else []))


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes("\ufeffID,Class\r\n7,x\r\n".encode())
    assert list(read("urbansound", tmp_path).table["path"]) == ["Train/7.wav"]


def test_esc50(tmp_path: Path) -> None:
    tiny.write_esc50(tmp_path)
    manifest = read("esc50", tmp_path)
    assert manifest.classes == tuple(reversed(tiny.CLASSES)), "in the order of the numbers"
    assert len(manifest) == 5 * 3 * 2
    assert manifest.table["fold"].value_counts().to_dict() == dict.fromkeys(range(1, 6), 6)
    assert manifest.table["group"].nunique() == 5 * 3
    first = manifest.table.iloc[0]
    assert (first["path"], first["label"], first["group"]) == ("audio/1-100-A-0.wav", "noise", "100")
    task = source("esc50", tmp_path, "data.sample_rate=44100")
    assert task.num_samples == 5 * 44100


def test_esc10_is_a_part_of_esc50(tmp_path: Path) -> None:
    tiny.write_esc50(tmp_path)
    table = tmp_path / "meta/esc50.csv"
    table.write_text(table.read_text().replace("True", "TRUE", 3) + "x.wav,1,0,noise,maybe,9,A\n")
    manifest = read("esc10", tmp_path)
    assert manifest.classes == ("noise", "low_tone")
    assert len(manifest) == 5 * 2 * 2
    assert said(manifest) == ["esc50.csv, line 32: esc10 'maybe' must be True or False"]


def test_esc50_names_every_wrong_row(tmp_path: Path) -> None:
    tiny.write_esc50(tmp_path)
    with (tmp_path / "meta/esc50.csv").open("a") as file:
        file.write("x.wav,1,-1,noise,True,9,A\n")
        file.write("y.wav,1,1,noise,True,9,A\n")
        file.write("1-100-A-0.wav,1,0,noise,True,9,A\n")
    assert said(read("esc50", tmp_path)) == [
        "esc50.csv, line 32: fold '1' and target '-1' must be whole numbers",
        "esc50.csv, line 33: target 1 for noise, which has 0 in an earlier row",
        "esc50.csv, line 34: 1-100-A-0.wav is listed a second time",
    ]


def test_folder_takes_recordings_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "dog/b.wav", "dog/2020/May/a.FLAC", "cat/c.Mp3", "cat/.hidden.wav", "cat/notes.txt", ".git/x.wav")
    touch(tmp_path, "cat/.cache/d.wav", "readme.txt")
    manifest = read("folder", tmp_path)
    assert manifest.classes == ("cat", "dog")
    assert list(manifest.table["path"]) == ["cat/c.Mp3", "dog/2020/May/a.FLAC", "dog/b.wav"]
    assert list(manifest.table["label"]) == ["cat", "dog", "dog"]
    assert not manifest.problems
    assert not manifest.knows_groups
    assert set(manifest.table["split"]) == {""}


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "VAL", "eval"), ("train", "dev")])
def test_folder_with_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path, *(f"{name}/{label}/{name}.wav" for name in names for label in ("dog", "cat")))
    manifest = read("folder", tmp_path)
    assert manifest.classes == ("cat", "dog")
    for path, split in zip(manifest.table["path"], manifest.table["split"]):
        assert split == SPLIT_NAMES[path.split("/")[0].lower()]
    assert manifest.table["split"].nunique() == len(names)


def test_class_named_like_a_split_among_others_is_a_class(tmp_path: Path) -> None:
    manifest = read("folder", touch(tmp_path, "train/a.wav", "bus/b.wav"))
    assert manifest.classes == ("bus", "train")
    assert set(manifest.table["split"]) == {""}


@pytest.mark.parametrize("name", ["folder", "table"])
def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path, name: str) -> None:
    touch(tmp_path, *(f"{label}/a.wav" for label in (10, 9, 2)))
    (tmp_path / "t.csv").write_text("path,label\na.wav,10\nb.wav,9\nc.wav,2\n")
    manifest = read(name, tmp_path, *(["data.table=t.csv"] if name == "table" else []))
    assert manifest.classes == ("2", "9", "10")


BESIDE = (
    r"test and train are splits, but there are other folders with recordings next to them: rejected; move them .*"
    r"data\.ignore=\[rejected\], or use every folder as a class with data\.layout=classes"
)


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        (["rejected/x.wav"], {}, BESIDE),
        (["rejected/x.wav"], {"layout": "splits"}, BESIDE),
        (["rejected/x.wav"], {"ignore": ["rejected"]}, {"cat": {"train"}, "dog": {"test"}}),
        (["rejected/x.wav"], {"ignore": "rejected"}, {"cat": {"train"}, "dog": {"test"}}),
        (["rejected/x.wav"], {"ignore": ["x.wav"]}, {"cat": {"train"}, "dog": {"test"}}),
        (["rejected/x.wav"], {"layout": "classes"}, {"train": {""}, "test": {""}, "rejected": {""}}),
        (["docs/x.txt"], {}, {"cat": {"train"}, "dog": {"test"}}),
        (["bus/deep/x.wav", "tram/y.wav"], {}, r"test and train are splits, .* next to them: bus and tram; move"),
        ([], {"ignore": ["gone", "train"]}, r"data\.ignore=gone: there is no such file or folder in .*; correct it"),
        ([], {"layout": "classes"}, {"train": {""}, "test": {""}}),
    ],
)  # fmt: skip
def test_split_folders_and_others_beside_them(
    tmp_path: Path, files: list[str], options: dict[str, Any], expected: str | dict[str, set[str]]
) -> None:
    touch(tmp_path, "train/cat/a.wav", "test/dog/b.wav", *files)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected) as refusal:
            read("folder", tmp_path, **options)
        assert "\n" not in str(refusal.value)
        return
    table = read("folder", tmp_path, **options).table
    assert {label: set(table["split"][table["label"] == label]) for label in table["label"]} == expected


def test_recordings_beside_split_folders_are_problems(tmp_path: Path) -> None:
    manifest = read("folder", touch(tmp_path, "train/cat/a.wav", "test/dog/b.wav", "loose.wav", "readme.txt"))
    assert said(manifest) == ["loose.wav: is next to the split folders, in none of them"]
    assert manifest.notes == ["ignored: 1 other file (.txt 1)"]


def test_a_layout_of_splits_needs_some(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="layout=splits, but no folder has the name of a split"):
        read("folder", touch(tmp_path, "cat/a.wav"), layout="splits")


@pytest.mark.parametrize(
    ("more", "splits"), [([], {"train", "test"}), (["dog/c.wav"], {""}), (["dog/new/c.wav"], {""})]
)
def test_splits_within_classes(tmp_path: Path, more: list[str], splits: set[str]) -> None:
    manifest = read("folder", touch(tmp_path, "cat/train/a.wav", "cat/test/b.wav", "dog/Train/deep/c.wav", *more))
    assert manifest.classes == ("cat", "dog")
    assert set(manifest.table["split"]) == splits


def test_one_class_in_two_forms_of_unicode(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    touch(tmp_path, f"train/{composed}/a.wav", f"test/{decomposed}/b.wav", "train/zoo/c.wav", "test/zoo/d.wav")
    manifest = read("folder", tmp_path)
    assert manifest.classes == (composed, "zoo") if composed < "zoo" else ("zoo", composed)
    assert manifest.table["label"].nunique() == 2
    assert manifest.notes == [
        f"class {composed} is spelled in composed and in decomposed Unicode; both spellings are one class"
    ]
    assert not manifest.missing_files()
    assert manifest.with_table(manifest.table).notes == manifest.notes


def test_folder_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "root/dog/a.wav", "elsewhere/more/b.wav")
    (tmp_path / "root/cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/more/round").symlink_to(tmp_path / "elsewhere")
    assert list(read("folder", tmp_path / "root").table["path"]) == ["cat/more/b.wav", "dog/a.wav"]


def test_folder_reports_recordings_without_class_and_empty_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/dog/a.wav", "train/loose.wav", "train/empty/x.txt", "test/dog/b.wav")
    touch(tmp_path, os.fsdecode(b"test/dog/\xff.wav"))
    manifest = read("folder", tmp_path)
    assert list(manifest.table["path"]) == ["test/dog/b.wav", "train/dog/a.wav"]
    assert manifest.classes == ("dog",)
    assert sorted(said(manifest)) == [
        "'test/dog/\\udcff.wav': the name is not valid UTF-8; rename it",
        "train/empty: no recordings in this class folder; expected WAV, FLAC, OGG, MP3, ...",
        "train/loose.wav: is next to the class folders, in none of them",
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "root has no class folders; expected .*root/<class>/<recording>, found nothing"),
        (
            ["b.wav", "a.wav"],
            "has no class folders; .*, found 2 recordings, such as a.wav; is data.root a class folder",
        ),
        (["a.zip"], r"has no class folders; .*, found 1 other file \(.zip 1\)"),
        (["train/a.wav", "test/dog/b.wav"], "root/train has no class folders; .*train/<class>/<rec.*, such as a.wav"),
        (["dog/x.txt", "cat/y.txt"], "no recording can be used; the first problem: cat: no recordings in this class"),
    ],
)
def test_folder_without_class_folders(tmp_path: Path, files: list[str], message: str) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(DataError, match=message):
        read("folder", touch(tmp_path / "root", *files))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: No such file or directory; .* check data.root"):
        read("folder", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        ("^[a-z]+", ["tom", "tom", "cat/3.wav", "rex"]),
        ("^(?P<group>[a-z])[a-z]*_", ["t", "t", "cat/3.wav", "r"]),
        ("(?P<group>rex)?", ["cat/tom_1.wav", "cat/tom_2.wav", "cat/3.wav", "rex"]),
    ],
)
def test_groups_by_file_name(tmp_path: Path, pattern: str, groups: list[str]) -> None:
    touch(tmp_path, "cat/tom_1.wav", "cat/tom_2.wav", "cat/3.wav", "dog/rex_1.wav")
    manifest = read("folder", tmp_path, group_pattern=pattern)
    paths = ["cat/tom_1.wav", "cat/tom_2.wav", "cat/3.wav", "dog/rex_1.wav"]
    assert dict(zip(manifest.table["path"], manifest.table["group"])) == dict(zip(paths, groups))
    missed = sorted(path for path, group in zip(paths, groups) if path == group)
    assert manifest.notes == [
        f"data.group_pattern={pattern!r} does not match the names of {len(missed)} of 4 recordings "
        f"({', '.join(missed)}); each of these is a group of its own"
    ]


@pytest.mark.parametrize("pattern", ["(?P<group>9)?", "[/]", r"rec(\d+)"])
def test_a_group_pattern_that_matches_no_name_is_refused(tmp_path: Path, pattern: str) -> None:
    touch(tmp_path, *(f"{label}/{number}.wav" for label in ("cat", "dog") for number in range(4)))
    message = re.escape(f"data.group_pattern={pattern!r}: matches no file name (cat/0.wav, cat/1.wav, cat/2.wav, ")
    with pytest.raises(DataError, match=message):
        read("folder", tmp_path, group_pattern=pattern)


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"{1000 + number}_{part}" for number in range(4) for part in "ab"], "^[^_]+"),
        ([f"{1000 + number}-0-0-{part}" for number in range(4) for part in "ab"], "^[^-]+"),
        ([f"take_{number}_{part}" for number in range(4) for part in "ab"], "^.+(?=_)"),
        ([f"{number}_{number}" for number in range(8)], None),
        ([f"bell_{number}" for number in range(8)], None),
        ([f"{number:03d}" for number in range(8)], None),
        (["1_a", "1_b", "2_a", "2_b"], None),  # too few to split
        ([*(f"rec_{number:02d}" for number in range(6)), "garden 1", "lake 2"], None),  # a common prefix, not a source
    ],
)
def test_names_with_a_common_stem_suggest_a_group_pattern(
    tmp_path: Path, names: list[str], pattern: str | None
) -> None:
    touch(tmp_path, *(f"{label}/{name}.wav" for label in ("cat", "dog") for name in names))
    notes = read("folder", tmp_path).notes
    if pattern is None:
        assert notes == []
        return
    (note,) = notes
    assert note.startswith(
        f"leakage cannot be excluded: the names of recordings share stems (cat/{names[0]}.wav, cat/{names[1]}"
    )
    assert f"data.group_pattern='{pattern}'" in note
    manifest = read("folder", tmp_path, group_pattern=pattern)
    assert manifest.notes == []
    assert manifest.table["group"].nunique() == 4
    assert read("folder", tmp_path, "data.split=all").notes == []


def test_invalid_pattern(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.group_pattern='\(' is not a regular expression: missing \)"):
        source("folder", tmp_path, group_pattern="(")


@pytest.mark.parametrize("name", ["folder", "instruments"])
def test_class_with_a_single_group(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "cat/tom_1.wav", "cat/tom_2.wav", "dog/rex_1.wav", "dog/tim_1.wav", "cow/one_1.wav")
    pattern = "^(?P<group>[a-z]+)"
    message = "class cat has all its 2 recordings in group tom: a group .* cannot be in both training and test; correct"
    with pytest.raises(DataError, match=message):
        read(name, tmp_path, group_pattern=pattern)
    with pytest.raises(DataError, match="class cat"):
        read(name, tmp_path, "data.split=stratified", "data.folds=3", group_pattern=pattern)
    for split in ("stratified", "random", "all"):
        assert len(read(name, tmp_path, f"data.split={split}", group_pattern=pattern)) == 5


INSTRUMENTS = {
    "banjo/banjo_A4_very-long_forte_normal.mp3": "banjo_A4",
    "banjo/banjo_A4_1_piano_normal.mp3": "banjo_A4",
    "banjo/banjo_As4_1_piano_normal.mp3": "banjo_As4",
    "bass clarinet/bass-clarinet_Cs2_05_forte_normal.mp3": "bass-clarinet_Cs2",
    "bass clarinet/bass-clarinet_D2_05_forte_normal.mp3": "bass-clarinet_D2",
    "percussion/agogo-bells__phrase_forte_rhythm.mp3": "percussion/agogo-bells__phrase_forte_rhythm.mp3",
    "percussion/agogo-bells__1_forte_rhythm.mp3": "percussion/agogo-bells__1_forte_rhythm.mp3",
}


@pytest.mark.parametrize("by", ["folder", "table"])
def test_instruments_keep_the_takes_of_a_note_together(tmp_path: Path, by: str) -> None:
    if by == "folder":
        touch(tmp_path, *INSTRUMENTS)
    else:
        rows = [f"{path},{path.partition('/')[0]}\n" for path in INSTRUMENTS]
        (tmp_path / "t.csv").write_text("path,label\n" + "".join(rows))
    manifest = read("instruments", tmp_path, *(["data.table=t.csv"] if by == "table" else []))
    assert manifest.classes == ("banjo", "bass clarinet", "percussion")
    assert dict(zip(manifest.table["path"], manifest.table["group"])) == INSTRUMENTS


def test_instruments_are_cut_into_windows_of_half_a_second(tmp_path: Path) -> None:
    tiny.write_instruments(tmp_path)
    datamodule = source("instruments", tmp_path)
    datamodule.setup()
    assert datamodule.task.num_samples == 4000
    assert len(datamodule.clips.row) > len(datamodule.manifest)
    assert datamodule.leakage == "none found"


def test_table_with_every_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "file,what,from,to,who,part,use,unused\n"
        "a.wav,dog,0.5,2,ann,1,Train,\n"
        "a.wav,cat,2,,ann,1,train,\n"
        "sub\\b.wav,dog,,1e1,,2,dev,\n"
        "/abs/c.wav,dog,,,bob,3,EVAL,\n"
    )
    columns = {"path": "file", "label": "what", "start": "from", "stop": "to", "group": "who", "fold": "part"}
    options = {f"{name}_column": column for name, column in {**columns, "split": "use"}.items()}
    manifest = read("table", tmp_path, "data.table=t.csv", **options)
    assert not manifest.problems
    assert manifest.classes == ("cat", "dog")
    table = manifest.table.fillna({"stop_seconds": -1.0}).drop(columns=["background", "channel"])
    assert table.to_dict("list") == {
        "path": ["a.wav", "a.wav", "sub/b.wav", "/abs/c.wav"],
        "label": ["dog", "cat", "dog", "dog"],
        "group": ["ann", "ann", "sub/b.wav", "bob"],
        "fold": [1, 1, 2, 3],
        "split": ["train", "train", "validation", "test"],
        "start_seconds": [0.5, 2.0, 0.0, 0.0],
        "stop_seconds": [2.0, -1.0, 10.0, -1.0],
    }
    assert manifest.table["stop_seconds"].dtype == np.float64


def test_table_names_every_wrong_row(tmp_path: Path) -> None:
    rows = [
        "a.wav,x,1,train,0,1",
        "b.wav,x,one,train,0,1",
        "c.wav,x,1,training set,0,1",
        "d.wav,x,1,train,1,1",
        "e.wav,x,1,train,-1,1",
        "f.wav,x,1,train,nan,",
        "g.wav,x,1,train,0:61,",
        "h.wav,x,1,train,inf,",
        "i.wav,x,,train,0,1",
        "a.wav,x,1,train,,1.0",
        "a.wav,y,1,train,0,2",
    ]
    (tmp_path / "t.csv").write_text("path,label,fold,split,start,stop\n" + "\n".join(rows))
    options = {f"{name}_column": name for name in ("fold", "split", "start", "stop")}
    manifest = read("table", tmp_path, "data.table=t.csv", **options)
    assert said(manifest) == [
        "t.csv, line 10: fold is empty",
        "t.csv, line 3: fold 'one' must be a whole number",
        f"t.csv, line 4: split 'training set' must be one of {', '.join(SPLIT_NAMES)}",
        "t.csv, line 5: start '1' and stop '1' must be seconds, mm:ss or hh:mm:ss, with 0 <= start < stop",
        "t.csv, line 6: start '-1' and stop '1' must be seconds, mm:ss or hh:mm:ss, with 0 <= start < stop",
        "t.csv, line 7: start 'nan' and stop '' must be seconds, mm:ss or hh:mm:ss, with 0 <= start < stop",
        "t.csv, line 8: start '0:61' and stop '' must be seconds, mm:ss or hh:mm:ss, with 0 <= start < stop",
        "t.csv, line 9: start 'inf' and stop '' must be seconds, mm:ss or hh:mm:ss, with 0 <= start < stop",
        "t.csv, line 11: a.wav from 0.0 s to 1.0 s is listed a second time",
    ]
    assert list(manifest.table["stop_seconds"]) == [1.0, 2.0]


@pytest.mark.parametrize(("column", "expected"), [("start", (3.0, "nan")), ("stop", (0.0, "3.0"))])
def test_table_with_a_start_or_a_stop_only(tmp_path: Path, column: str, expected: tuple[float, str]) -> None:
    (tmp_path / "t.csv").write_text("path,label,at\na.wav,x,3\n")
    row = read("table", tmp_path, "data.table=t.csv", **{f"{column}_column": "at"}).table.iloc[0]
    assert (row["start_seconds"], str(row["stop_seconds"])) == expected


def test_table_lists_a_recording_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.wav,x\nb.wav,y\na.wav,x\n")
    manifest = read("table", tmp_path, "data.table=t.csv")
    assert said(manifest) == ["t.csv, line 4: a.wav is listed a second time"]
    assert len(manifest) == 2


def test_one_row_per_label_names_the_key_that_joins_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.wav,x\nb.wav,y\n./a.wav,y\nc.wav,x\nc.wav,x\nsub/../b.wav,x\n")
    message = (
        r"2 clips have several rows with different labels, the first is a.wav \(x, y\); data.labels=rows joins them"
    )
    with pytest.raises(DataError, match=message) as error:
        read("table", tmp_path, "data.table=t.csv", "data.bad_recordings=skip")
    assert "\n" not in str(error.value)
    manifest = read("table", tmp_path, "data.table=t.csv", "data.labels=rows")
    assert manifest.table[["path", "label"]].to_numpy().tolist() == [["a.wav", "x|y"], ["b.wav", "y|x"], ["c.wav", "x"]]
    assert manifest.targets().tolist() == [[1, 1], [1, 1], [1, 0]]


def test_rows_of_a_label_each_beside_several_in_a_field_and_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,from\na.wav,x;y,0\na.wav,z,0\na.wav,z,1\nb.wav,,0\nb.wav,,0\n")
    options: dict[str, Any] = {"label_separator": ";", "start_column": "from"}
    manifest = read("table", tmp_path, "data.table=t.csv", "data.labels=rows", **options)
    assert manifest.table["label"].tolist() == ["x;y;z", "z", ""]
    assert manifest.table["start_seconds"].tolist() == [0.0, 1.0, 0.0]


def test_clip_with_an_unusable_row_is_left_out(tmp_path: Path) -> None:
    """Otherwise it would be used with only some of its labels."""
    rows = ["a.wav,x,1,g", "a.wav,y,one,g", "b.wav,x,1,g", "b.wav,y,2,g", "c.wav,x|y,1,g", "c.wav,x,1,g", "d.wav,y,1,g"]
    (tmp_path / "t.csv").write_text("path,label,fold,who\n" + "\n".join(rows))
    options = {"fold_column": "fold", "group_column": "who"}
    manifest = read("table", tmp_path, "data.table=t.csv", "data.labels=rows", **options)
    assert said(manifest) == [
        "t.csv, line 3: fold 'one' must be a whole number",
        "t.csv, line 6: label 'x|y' contains '|'; rename it",
        "t.csv, line 2: a.wav: another row of it cannot be used",
        "t.csv, line 7: c.wav: another row of it cannot be used",
        "t.csv, line 4: b.wav has another fold than 1 in another row",
        "t.csv, line 5: b.wav has another fold than 2 in another row",
    ]
    assert manifest.table["path"].tolist() == ["d.wav"]


def test_every_spelling_of_a_path_is_one_path(tmp_path: Path) -> None:
    spelled = [
        "a.wav",
        "./a.wav",
        "sub/../a.wav",
        ".//a.wav",
        "sub\\..\\a.wav",
        f"{tmp_path}/a.wav",
        f"{tmp_path}/x/../a.wav",
    ]
    (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"{path},x\n" for path in spelled))
    manifest = read("table", tmp_path, "data.table=t.csv")
    assert manifest.table["path"].tolist() == ["a.wav"]
    assert len(manifest.problems) == len(spelled) - 1


@pytest.mark.parametrize("path", ["../x.wav", "..", "sub/../../x.wav", "..\\x.wav"])
def test_a_relative_path_stays_below_the_root(tmp_path: Path, path: str) -> None:
    (tmp_path / "t.csv").write_text(f"path,label\n{path},x\na.wav,x\n")
    (problem,) = said(read("table", tmp_path, "data.table=t.csv"))
    assert "is outside of data.root; use its absolute path" in problem


def test_a_table_for_each_split(tmp_path: Path) -> None:
    for name, rows in (("a.csv", "1.wav,x\n2.wav,y\n3.wav\n"), ("b, c.csv", "4.wav,x\n"), ("d.jsonl", "")):
        (tmp_path / name).write_text("path,label\n" + rows)
    (tmp_path / "d.jsonl").write_text('{"path": "5.wav", "label": "z"}\n{"path": "./1.wav", "label": "x"}\n')
    typed = f"data.table={{train:a.csv, dev: 'b, c.csv',Test:{tmp_path}/d.jsonl}}"
    manifest = read("table", tmp_path, typed)
    assert manifest.table[["path", "label", "split"]].to_numpy().tolist() == [
        ["1.wav", "x", "train"],
        ["2.wav", "y", "train"],
        ["4.wav", "x", "validation"],
        ["5.wav", "z", "test"],
        ["1.wav", "x", "test"],
    ]
    assert said(manifest) == ["a.csv, line 4: has 1 fields, the header has 2"]
    assert (
        read("instruments", tmp_path, typed, group_pattern=None).table["split"].tolist()
        == manifest.table["split"].tolist()
    )


def test_a_clip_in_the_tables_of_two_splits_is_a_leak(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        lines = [f"{name}{clip}.wav,{'xy'[clip % 2]}" for clip in range(2)] + ["./same.wav,x"] * (number < 2)
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,label", *lines]))
        touch(tmp_path, "same.wav", *(line.partition(",")[0] for line in lines))
    ready = source("table", tmp_path, "data.table={train:a.csv,validation:b.csv,test:c.csv}")
    with pytest.raises(LeakageError, match=r"group same.wav: in train and validation"):
        ready.setup()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": {"tain": "a.csv"}}, "data.table.tain: there is no such split; expected one of train, training"),
        ({"table": {}}, "data.table={}: expected a file, or one for each split"),
        ({"table": {"train": "a.csv"}, "split_column": "use"}, "data.table defines the splits already"),
        ({"table": {"train": 3}}, r"expected text \| a mapping to text"),
        ({"table": 3}, r"expected text \| a mapping to text"),
    ],
)
def test_invalid_tables(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        source("table", tmp_path, **options)


def test_a_split_column_without_any_known_word(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,use\na.wav,x,nope\nb.wav,y,never\n")
    with pytest.raises(
        DataError, match=r"t.csv: no row can be used; the first problem: t.csv, line 2: split 'nope' must"
    ):
        read("table", tmp_path, "data.table=t.csv", split_column="use")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_impossible_file_names(tmp_path: Path, suffix: str) -> None:
    """Table cells may contain anything; each invalid row is a problem in one line."""
    names = ["\0", "a\0.wav", "n" * 256 + ".wav", "n" * 256 + "/a.wav", "a\nb.wav", "\ud800", "good.wav", "two.wav"]
    if suffix == "csv":
        quoted = "".join(f'"{name}",{"xy"[place % 2]}\n' for place, name in enumerate(names))
        (tmp_path / "t.csv").write_bytes(f"path,label\n{quoted}".replace("\ud800", "ok.wav").encode())
    else:
        rows = [{"path": name, "label": "xy"[place % 2]} for place, name in enumerate(names)]
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("good.wav", "two.wav"):
        soundfile.write(tmp_path / name, np.full(800, 0.1), 8000)
    ready = source("table", tmp_path, f"data.table=t.{suffix}", split="all", bad_recordings="skip")
    ready.setup()
    assert ready.manifest.table["path"].tolist() == ["good.wav", "two.wav"]
    assert len(ready.problems) >= len(names) - 2
    assert all("\n" not in str(problem) for problem in ready.problems)


def test_table_with_several_labels_a_clip(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.wav,dog;cat\nb.wav,\nc.wav, dog ; \nd.wav,bird\n")
    manifest = read("table", tmp_path, "data.table=t.csv", label_separator=";")
    assert not manifest.problems
    assert manifest.classes == ("bird", "cat", "dog")
    assert manifest.targets().tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_table_without_any_label(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.wav,\nb.wav,;\n")
    with pytest.raises(DataError, match="column label is empty in every row; expected labels"):
        read("table", tmp_path, "data.table=t.csv", label_separator=";")
    with pytest.raises(ConfigError, match=r"data.label_separator is empty"):
        source("table", tmp_path, "data.table=t.csv", label_separator="")


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(("written", "there"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), (COMPOSED, COMPOSED)])
def test_a_table_may_name_files_in_the_other_form_of_unicode(tmp_path: Path, written: str, there: str) -> None:
    touch(tmp_path, f"{there}/deep/{there}.wav", "plain.wav")
    rows = [f"{written}/deep/{written}.wav,{written}", f"plain.wav,{there}", f"{written}/gone.wav,x"]
    (tmp_path / "t.csv").write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    manifest = read("table", tmp_path, "data.table=t.csv")
    assert list(manifest.table["path"]) == [f"{there}/deep/{there}.wav", "plain.wav", f"{there}/gone.wav"]
    assert [problem.where for problem in manifest.missing_files()] == [f"{there}/gone.wav"]
    assert set(manifest.classes) == {COMPOSED, "x"}
    assert len(manifest.notes) == (written != there)
    absolute = f"{tmp_path}/{written}/deep/{written}.wav,x\nplain.wav,y"
    (tmp_path / "t.csv").write_text(f"path,label\n{absolute}", encoding="utf-8")
    assert not read("table", tmp_path, "data.table=t.csv").missing_files()


def test_a_name_that_is_there_in_both_forms_is_the_one_that_is_written(tmp_path: Path) -> None:
    touch(tmp_path, f"{COMPOSED}.wav", f"{DECOMPOSED}.wav")
    (tmp_path / "t.csv").write_text(f"path,label\n{DECOMPOSED}.wav,x\n{COMPOSED}.wav,y", encoding="utf-8")
    assert list(read("table", tmp_path, "data.table=t.csv").table["path"]) == [f"{DECOMPOSED}.wav", f"{COMPOSED}.wav"]


def test_one_recording_in_both_forms_is_listed_twice(tmp_path: Path) -> None:
    touch(tmp_path, f"{DECOMPOSED}.wav")
    (tmp_path / "t.csv").write_text(f"path,label\n{DECOMPOSED}.wav,x\n{COMPOSED}.wav,x", encoding="utf-8")
    assert said(read("table", tmp_path, "data.table=t.csv")) == [
        f"t.csv, line 3: {DECOMPOSED}.wav is listed a second time"
    ]


def test_table_with_semicolons(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Datei;Klasse\na,b.wav;x\nc.wav;y\n")
    with pytest.raises(DataError, match=r"found Datei, Klasse \(set data.path_column=..., data.label_column=...\)"):
        read("table", tmp_path, "data.table=t.csv")
    manifest = read("table", tmp_path, "data.table=t.csv", path_column="Datei", label_column="Klasse")
    assert manifest.table[["path", "label"]].to_numpy().tolist() == [["a,b.wav", "x"], ["c.wav", "y"]]


def test_copies_with_other_segments_are_the_same_audio(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["path,label,start,stop,use"]
    for number in range(4):
        samples = rng.normal(scale=0.1, size=24000).astype(np.float32)
        for name in (f"{number}.wav", f"{number}_copy.wav"):
            soundfile.write(tmp_path / name, samples, 8000)
        use = ("train", "validation", "test", "train")[number]
        lines += [f"{number}.wav,{'xy'[number % 2]},{start},{start + 1},{use}" for start in (0, 1)]
    table, options = tmp_path / "t.csv", {f"{name}_column": name for name in ("start", "stop")}
    for start, apart in ((2, True), (1.5, False)):
        table.write_text("\n".join([*lines, f"0_copy.wav,x,{start},{start + 1},test"]))
        ready = source("table", tmp_path, "data.table=t.csv", split_column="use", **options)
        if apart:
            ready.setup()
            continue
        message = r"content 0\.wav from 1 s to 2 s \(train\) overlaps 0_copy\.wav from 1\.5 s to 2\.5 s \(test\)"
        with pytest.raises(LeakageError, match=message):
            ready.setup()


@pytest.mark.parametrize(
    ("paths", "remedy"),
    [
        (["top/a/1.wav", "top/b/2.wav"], r"did you mean data.root=.*/top, with the folders a, b\?"),
        (["top/a/1.wav", "top/b/2.wav", "top/c/x/3.wav", "top/d/4.wav"], r"with the folders a, b, c and 1 more\?"),
        (["top/a/1.wav", "top/a/2.wav"], "check that data.root is the folder of class folders, or data.label_col"),
        (["top/1.wav", "top/2.wav"], "check that data.root is the folder of class folders, or data.label_column"),
    ],
)
def test_one_class_is_not_enough_to_learn_from(tmp_path: Path, paths: list[str], remedy: str) -> None:
    manifest = read("folder", touch(tmp_path, *paths))
    with pytest.raises(
        DataError, match=f"all {len(paths)} clips are of one class, top, expected at least two classes; .*{remedy}"
    ) as e:
        manifest.require_usable_classes()
    assert "\n" not in str(e.value)
    read("folder", touch(tmp_path, "other/1.wav")).require_usable_classes()


def test_single_optional_label_is_enough(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.wav,dog\nb.wav,\n")
    read("table", tmp_path, "data.table=t.csv", label_separator=";").require_usable_classes()


def test_missing_column_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,label,speakers\na.wav,x,1\n")
    message = r"no column path, speaker; .* found file, label, .*\(set data.path_column=..., data.group_column=...\)"
    with pytest.raises(DataError, match=message):
        read("table", tmp_path, "data.table=t.csv", group_column="speaker")


def test_table_is_searched_below_root_and_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, here = tmp_path / "root", tmp_path / "here"
    for folder, label in ((root, "below"), (here, "here")):
        touch(folder, "t.csv").joinpath("t.csv").write_text(f"path,label\na.wav,{label}\n")
    monkeypatch.chdir(here)
    assert read("table", root, "data.table=t.csv").classes == ("below",)
    assert read("table", root, f"data.table={here}/t.csv").classes == ("here",)
    (root / "t.csv").unlink()
    assert read("table", root, "data.table=t.csv").classes == ("here",)
    (here / "t.csv").unlink()
    with pytest.raises(DataError, match=r"root/t.csv: No such file or directory"):
        read("table", root, "data.table=t.csv")
