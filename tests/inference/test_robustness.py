"""Robustness: clean clips as in evaluate, paired differences, and two classifiers compared."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from untrained import CNN, write_member

import audio_lightning as al
from audio_lightning.core.errors import CheckpointError, ConfigError, DataError
from audio_lightning.inference import robustness as module
from audio_lightning.inference.evaluate import evaluate
from audio_lightning.inference.robustness import FILES, as_table, robustness, write_robustness

ONLY = ["noise", "level"]


@pytest.fixture(scope="module")
def found(trained: Path) -> pd.DataFrame:
    return as_table(robustness(trained, only=ONLY))


def test_clean_clips_have_the_metric_of_evaluate(trained: Path, found: pd.DataFrame) -> None:
    metrics = evaluate(trained).metrics
    clean = found.iloc[0]
    assert (clean["corruption"], clean["metric"], clean["difference"]) == ("none", "accuracy", 0.0)
    assert clean["score"] == pytest.approx(metrics["test/accuracy"])
    assert (clean["low"], clean["high"]) == pytest.approx((metrics["test/accuracy_low"], metrics["test/accuracy_high"]))
    assert (clean["num_clips"], clean["num_groups"]) == (metrics["num_clips/test"], metrics["num_groups/test"])


def test_differences_equal_those_of_the_scores(found: pd.DataFrame) -> None:
    assert len(found) == 1 + 8 + 6
    np.testing.assert_allclose(found["difference"], found["score"] - found["score"].iloc[0], atol=1e-12)
    rows = found.iloc[1:]
    assert ((rows["difference_low"] < rows["difference"]) & (rows["difference"] < rows["difference_high"])).all()


def test_noise_as_loud_as_the_sound_is_worse_than_a_little_of_it(trained: Path, tmp_path: Path) -> None:
    """On tones and noise: a tone in much white noise is taken for noise."""
    data = tiny.write_urbansound8k(tmp_path / "data", folds=1, clips=12, seed=5)
    words = ["data=urbansound8k", f"data.root={data}", "data.split=all"]
    rows = as_table(robustness(trained, words, only=["noise"])).set_index("condition")["score"]
    assert rows["white noise, 0 dB SNR"] < rows["white noise, 30 dB SNR"]


def test_results_are_reproducible_for_all_and_for_some_clips(trained: Path, found: pd.DataFrame) -> None:
    again = as_table(robustness(trained, only=["level", "noise"]))
    pd.testing.assert_frame_equal(again, found)
    some = as_table(robustness(trained, only=["level"], clips=4, seed=2))
    assert set(some["num_clips"]) == {4}


def test_batches_make_no_difference(trained: Path, found: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    pd.testing.assert_frame_equal(as_table(robustness(trained, only=ONLY)), found)


def test_two_classifiers_on_the_same_clips(trained: Path) -> None:
    best, last = trained / "checkpoints/best.ckpt", trained / "checkpoints/last.ckpt"
    rows = al.robustness(best, against=last, only=["level"])
    first, other = rows[rows["model"] == str(best)], rows[rows["model"] == str(last)]
    assert list(first["condition"]) == list(other["condition"])
    assert first["difference_to_first"].isna().all()
    np.testing.assert_allclose(other["difference_to_first"], other["score"].to_numpy() - first["score"].to_numpy())
    with pytest.raises(ConfigError, match="the same classifier"):
        robustness(best, against=best)


def test_different_test_clips_are_rejected(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, lengths = module._keys, iter([9, 8])
    monkeypatch.setattr(module, "_keys", lambda datamodule, number: keys(datamodule, number)[: next(lengths)])
    monkeypatch.setattr(module, "_tested", lambda *_: pytest.fail("tested before the clips were compared"))
    best, last = trained / "checkpoints/best.ckpt", trained / "checkpoints/last.ckpt"
    with pytest.raises(DataError, match=r"its 8 test clips are not the 9 of .* \(8 in common\); name the same data"):
        robustness(best, against=last, only=["level"])


def test_several_labels_have_mean_average_precision(tmp_path: Path) -> None:
    checkpoint = write_member(tmp_path / "several.ckpt", *CNN, multilabel=True)
    data = tiny.write_hot_table(tmp_path / "data")
    words = ["data=table", f"data.root={data}", f"data.table={data}/clips.csv", "data.split=all"]
    words.append(f"data.label_columns=[{','.join(tiny.CLASSES)}]")
    rows = as_table(robustness(checkpoint, words, only=["level"]))
    assert set(rows["metric"]) == {"mean_average_precision"}
    expected = evaluate(checkpoint, words).metrics["test/mean_average_precision"]
    assert rows["score"].iloc[0] == pytest.approx(expected, abs=1e-6)
    assert (rows["low"] < rows["score"]).all()
    assert rows["difference_high"].iloc[1:].notna().all()


def test_files(trained: Path, tmp_path: Path) -> None:
    rows = robustness(trained, only=["telephone", "codec", "shift"])
    assert [file.name for file in write_robustness(tmp_path, rows)] == list(FILES)
    table = pd.read_csv(tmp_path / "robustness.csv")
    plain = json.loads((tmp_path / "robustness.json").read_text())
    assert [row["condition"] for row in plain] == list(table["condition"])
    assert {row["corruption"] for row in plain} == {"none", "telephone", "codec", "shift"}
    assert (tmp_path / "robustness.png").read_bytes().startswith(b"\x89PNG")


def test_one_group_has_no_interval(trained: Path) -> None:
    rows = robustness(trained, only=["level"], clips=1)
    assert {(row.low, row.difference_low) for row in rows[1:]} == {(None, None)}


def test_nan_probabilities_are_rejected(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "audio_lightning.classifier.base.Classifier.activate", lambda self, logits: logits.float() * float("nan")
    )
    with pytest.raises(CheckpointError, match="the probabilities of clean clips hold NaN"):
        robustness(trained, only=["level"])
