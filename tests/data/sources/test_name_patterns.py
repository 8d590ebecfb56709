"""Labels, groups and folds in the names of recordings."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from data_sources import read, source, touch

from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.opening import open_source

DIGITS = r"^(?P<label>\d+)_(?P<group>[a-z]+)_"


def column(manifest: Manifest, name: str) -> dict[str, Any]:
    return dict(zip(manifest.table["path"], manifest.table[name]))


def test_labels_and_groups_in_names(tmp_path: Path) -> None:
    touch(tmp_path, "2_ann_0.wav", "10_ann_0.wav", "more/2_bob_0.wav", "more/10_bob_0.wav")
    manifest = read("folder", tmp_path, label_pattern=DIGITS)
    assert column(manifest, "label") == {
        "2_ann_0.wav": "2",
        "10_ann_0.wav": "10",
        "more/2_bob_0.wav": "2",
        "more/10_bob_0.wav": "10",
    }
    assert [column(manifest, "group")[path] for path in ("2_ann_0.wav", "more/10_bob_0.wav")] == ["ann", "bob"]
    assert manifest.classes == ("2", "10")
    assert manifest.problems == []
    assert manifest.found == (
        "names of recordings: 2 labels (10 2, 2 2); 2 groups (ann 2, bob 2); "
        "for example 10_ann_0.wav: label 10, group ann"
    )


def test_folds_in_names_below_class_folders(tmp_path: Path) -> None:
    names = [f"{label}/{fold}-{take}.wav" for label in ("cat", "dog") for fold in (1, 2, 3) for take in "ab"]
    module = source("folder", touch(tmp_path, *names), fold_pattern="^[0-9]")
    manifest = module.read()
    assert all(fold == int(path[4]) for path, fold in column(manifest, "fold").items())
    assert "3 folds (1 4, 2 4, 3 4)" in manifest.found
    assert set(manifest.table["label"]) == {"cat", "dog"}


def test_split_folders_count_where_names_say_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/1_ann_0.wav", "train/2_ann_0.wav", "test/1_bob_0.wav", "test/2_bob_0.wav")
    splits = column(read("folder", tmp_path, label_pattern=DIGITS), "split")
    assert splits["train/1_ann_0.wav"] == "train"
    assert splits["test/2_bob_0.wav"] == "test"


@pytest.mark.parametrize(
    ("options", "part"),
    [({"label_pattern": DIGITS}, "label"), ({"label_pattern": r"^\d*", "fold_pattern": "(?<=f)[0-9]"}, "fold")],
)
def test_a_name_without_a_match_is_a_problem(tmp_path: Path, options: dict[str, str], part: str) -> None:
    touch(tmp_path, "1_ann_f1.wav", "2_ann_f2.wav", "1_bob_f2.wav")
    touch(tmp_path, {"label": "readme_f1.wav", "fold": "2_bob_.wav"}[part])
    manifest = read("folder", tmp_path, **options)
    assert len(manifest) == 3
    (problem,) = manifest.problems
    assert problem.what.endswith(f"finds no {part} in its name")
    assert problem.what.startswith(f"data.{part}_pattern=")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_pattern": "^[xyz]"}, r"data.label_pattern='^[xyz]': matches no file name (1_ann.wav, 2_ann.wav)"),
        (
            {"label_pattern": r"^\d", "fold_pattern": "[a-z]+"},
            "matches fold 'ann' in 1_ann.wav; expected a whole number",
        ),
        ({"label_pattern": r"^\d", "fold_pattern": "z"}, "data.fold_pattern='z': matches no file name"),
    ],
)
def test_patterns_without_usable_matches(tmp_path: Path, options: dict[str, str], message: str) -> None:
    touch(tmp_path, "1_ann.wav", "2_ann.wav")
    with pytest.raises(DataError, match=re.escape(message)):
        read("folder", tmp_path, **options)


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match="contains no recordings; expected WAV, FLAC, OGG, MP3"):
        read("folder", tmp_path, label_pattern=DIGITS)


@pytest.mark.parametrize("option", ["label_pattern", "group_pattern", "fold_pattern"])
def test_invalid_regular_expression(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=rf"data.{option}='\(' is not a regular expression: missing \)"):
        source("folder", tmp_path, **{option: "("})


@pytest.mark.parametrize(
    ("option", "pattern", "known"),
    [("group_pattern", "(?P<grp>a)", "group"), ("label_pattern", "(?P<clas>a)", "label, group, fold")],
)
def test_unknown_name_of_a_group_in_a_pattern(tmp_path: Path, option: str, pattern: str, known: str) -> None:
    with pytest.raises(ConfigError, match=rf"data.{option}=.* has a group named (grp|clas); known names: {known} \("):
        source("folder", tmp_path, **{option: pattern})


@pytest.mark.parametrize("part", ["group", "fold"])
def test_two_patterns_for_one_part(tmp_path: Path, part: str) -> None:
    message = f"data.{part}_pattern: data.label_pattern=.* extracts the {part} of .* already; leave one out"
    with pytest.raises(ConfigError, match=message):
        source("folder", tmp_path, label_pattern=rf"^(?P<label>\d)(?P<{part}>\d)", **{f"{part}_pattern": r"^\d"})


def test_summary_of_names_is_printed_before_decoding(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for speaker in ("ann", "bob", "cem", "dan", "eve"):
        for digit in (1, 2):
            sound = tiny.sound("noise", rng, seconds=0.1)
            soundfile.write(tmp_path / f"{digit}_{speaker}_0.wav", sound, tiny.RATE)
    module = source("folder", tmp_path, "data.sample_rate=8000", "data.clip_seconds=0.1", label_pattern=DIGITS)
    said: list[str] = []
    module.say = said.append
    module.progress = lambda done, total, what="": said.append("decoding")
    opened = open_source(module)
    assert opened.method == "grouped"
    assert said[0].startswith("names of recordings: 2 labels (1 5, 2 5); 5 groups (ann 2, bob 2, cem 2, dan 2, eve 2)")
    assert "decoding" in said[1:]


def test_recordings_without_class_folders_are_a_valid_root(tmp_path: Path) -> None:
    touch(tmp_path, "1_ann_0.wav")
    given = ["data=folder", f"data.root={tmp_path}"]
    with pytest.raises(ConfigError, match="has no class folders"):
        check_config(compose(quote_paths(given)))
    check_config(compose(quote_paths([*given, "data.label_pattern='^[0-9]'"])))


def test_table_and_label_pattern_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.label_pattern: data.table defines the classes already; leave one out"):
        source("instruments", tmp_path, table="clips.csv", label_pattern="^[a-z]+")
