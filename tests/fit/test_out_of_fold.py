"""Out-of-fold predictions are read, aligned and checked."""

import re
from pathlib import Path

import numpy as np
import pytest
from generated_predictions import generated, write_run, write_sweep

from audio_lightning.core.errors import ConfigError, DataError, FileError, UserError
from audio_lightning.fit.out_of_fold import candidates_of, read_out_of_fold


@pytest.mark.parametrize("multilabel", [False, True])
def test_candidates_of_a_sweep_are_aligned(multilabel: bool, tmp_path: Path) -> None:
    known = generated([1.0, 0.5], 30, size=3, multilabel=multilabel)
    candidates = candidates_of(write_sweep(tmp_path, known))
    assert {name: len(runs) for name, runs in candidates.items()} == {"m0": 4, "m1": 4}
    found = read_out_of_fold(candidates)
    assert found.candidates == ("m0", "m1")
    assert found.classes == known.classes
    assert found.multilabel == multilabel
    assert not found.recordings
    assert list(found.clips["label"]) == list(known.clips["label"])
    assert (found.targets == known.targets).all()
    np.testing.assert_allclose(found.probabilities, known.probabilities, atol=1e-7)
    assert list(found.group) == list(known.group)
    assert (found.num_clips, found.num_tested) == (30, 30)


def test_the_order_of_rows_and_runs_does_not_matter(tmp_path: Path) -> None:
    known = generated([1.0, 0.5], 12)
    late, early = slice(6, None), slice(0, 6)
    runs = {
        "a": [write_run(tmp_path / "1", known, 0, late), write_run(tmp_path / "2", known, 0, early)],
        "b": [write_run(tmp_path / "3", known, 1, slice(None, None, -1))],
    }
    np.testing.assert_allclose(read_out_of_fold(runs).probabilities, known.probabilities, atol=1e-7)


def test_repeated_predictions_are_averaged(tmp_path: Path) -> None:
    known = generated([1.0, 0.5], 12)
    runs = [write_run(tmp_path / "1", known, 0), write_run(tmp_path / "2", known, 1)]
    found = read_out_of_fold({"both": runs})
    np.testing.assert_allclose(found.probabilities[0], known.probabilities.mean(axis=0), atol=1e-7)


def test_whole_recordings_replace_windows(tmp_path: Path) -> None:
    known = generated([1.0, 0.5], 12)
    windowed = write_run(tmp_path / "1", known, 1)
    write_run(tmp_path / "1", known, 0, file="recordings")
    found = read_out_of_fold({"windows": [windowed], "whole": [write_run(tmp_path / "2", known, 1)]})
    assert found.recordings
    np.testing.assert_allclose(found.probabilities, known.probabilities, atol=1e-7)
    assert found.clips["end_seconds"].isna().all()


def test_clips_without_a_group_are_grouped_by_recording(tmp_path: Path) -> None:
    known = generated([1.0], 6)
    known.clips["group"] = ""
    known.clips["path"] = ["a.wav"] * 3 + ["b.wav"] * 3
    found = read_out_of_fold({"one": [write_run(tmp_path, known)]})
    assert list(found.group) == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(found.probabilities, known.probabilities, atol=1e-7)


def test_candidates_with_gaps_are_left_out_with_the_reason(tmp_path: Path) -> None:
    known = generated([1.0, 0.5, 0.5], 12)
    known.probabilities[2, 3] = np.nan
    runs = {
        "whole": [write_run(tmp_path / "1", known, 0)],
        "stopped": [write_run(tmp_path / "2", known, 1, slice(0, 6))],
        "diverged": [write_run(tmp_path / "3", known, 2)],
    }
    found, left_out = read_out_of_fold(runs).complete()
    assert found.candidates == ("whole",)
    assert found.probabilities.shape == (1, 12, 4)
    assert left_out == {"stopped": "predicts 6 of 12 clips", "diverged": "predicts 11 of 12 clips"}


def test_without_a_complete_candidate_the_clips_of_the_one_with_most_remain(tmp_path: Path) -> None:
    known = generated([1.0, 0.5], 12)
    runs = {
        "most": [write_run(tmp_path / "1", known, 0, slice(0, 8))],
        "other": [write_run(tmp_path / "2", known, 1, slice(6, 12))],
    }
    found, left_out = read_out_of_fold(runs).complete()
    assert list(found.clips["path"]) == list(known.clips["path"][:8])
    assert left_out == {"other": "predicts 2 of 8 clips"}


def test_networks_that_all_diverged_are_an_error(tmp_path: Path) -> None:
    known = generated([1.0], 6)
    known.probabilities[:] = np.nan
    with pytest.raises(DataError, match="no candidate has a usable prediction"):
        read_out_of_fold({"one": [write_run(tmp_path, known)]}).complete()


@pytest.mark.parametrize("what", ["label", "group"])
def test_runs_that_disagree_on_a_clip_are_named(what: str, tmp_path: Path) -> None:
    known = generated([1.0, 0.5], 6)
    one = write_run(tmp_path / "1", known, 0)
    known.clips.loc[4, what] = "a" if known.clips.loc[4, what] != "a" else "b"
    with pytest.raises(DataError, match=rf"00004\.wav: its {what} is .* in .*1/pred.* and .* in .*2/pred.*; train"):
        read_out_of_fold({"one": [one], "two": [write_run(tmp_path / "2", known, 1)]})


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda text: text.replace("probability d", "probability e").replace(",d,", ",e,"),
            DataError,
            r"differ \(d, e\)",
        ),
        (lambda text: re.sub(r"0\.\d{8}$", "1.5", text, flags=re.M), FileError, "is not between 0 and 1"),
        (lambda text: re.sub(r",[abcd],[abcd],", ",z,a,", text), FileError, "no column has the probability of z"),
        (lambda text: text.replace("probability", "chance"), FileError, "lacks the probabilities"),
        (lambda text: text[:60], FileError, "damaged"),
        (lambda text: "", FileError, "damaged"),
    ],
)
def test_damage_is_one_line(damage: object, error: type[UserError], message: str, tmp_path: Path) -> None:
    known = generated([1.0, 0.5], 6)
    one, two = write_run(tmp_path / "1", known, 0), write_run(tmp_path / "2", known, 1)
    two.predictions.write_text(damage(two.predictions.read_text()))  # type: ignore[operator]
    with pytest.raises(error, match=message) as caught:
        read_out_of_fold({"one": [one], "two": [two]})
    assert "\n" not in str(caught.value)


def test_runs_without_a_test_and_sweeps_without_a_run_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", generated([1.0], 6))
    run.predictions.unlink()
    with pytest.raises(ConfigError, match=r"has no predictions\.csv; expected a run with a test"):
        read_out_of_fold({"one": [run]})
    with pytest.raises(ConfigError, match="no run"):
        read_out_of_fold({})
    sweep = write_sweep(tmp_path / "sweep", generated([1.0], 8))
    for folder, status in sweep.folders():
        status.state = "failed"
        folder.write_status(status)
    with pytest.raises(ConfigError, match="no trial is finished"):
        candidates_of(sweep)
