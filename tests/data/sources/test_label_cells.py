"""Labels in table cells: one column for each label, and rows without labels."""

import re
from pathlib import Path
from typing import Any

import pytest
from data_sources import read, source

from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.core.errors import ConfigError, DataError

HOT = "path,who,dog,cat,s_1,s_2\na.wav,ann,1,0,0,0\nb.wav,bob,1.0,TRUE,,no\nc.wav,cem,0,0,0,0\nd.wav,dan,0,0,0,yes\n"


def table(root: Path, text: str, **options: Any) -> Any:
    (root / "t.csv").write_text(text)
    return read("table", root, "data.table=t.csv", **options)


def labels(manifest: Any) -> dict[str, str]:
    return dict(zip(manifest.table["path"], manifest.table["label"]))


@pytest.mark.parametrize(
    ("columns", "expected", "classes"),
    [
        ("rest", ["dog", "dog|cat", "", "s_2"], ("cat", "dog", "s_2")),
        (["dog", "cat"], ["dog", "dog|cat", "", ""], ("cat", "dog")),
        (["s_*", "cat"], ["", "cat", "", "s_2"], ("cat", "s_2")),
    ],
)
def test_a_column_for_each_label(tmp_path: Path, columns: Any, expected: list[str], classes: tuple[str, ...]) -> None:
    manifest = table(tmp_path, HOT, label_columns=columns, group_column="who")
    assert list(labels(manifest).values()) == expected
    assert manifest.classes == classes
    assert manifest.label_separator == "|"
    assert manifest.problems == []


@pytest.mark.parametrize("typed", ["rest", "[dog,cat,s_1,s_2]", "[dog, cat, 's_*']"])
def test_columns_on_the_command_line(tmp_path: Path, typed: str) -> None:
    (tmp_path / "t.csv").write_text(HOT)
    words = ["data=table", f"data.root={tmp_path}", "data.table=t.csv", f"data.label_columns={typed}"]
    config = compose(quote_paths([*words, "data.group_column=who"]))
    check_config(config)
    assert config.data.multilabel is True
    assert config.monitor == "validation/mean_average_precision"


def test_exactly_one_label_in_every_row_is_one_label_a_clip(tmp_path: Path) -> None:
    text = "path,dog,cat\na.wav,1,0\nb.wav,0,1\n"
    manifest = table(tmp_path, text, label_columns="rest")
    assert (manifest.label_separator, labels(manifest)) == (None, {"a.wav": "dog", "b.wav": "cat"})
    words = ["data=table", f"data.root={tmp_path}", "data.table=t.csv", "data.label_columns=rest"]
    config = compose(quote_paths(words))
    check_config(config)
    assert (config.data.multilabel, config.monitor) == (False, "validation/accuracy")
    assert table(tmp_path, text, label_columns="rest", multilabel=True).label_separator == "|"


def test_rows_without_exactly_one_label(tmp_path: Path) -> None:
    manifest = table(tmp_path, HOT, label_columns=["dog", "cat", "s_2"], multilabel=False)
    assert labels(manifest) == {"a.wav": "dog", "d.wav": "s_2"}
    assert list(map(str, manifest.problems)) == [
        "t.csv, line 3: labels dog, cat: expected exactly one with data.multilabel=false",
        "t.csv, line 4: labels none: expected exactly one with data.multilabel=false",
    ]


def test_invalid_label_cell(tmp_path: Path) -> None:
    manifest = table(tmp_path, "path,dog{s},cat\na.wav,1,0\nb.wav,2,0\nc.wav,0,windy\n", label_columns="rest")
    assert labels(manifest) == {"a.wav": "dog{s}"}
    assert [str(problem).partition(";")[0] for problem in manifest.problems] == [
        "t.csv, line 3: column dog{s} has '2', expected 0 or 1",
        "t.csv, line 4: column cat has 'windy', expected 0 or 1",
    ]


def test_label_columns_with_segments_and_joined_rows(tmp_path: Path) -> None:
    text = "path,from,dog,cat\na.wav,0:00,1,0\na.wav,0,0,1\na.wav,0:02,0,0\n"
    manifest = table(tmp_path, text, label_columns="rest", start_column="from", labels="rows")
    assert manifest.table[["start_seconds", "label"]].to_numpy().tolist() == [[0.0, "dog|cat"], [2.0, ""]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"label_columns": ["bird"]},
            "data.label_columns=bird names no column; expected one of who, dog, cat, s_1, s_2",
        ),
        ({"label_columns": ["s_1"]}, "t.csv: s_1 is empty in every row; expected labels"),
    ],
)
def test_columns_that_hold_no_labels(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        table(tmp_path, HOT, **options)


def test_rows_without_a_label_in_a_table_of_one_column(tmp_path: Path) -> None:
    text = "path,label\na.wav,dog\nb.wav,\nc.wav,a|b\n"
    manifest = table(tmp_path, text, multilabel=True)
    assert labels(manifest) == {"a.wav": "dog", "b.wav": ""}
    assert list(map(str, manifest.problems)) == ["t.csv, line 4: label 'a|b' contains '|'; rename it"]
    assert manifest.targets().tolist() == [[1], [0]]
    assert list(map(str, table(tmp_path, text).problems)) == ["t.csv, line 3: label is empty"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_columns": "rest", "label_separator": ";"}, "data.label_separator=;: cells of data.label_columns"),
        ({"multilabel": False, "label_separator": ";"}, "data.multilabel=false: data.label_separator=; allows"),
        ({"multilabel": False, "labels": "rows"}, "data.multilabel=false: data.labels=rows allows"),
    ],
)
def test_options_that_exclude_each_other(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        source("table", tmp_path, "data.table=t.csv", **options)
