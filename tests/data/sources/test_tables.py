"""Reader of tables: equal results for four formats, and problems of invalid rows and files."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from audio_lightning.core.errors import DataError
from audio_lightning.data.sources.tables import ColumnError, are_whole, read_table, reject

Rows = list[dict[str, Any]]


def write_text_table(path: Path, rows: Rows) -> None:
    pd.DataFrame(rows).to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)


def write_json_lines(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path: Path, rows: Rows) -> None:
    pd.DataFrame(rows).to_parquet(path)


FORMATS: dict[str, Callable[[Path, Rows], None]] = {
    "t.csv": write_text_table,
    "t.tsv": write_text_table,
    "t.TSV": lambda path, rows: pd.DataFrame(rows).to_csv(path, sep="\t", index=False),
    "t.parquet": write_parquet,
    "t.jsonl": write_json_lines,
    "t.ndjson": write_json_lines,
}


@pytest.fixture(params=FORMATS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Rows], Path]:
    def write(rows: Rows) -> Path:
        FORMATS[request.param](tmp_path / request.param, rows)
        return tmp_path / request.param

    return write


def first_number(path: Path) -> int:
    """Number of the first row: text formats count the header line."""
    return 2 if path.suffix.lower() in (".csv", ".tsv") else 1


def test_every_format_reads_alike(write: Callable[[Rows], Path]) -> None:
    path = write(
        [
            {"unused": 1, "path": " ä,b.wav ", "label": 'a "dog"', "fold": 3, "start": 0.25},
            {"unused": 2, "path": "c.wav", "label": "cat", "fold": 12, "start": None},
        ]
    )
    table, problems = read_table(path, ("label", "path", "fold"), ("start",))
    assert not problems
    assert table.to_dict("list") == {
        "label": ['a "dog"', "cat"],
        "path": ["ä,b.wav", "c.wav"],
        "fold": ["3", "12"],
        "start": ["0.25", ""],
    }
    assert list(table.index) == [first_number(path), first_number(path) + 1]
    assert set(map(str, table.dtypes)) == {"object"}, "the same type whatever pandas makes of text"


def test_every_format_names_the_rows_with_empty_fields(write: Callable[[Rows], Path]) -> None:
    path = write(
        [
            {"path": "a.wav", "label": "x", "group": None},
            {"path": None, "label": None, "group": "g"},
            {"path": "c.wav", "label": " ", "group": "g"},
            {"path": "d.wav", "label": "y", "group": "g"},
        ]
    )
    table, problems = read_table(path, ("path", "label"), ("group",))
    counted = "row" if path.suffix == ".parquet" else "line"
    first = first_number(path)
    assert list(table["path"]) == ["a.wav", "d.wav"]
    assert [str(problem) for problem in problems] == [
        f"{path.name}, {counted} {first + 1}: path, label is empty",
        f"{path.name}, {counted} {first + 2}: label is empty",
    ]


def test_every_format_names_the_columns_found(write: Callable[[Rows], Path]) -> None:
    path = write([{"path": "a.wav", "label": "x"}])
    with pytest.raises(
        ColumnError, match="has no column labels; expected path, labels, found path, label; did you"
    ) as e:
        read_table(path, ("path",), ("labels",))
    assert e.value.lacking == ["labels"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_numbers_become_plain_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    FORMATS[path.name](path, [{"a": 3, "b": 3.0, "c": True}, {"a": float("nan"), "b": 0.125, "c": False}])
    table, _ = read_table(path, ("b", "c"), ("a",))
    assert table[["a", "b", "c"]].to_numpy().tolist() == [["3", "3", "true"], ["", "0.125", "false"]]


def test_categories_in_parquet_are_text(tmp_path: Path) -> None:
    pd.DataFrame({"label": pd.Categorical(["b", "a"])}).to_parquet(tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet", ("label",))[0]["label"]) == ["b", "a"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_value_that_is_not_text_is_a_problem(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    FORMATS[path.name](path, [{"path": "a.wav", "label": ["x", "y"]}])
    _, problems = read_table(path, ("path", "label"))
    assert problems[0].what == "label is a list, expected text or a number"


def test_lines_that_are_not_json_objects(tmp_path: Path) -> None:
    lines = ['{"label": "x"}', "", "[1]", "{broken", "[" * 100_000, '{"label": "y"}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    table, problems = read_table(tmp_path / "t.jsonl", ("label",))
    assert list(table["label"]) == ["x", "y"]
    assert [(problem.where, problem.what[:31]) for problem in problems] == [
        ("t.jsonl, line 3", "expected a JSON object, found ["),
        ("t.jsonl, line 4", "expected a JSON object, found {"),
        ("t.jsonl, line 5", "expected a JSON object, found ["),
    ]


def test_lines_are_counted_across_blank_and_broken_ones(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path,label\n\n"a\nb.wav",x\n,\nc.wav\nd.wav,y\n')
    table, problems = read_table(tmp_path / "t.csv", ("path", "label"))
    assert dict(table["path"]) == {4: "a\nb.wav", 7: "d.wav"}
    assert [str(problem) for problem in problems] == ["t.csv, line 6: has 1 fields, the header has 2"]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separator_is_detected_from_the_header(tmp_path: Path, name: str, separator: str, mark: str) -> None:
    lines = [["number", "path", "label"], ["1", '"a;b,c.wav"', '"x,\ty;z"'], ["2", "d.wav", "y"]]
    text = mark + "".join(f"{separator.join(line)}\n" for line in lines)
    (tmp_path / name).write_text(text, encoding="utf-8")
    table, problems = read_table(tmp_path / name, ("path", "label"))
    assert not problems
    assert table.to_dict("list") == {"path": ["a;b,c.wav", "d.wav"], "label": ["x,\ty;z", "y"]}


def test_other_characters_are_not_separators(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('"path, or name;or;what",label,x;y;z;u;v\na.wav,b,c;d\n')
    table, _ = read_table(tmp_path / "t.csv", ("label", "path, or name;or;what"))
    assert table.to_numpy().tolist() == [["b", "a.wav"]]


def test_columns_found_by_another_separator_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Datei;Klasse\na.wav;x\n")
    with pytest.raises(ColumnError, match="expected path, label, found Datei, Klasse"):
        read_table(tmp_path / "t.csv", ("path", "label"))


def test_an_unsupported_separator_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path|label\na.wav|x\n")
    with pytest.raises(ColumnError, match=r"found path\|label; separate the fields by commas, semicolons or tabs"):
        read_table(tmp_path / "t.csv", ("path", "label"))


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("t.csv", None, "No such file or directory; check data.root"),
        ("t.parquet", None, "No such file or directory; check data.root"),
        ("t.csv", b"", "has no column label; expected label, found an empty file"),
        ("t.csv", b"label\n", "has no rows; expected one row per clip"),
        ("t.jsonl", b"\n", "has no rows; expected one row per clip"),
        ("t.csv", b"label,x,label\na,b,c\n", "has more than one column label"),
        ("t.csv", b"label\nx\nB\xfcro\n", "is not a CSV file in UTF-8: byte 2 of line 3 is 0xfc; save it as UTF-8"),
        ("t.csv", b"B\xfcro,label\n", "is not a CSV file in UTF-8: byte 2 of line 1 is 0xfc; save it as UTF-8"),
        ("t.tsv", b"label\n\xff\xfe\n", "is not a TSV file in UTF-8: byte 1 of line 2 is 0xff; save it as UTF-8"),
        ("t.jsonl", b'{"label": "\xff"}\n', "is not a JSON Lines file in UTF-8: byte 12 of line 1 is 0xff; save it"),
        ("t.tsv", b'label\tx\n"Hello\tx\na\tb\n', r"is not a TSV file in UTF-8: unexpected end of data \(line 3\)"),
        ("t.csv", b'label,x\n"Hello,x\n"Bye,x\n', r"expected after '\"' \(line 3\)"),
        ("t.parquet", b"label\nx\n", "is not a Parquet file"),
        ("t.xlsx", b"", "expected a table with the suffix .csv, .tsv, .txt, .parquet, .jsonl, .ndjson, found .xlsx"),
    ],
)
def test_file_that_is_not_a_table(tmp_path: Path, name: str, contents: bytes | None, message: str) -> None:
    if contents is not None:
        (tmp_path / name).write_bytes(contents)
    with pytest.raises(DataError, match=message) as raised:
        read_table(tmp_path / name, ("label",))
    assert "\n" not in str(raised.value)


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(path, [{"label": f"x{number}"} for number in range(1000)])
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_table(path, ("label",))


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="needs the package pyarrow; pip install pyarrow"):
        read_table(tmp_path / "t.parquet", ("label",))


def test_rejected_rows_are_named_with_their_values(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,fold\na,1\nb{c},x\nc,3\n")
    table, problems = read_table(tmp_path / "t.csv", ("path", "fold"))
    kept = reject(table, ~are_whole(table["fold"]), "fold {fold!r} of {path} is wrong", problems)
    assert list(kept["path"]) == ["a", "c"]
    assert [str(problem) for problem in problems] == ["t.csv, line 3: fold 'x' of b{c} is wrong"]


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "9" * 30, "²", "1 2"])
def test_invalid_whole_numbers(text: str) -> None:
    assert are_whole(pd.Series(["7", text], dtype=object)).tolist() == [True, False]
