"""Class folders of multi-label data."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
from data_sources import read, touch
from running import run

from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.core.errors import DataError
from audio_lightning.inference.evaluate import evaluate
from audio_lightning.run_folder import RunFolder


def test_folders_that_begin_with_a_hyphen_hold_examples_of_none(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav", "-wind/b.wav", "-/c.wav", "cat/-d.wav")
    manifest = read("folder", tmp_path, "data.multilabel=true")
    labels = dict(zip(manifest.table["path"], manifest.table["label"]))
    assert labels == {"dog/a.wav": "dog", "-wind/b.wav": "", "-/c.wav": "", "cat/-d.wav": "cat"}
    assert manifest.classes == ("cat", "dog")
    assert manifest.targets().sum(axis=1).tolist() == [0, 0, 1, 1]
    assert manifest.notes == ["2 recordings in - and -wind have no label"]


def test_folders_with_a_hyphen_are_classes_in_single_label_data(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav", "-wind/b.wav")
    manifest = read("folder", tmp_path)
    assert manifest.classes == ("-wind", "dog")
    assert manifest.label_separator is None
    assert manifest.notes == [
        "-wind: used as a class; with data.multilabel=true, recordings in folders that begin with - have no label"
    ]
    assert read("folder", touch(tmp_path / "numbers", "-1/a.wav", "0/b.wav")).notes == []


def test_one_class_against_none_in_split_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/dog/a.wav", "train/-rest/b.wav", "test/dog/c.wav", "test/-rest/d.wav")
    manifest = read("folder", tmp_path, "data.multilabel=true")
    assert dict(zip(manifest.table["path"], manifest.table["split"]))["test/-rest/d.wav"] == "test"
    assert manifest.classes == ("dog",)
    manifest.require_usable_classes()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["-a/1.wav", "-b/1.wav"], "all class folders begin with -, so no recording has a label"),
        (["a|b/1.wav", "c/1.wav"], "class a|b contains '|'; rename it"),
    ],
)
def test_folders_that_cannot_be_labels(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read("folder", touch(tmp_path, *names), "data.multilabel=true")


def test_default_monitor_is_multilabel(tmp_path: Path) -> None:
    touch(tmp_path, "dog/a.wav")
    config = compose(quote_paths(["data=folder", f"data.root={tmp_path}", "data.multilabel=true"]))
    check_config(config)
    assert config.monitor == "validation/mean_average_precision"


def test_negatives_are_trained_on_and_tested(tmp_path: Path) -> None:
    """A clip without a label is correct if nothing is predicted."""
    root = tiny.write_folder(tmp_path / "data")
    (root / "noise").rename(root / "-noise")
    rng = np.random.default_rng(1)
    for number in range(10):  # with and without a label
        mixed = sum(tiny.sound(name, rng) for name in tiny.CLASSES[:2]) / 2
        soundfile.write(root / f"low_tone/mixed{number}.wav", mixed, tiny.RATE)
    metrics = run(root, tmp_path / "run", "data=folder", "data.multilabel=true", "trainer.max_epochs=6")
    found = pd.read_csv(RunFolder(tmp_path / "run").predictions, keep_default_na=False)
    negatives = found["path"].str.startswith("-noise/")
    assert negatives.any()
    assert (found["label"][negatives] == "").all()
    assert set(found["label"][~negatives]) == {"high_tone", "low_tone"}
    assert metrics["test/accuracy"] == pytest.approx((found["label"] == found["predicted"]).mean())
    assert (found["predicted"][negatives] == "").mean() > 0.5
    again = evaluate(tmp_path / "run").metrics
    assert {key: again[key] for key in again if key.startswith("test/")} == {
        key: value for key, value in metrics.items() if key.startswith("test/")
    }
