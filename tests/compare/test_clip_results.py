"""Influence of groups of clips on metrics, against formulas and the bootstrap."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from audio_lightning.compare.clip_results import ClipResults, matrices
from audio_lightning.compare.statistics import error_of
from audio_lightning.run_folder import RunFolder

CLASSES = ["b", "null", "c"]


def predictions(path: Path, clips: int = 120, groups: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Write ``predictions.csv`` of clips in groups of three, with hard classes and hard groups."""
    rng = np.random.default_rng(seed)
    label = rng.choice(3, clips, p=[0.6, 0.3, 0.1])
    hard = rng.normal(size=clips // 3 + 1)[np.arange(clips) // 3]
    scores = rng.normal(size=(clips, 3)) + hard[:, None] * rng.normal(size=3)
    scores[np.arange(clips), label] += 1.2
    share = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    table = pd.DataFrame({
        "path": [f"{clip // 3}.wav" for clip in range(clips)],
        "start_seconds": np.arange(clips) % 3,
        "label": np.take(CLASSES, label),
        "predicted": np.take(CLASSES, share.argmax(axis=1)),
    })  # fmt: skip
    if groups:
        table.insert(1, "group", [f"speaker {clip // 3 % groups}" for clip in range(clips)])
    for place, name in enumerate(CLASSES):
        table[f"probability {name}"] = share[:, place]
    path.mkdir(parents=True, exist_ok=True)
    table.to_csv(RunFolder(path).predictions, index=False)
    return table


def metric(table: pd.DataFrame, name: str) -> float:
    if name == "accuracy":
        return float((table["label"] == table["predicted"]).mean())
    if name == "loss":
        return log_loss(
            table["label"], table[[f"probability {name}" for name in sorted(CLASSES)]], labels=sorted(CLASSES)
        )
    if name == "balanced_accuracy":
        return balanced_accuracy_score(table["label"], table["predicted"])
    return f1_score(table["label"], table["predicted"], average="macro")


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1_macro", "loss"])
def test_the_variance_is_that_of_a_bootstrap_over_groups(tmp_path: Path, name: str) -> None:
    table = predictions(tmp_path)
    value = metric(table, name)
    found = ClipResults({0: tmp_path}).influence(0, f"test/{name}", value)
    assert found is not None
    (influence,) = matrices([found])
    assert influence.shape == (1, 40)
    assert influence.sum() == pytest.approx(0, abs=1e-9)
    rng, rows = np.random.default_rng(0), np.arange(120).reshape(40, 3)
    again = [metric(table.iloc[rows[rng.integers(0, 40, 40)].ravel()], name) for _ in range(250)]
    assert np.sqrt(error_of(np.array([value]), influence).variance) == pytest.approx(np.std(again), rel=0.15)


def test_the_group_takes_the_place_of_the_file(tmp_path: Path) -> None:
    value = metric(predictions(tmp_path, groups=8), "accuracy")
    found = ClipResults({0: tmp_path}).influence(0, "test/accuracy", value)
    assert found is not None
    assert len(found[0]) == 8


def test_groups_are_matched_across_trials(tmp_path: Path) -> None:
    values = [metric(predictions(tmp_path / str(n), seed=n), "accuracy") for n in range(2)]
    clips = ClipResults({n: tmp_path / str(n) for n in range(2)})
    each = [clips.influence(n, "test/accuracy", value) for n, value in enumerate(values)]
    assert all(each)
    both, alone = matrices([one for one in each if one], [one for one in each[:1] if one])
    assert both.shape == (2, 40)
    np.testing.assert_allclose(both[:1], alone)


def test_whole_recordings_are_read_from_their_own_table(tmp_path: Path) -> None:
    value = metric(predictions(tmp_path), "accuracy")
    clips = ClipResults({0: tmp_path})
    assert clips.influence(0, "test/recording_accuracy", value) is not None  # recordings that are not cut
    RunFolder(tmp_path).recordings.write_text("path,label,predicted\na.wav,b,b\nb.wav,b,c\n")
    found = ClipResults({0: tmp_path}).influence(0, "test/recording_accuracy", 0.5)
    assert found is not None
    assert len(found[0]) == 2


@pytest.mark.parametrize(
    "text", ["", "path,label\na,b\n", "path,label,predicted\n", None, "\0\0", "path,label,predicted\na"]
)
@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "loss"])
def test_no_influence_without_usable_predictions(tmp_path: Path, text: str | None, name: str) -> None:
    if text is not None:
        RunFolder(tmp_path).predictions.write_text(text)
    assert ClipResults({0: tmp_path}).influence(0, f"test/{name}", 0.5) is None


@pytest.mark.parametrize(
    ("column", "value"), [("test/accuracy", 0.123), ("test/mean_average_precision", 0.5), ("validation/accuracy", 0.5)]
)
def test_no_influence_for_an_unsupported_metric(tmp_path: Path, column: str, value: float) -> None:
    predictions(tmp_path)
    assert ClipResults({0: tmp_path}).influence(0, column, value) is None
