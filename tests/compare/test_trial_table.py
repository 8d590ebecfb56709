"""Table of trials."""

import csv
from pathlib import Path

import pytest
from sweep_folders import make_sweep, trial

from audio_lightning.compare.leaderboard import make_boards
from audio_lightning.compare.trial_table import FIRST, TESTED, read_results, write_results
from audio_lightning.report.sweep_page import write_sweep_page

DAMAGES = [b"", b"{", b"[]", b"null", b"\x00" * 50, "a: 1\n".encode("utf-16"), b'{"latency_ms": "slow", "hash": 3}']


def test_a_row_has_all_facts_of_a_trial(tmp_path: Path) -> None:
    sweep = make_sweep(
        tmp_path / "s", [trial(0.9, 0.8, model="resnet", fold=2, config={"loss": {"class_weights": None}})]
    )
    results = read_results([sweep])
    assert tuple(results.columns[: len(FIRST)]) == FIRST
    row = results.iloc[0].to_dict()
    assert row["trial"] == 0
    assert (sweep.path / row["folder"] / "status.json").is_file()
    assert row["choice.model"] == "resnet"
    assert row["choice.feature"] == "logmel"
    assert row["choice.data.test_fold"] == 2
    assert (row["test/accuracy"], row["validation/accuracy"], row["macs"]) == (0.8, 0.9, 50_000)
    assert row["seconds"] == 12.5  # of the process
    assert row["training_seconds"] == 10.0
    assert row["latency_ms"] == 2.5
    assert row["config.optimizer.lr"] == 0.001
    assert row["config.loss.class_weights"] is None
    assert type(row["macs"]) is int


def test_axes_override_groups(tmp_path: Path) -> None:
    groups = {"model": "of the group", "feature": "mfcc", "optimizer": "sgd"}
    row = read_results([make_sweep(tmp_path / "s", [trial(model="typed", groups=groups)])]).iloc[0]
    assert (row["choice.model"], row["choice.feature"]) == ("typed", "mfcc")


def test_missing_values_are_none(tmp_path: Path) -> None:
    rows = [trial(model="cnn"), trial(model="lstm", state="failed", reason="out of memory", peak_memory_mb=None)]
    results = read_results([make_sweep(tmp_path / "s", rows)])
    assert list(results["state"]) == ["done", "failed"]
    failed = results.iloc[1]
    assert failed["reason"] == "out of memory"
    assert failed["macs"] is None
    assert failed["latency_ms"] is None
    assert type(results["macs"].iloc[0]) is int  # not a float because of the gap


def test_several_sweeps(tmp_path: Path) -> None:
    """Identical trials count once, and a finished one is preferred to a failed one."""
    first = make_sweep(
        tmp_path / "a", [trial(0.5, model="cnn"), trial(model="lstm", state="failed"), trial(model="dnn")]
    )
    second = make_sweep(tmp_path / "b", [trial(0.6, model="cnn"), trial(0.7, model="lstm")])
    results = read_results([first, second])
    assert results.columns[0] == "sweep"
    found = {(row["choice.model"], row["sweep"], row["state"]) for _, row in results.iterrows()}
    assert found == {
        ("cnn", str(first.path), "done"),
        ("lstm", str(second.path), "done"),
        ("dnn", str(first.path), "done"),
    }
    assert list(results.index) == [0, 1, 2]


def test_what_was_tested_is_looked_up_where_divisions_differ(tmp_path: Path) -> None:
    """The order of clips does not matter; other windows of the same recordings are different clips."""
    lines = [["a,0.0,1.0", "b,0.0,1.0"], ["b,0.0,1.0", "a,0.0,1.0"], ["a,0.0,0.5", "a,0.5,1.0", "b,0.0,0.5"], []]
    sweep = make_sweep(tmp_path / "s", [trial(seed=seed, division=str(seed)) for seed in range(4)])
    for (folder, _), clips in zip(sweep.folders(), lines, strict=True):
        if clips:
            folder.predictions.write_text("\n".join(["path,start_seconds,end_seconds", *clips]))
    results = read_results([sweep])
    clips, recordings = (results[name].tolist() for name in TESTED)
    assert clips[0] == clips[1] != clips[2]
    assert recordings[0] == recordings[1] == recordings[2] is not None
    assert (clips[3], recordings[3]) == (None, None)
    one = make_sweep(tmp_path / "one", [trial(seed=seed) for seed in range(2)])
    assert read_results([one])[list(TESTED)].isna().all(axis=None)


def test_no_trials(tmp_path: Path) -> None:
    results = read_results([make_sweep(tmp_path / "s", [])])
    assert len(results) == 0
    assert "state" in results


def test_the_file_keeps_words_and_values_as_they_are(tmp_path: Path) -> None:
    rows = [
        trial(model="cnn", config={"data": {"classes": ["null", "none"], "label": "null", "root": "a,b\n"}}),
        trial(model="lstm", state="failed", lr=1e-5),
    ]
    sweep = make_sweep(tmp_path / "s", rows)
    results = write_results(sweep)
    assert results["config.data.label"].iloc[0] == "null"
    assert results["config.data.classes"].iloc[0] == ["null", "none"]
    with sweep.results.open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert list(first) == list(results.columns)
    assert (first["config.data.label"], first["config.data.classes"]) == ("null", '["null", "none"]')
    assert first["config.data.root"] == "a,b\n"
    assert first["macs"] == "50000"
    assert (second["macs"], second["config.optimizer.lr"]) == ("", "1e-05")


@pytest.mark.parametrize("name", ["status.json", "metrics.json", "config.yaml", "latency.json"])
@pytest.mark.parametrize("damage", DAMAGES, ids=repr)
def test_a_damaged_trial_is_named_and_the_others_are_ranked(tmp_path: Path, name: str, damage: bytes) -> None:
    sweep = make_sweep(tmp_path / "s", [trial(0.9, model="cnn"), trial(0.8, model="lstm"), trial(0.7, model="dnn")])
    first, *_ = [folder for folder, _ in sweep.folders()]
    (first.path / name).write_bytes(damage)
    results = read_results([sweep])
    assert sorted(results["state"]) == ["done", "done", "failed"]
    (line,) = results.attrs["damaged"]
    assert line.startswith(str(first.path / name))
    assert "\n" not in line
    assert line in list(results["reason"])
    (board,) = make_boards(results, "validation/accuracy", ["model"], [sweep])
    assert [row.name for row in board.rows] == ["lstm", "dnn"]
    assert len(write_results(sweep)) == 3


def test_the_page_names_a_damaged_trial(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "s", [trial(0.9, model="cnn"), trial(0.8, model="lstm"), trial(0.7, model="dnn")])
    first, *_ = [folder for folder, _ in sweep.folders()]
    first.status.write_text("{")
    results = read_results([sweep])
    page = write_sweep_page(sweep, results, make_boards(results, "validation/accuracy", ["model"], [sweep]))
    assert f"{first.path.name}" in page.read_text()


def test_damaged_predictions_are_named_where_they_are_read(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "s", [trial(seed=seed, division=str(seed)) for seed in range(3)])
    folders = [folder for folder, _ in sweep.folders()]
    for folder in folders:
        folder.predictions.write_text("path,start_seconds,end_seconds\na,0.0,1.0\n")
    folders[1].predictions.write_bytes(b"{")
    results = read_results([sweep])
    assert list(results["state"]) == ["done", "failed", "done"]
    line = f"{folders[1].predictions} is damaged: its header lacks path, start_seconds, end_seconds; restore a copy"
    assert results.attrs["damaged"] == [line]
