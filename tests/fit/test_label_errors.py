"""Label errors from out-of-fold predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from generated_predictions import generated, write_run, write_sweep

from audio_lightning.core.errors import ConfigError
from audio_lightning.fit.label_errors import COLUMNS, audit_labels, find_label_errors
from audio_lightning.fit.out_of_fold import OutOfFold


def swapped(predictions: OutOfFold, share: float = 0.05, seed: int = 0) -> tuple[OutOfFold, set[str]]:
    """The same with the labels of some clips swapped for others, and the paths of these."""
    rng = np.random.default_rng(seed)
    places = rng.choice(len(predictions.clips), round(share * len(predictions.clips)), replace=False)
    targets, clips = predictions.targets.copy(), predictions.clips.copy()
    if predictions.multilabel:
        columns = rng.integers(len(predictions.classes), size=len(places))
        targets[places, columns] ^= True
    else:
        targets[places] = np.roll(targets[places], 1, axis=1)
    names = np.array(predictions.classes, dtype=object)
    clips["label"] = ["|".join(names[row]) for row in targets]
    return replace(predictions, targets=targets, clips=clips), set(clips["path"].iloc[places])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("multilabel", "signal"), [(False, 3.0), (True, 5.0)])
def test_half_of_the_first_clips_have_a_swapped_label(multilabel: bool, signal: float, seed: int) -> None:
    predictions, wrong = swapped(generated([signal], 600, multilabel=multilabel, seed=seed), seed=seed)
    if multilabel:  # logits of labels and of others on both sides of zero
        predictions = replace(predictions, probabilities=shifted(predictions.probabilities, signal / 2))
    found = find_label_errors(predictions, predictions.probabilities[0])
    first = found["path"].head(len(wrong))
    assert len(wrong) == 30
    assert len(set(first) & wrong) >= 15
    assert found["label_quality"].is_monotonic_increasing
    assert tuple(found.columns) == COLUMNS
    assert (found["label"] != found["predicted"]).all()
    assert 0 < found["confident"].sum() < len(found)


def shifted(probabilities: np.ndarray, by: float) -> np.ndarray:
    odds = probabilities / (1 - probabilities) * np.exp(-by)
    return (odds / (1 + odds)).astype(np.float32)


def test_right_labels_of_good_networks_are_not_listed() -> None:
    predictions = generated([12.0], 200)
    assert find_label_errors(predictions, predictions.probabilities[0]).empty


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("clips", [1, 2, 8])
def test_few_clips_and_classes_without_clips(clips: int, multilabel: bool) -> None:
    predictions = generated([1.0], clips, classes=10, multilabel=multilabel)
    assert len(find_label_errors(predictions, predictions.probabilities[0])) <= clips


def test_equal_clips_are_in_the_order_of_their_paths() -> None:
    predictions = generated([3.0], 40)
    targets = predictions.targets.copy()
    probabilities = np.where(targets, 0.9, 0.1 / 3).astype(np.float32)
    targets[[30, 4, 17]] = np.roll(targets[[30, 4, 17]], 1, axis=1)
    wrong = replace(predictions, targets=targets, clips=predictions.clips.assign(label="z"))
    first = find_label_errors(wrong, probabilities)["path"].head(3)
    assert list(first) == ["00004.wav", "00017.wav", "00030.wav"]


def test_a_sweep_is_audited_by_its_best_candidates(tmp_path: Path) -> None:
    predictions, wrong = swapped(generated([0.0, 2.5, 2.5], 200))
    audit = audit_labels([write_sweep(tmp_path, predictions).path])
    assert set(list(audit.ensemble.weights)[:2]) == {"m1", "m2"}
    assert len(set(audit.errors["path"].head(len(wrong))) & wrong) >= len(wrong) / 2
    assert audit.notes == []


def test_limits_are_noted(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, generated([1.0, 1.0], 40), folds=4)
    for folder, status in list(sweep.folders())[-2:]:
        status.state = "interrupted"
        folder.write_status(status)
    left_out, accuracy = audit_labels([sweep.path]).notes
    assert left_out == "m1 is left out: it predicts 20 of 40 clips."
    assert "At this accuracy, most contradictions are errors of the networks" in accuracy
    for folder, status in list(sweep.folders())[::4]:  # a fold of both
        status.state = "failed"
        folder.write_status(status)
    notes = audit_labels([sweep.path]).notes
    assert "Only 30 of 40 clips were tested; a sweep with sweep=folds tests all of them." in notes


def test_runs_and_whole_recordings_are_audited(tmp_path: Path) -> None:
    predictions, _ = swapped(generated([3.0], 100))
    runs = [write_run(tmp_path / str(fold), predictions, 0, slice(50 * fold, 50 * fold + 50)) for fold in range(2)]
    for fold, run in enumerate(runs):
        write_run(run.path, predictions, 0, slice(50 * fold, 50 * fold + 50), file="recordings")
        run.config.write_text("seed: 0\n")
    audit = audit_labels([run.path for run in runs])
    assert audit.predictions.recordings
    assert list(audit.errors.columns) == [name for name in COLUMNS if "seconds" not in name]


def test_without_cleanlab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.filter", None)
    monkeypatch.setitem(__import__("sys").modules, "cleanlab", None)
    predictions = generated([3.0], 20)
    with pytest.raises(ConfigError, match=r"pip install 'audio-lightning\[labels\]'"):
        find_label_errors(predictions, predictions.probabilities[0])
