"""Warnings about splits that are too small."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audio_lightning.data.manifest import SPLITS
from audio_lightning.training.console import print_run
from audio_lightning.training.samples import small_samples

FEW = "classes with fewer than 5 clips: "


def said(*counts: list[int], splits: tuple[str, ...] = SPLITS) -> list[str]:
    """Return the warnings about data with given numbers of clips of cat, dog and owl in the three splits."""
    by_split = dict(zip(SPLITS, counts))
    stub: Any = SimpleNamespace(
        class_counts=by_split.__getitem__,
        numbers=lambda split: range(sum(by_split[split])),
        manifest=SimpleNamespace(classes=("cat", "dog", "owl")),
    )
    return small_samples(stub, splits)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (([5, 50, 50], [20, 25, 5], [5, 5, 5]), []),
        (([5, 50, 50], [0, 0, 0], [5, 5, 5]), []),  # as asked for
        (([9, 9, 9], [20, 24, 5], [5, 5, 5]), ["49 validation clips, fewer than 50: the best epoch is uncertain"]),
        (([4, 9, 9], [90, 0, 9], [5, 1, 5]), [f"{FEW}cat (train 4), dog (test 1)", "validation has no clip of dog"]),
        (([9, 0, 9], [90, 9, 9], [9, 9, 0]), ["train has no clip of dog", "test has no clip of owl: never tested"]),
    ],
)
def test_small_splits_are_named(counts: tuple[list[int], ...], expected: list[str]) -> None:
    assert said(*counts) == expected


def test_only_what_is_evaluated_counts_there() -> None:
    assert said([0, 1, 1], [1, 1, 1], [5, 0, 9], splits=("test",)) == ["test has no clip of dog: never tested"]


def test_a_run_writes_and_prints_intervals_and_warnings(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    for name in ("test/accuracy", "test/balanced_accuracy"):
        assert 0 <= metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"] <= 1
        assert metrics[f"{name}_high"] - metrics[f"{name}_low"] > 0.2  # nine clips
    assert metrics["num_groups/test"] == 6  # of each class one recording with two clips, and one with one
    assert "9 validation clips" in metrics["warnings"]
    print_run(metrics, trained)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("test: accuracy ")
    assert "low" not in lines[0]
    low, high = metrics["test/accuracy_low"], metrics["test/accuracy_high"]
    assert lines[1].startswith(f"95 % interval over clips in 6 groups: accuracy {low:.3f} to {high:.3f}, balanced")
    print_run(metrics | {"leakage": "cannot be excluded"}, trained)  # without groups
    assert "95 % interval over clips in 6 recordings: " in capsys.readouterr().out
    assert [line for line in lines if line.startswith("warning: ")] == [
        f"warning: {sentence}" for sentence in metrics["warnings"].split("; ")
    ]
