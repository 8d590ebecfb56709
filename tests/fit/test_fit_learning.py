"""Learning curve of a fit: its trainings and its points."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fit_folders import whole_summary
from generated_predictions import generated, write_run

from audio_lightning.compare.fit_summary import FitFolder
from audio_lightning.compare.trials import SweepFacts, SweepFolder, TrialFolder, TrialStatus
from audio_lightning.config import compose
from audio_lightning.core.files import write_json
from audio_lightning.fit.budget import Allocation
from audio_lightning.fit.learning import plan_learning
from audio_lightning.fit.learning_points import learning_points
from audio_lightning.fit.out_of_fold import candidates_of_fit
from audio_lightning.fit.state import FitState, Pass, Training
from audio_lightning.report.fit_page import write_fit_page

LINES = ["data=folder", "data.root=sounds", "experiment=auto"]


def finished(path: Path, seconds: float, *, clips: int = 100, epochs: int = 10, planned: int = 10) -> TrialFolder:
    """A training of some epochs on some clips, of as many as were planned."""
    folder = TrialFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    settled = ["data.batch_size=16", "data.sampling=balanced", "data.hop_seconds=null", "data.clip_seconds=1.5"]
    settled += ["data.sample_rate=16000", "data.padding=repeat", f"trainer.max_epochs={planned}"]
    folder.write_config(compose([*LINES, *settled]))
    write_json(folder.metrics, {"epochs": epochs, "num_clips/train": clips})
    status: Any = {"number": 0, "hash": path.name, "setup": "s", "overrides": [], "groups": {}, "seconds": seconds}
    folder.write_status(TrialStatus(state="done", choices={"candidate": path.name, "fold": 0}, **status))
    return folder


def plan(runs: dict[str, TrialFolder], members: list[str], **changes: Any) -> list[Training]:
    lines = ["data.folds=4", "data.test_fold=1", "trainer.max_epochs=10", "plots=false"]
    rounds = [[Training(name, 0, lines, trial=folder.path.name) for name, folder in runs.items()]]
    one = Pass(1200.0, Allocation(tuple(runs), len(members), 4, 100), rounds=rounds, survivors=members)
    times = {"budget": 1200.0, "left": 100.0, **changes}
    trainings: Any = SimpleNamespace(finished={name: [run] for name, run in runs.items()}, slots=times.pop("slots", 2))
    return plan_learning(LINES, [one], trainings, **times)


def overrides(training: Training) -> dict[str, str]:
    return dict(line.split("=", 1) for line in training.lines)


def test_the_quickest_member_is_repeated_on_shares_with_as_many_steps(tmp_path: Path) -> None:
    times = {"slow": 50.0, "quick": 40.0, "quickest": 10.0}
    found = plan({name: finished(tmp_path / name, taken) for name, taken in times.items()}, ["slow", "quick"])
    assert [(one.name, one.fold, one.share) for one in found] == [("quick", 0, 0.5), ("quick", 0, 0.25)]
    half, quarter = map(overrides, found)
    assert (half["data.train_share"], quarter["data.train_share"]) == ("0.5", "0.25")
    # 10 epochs of 7 steps (100 clips, batches of 16); of 50 and 25 clips there are 4 and 2 steps.
    assert (half["trainer.max_epochs"], quarter["trainer.max_epochs"]) == ("18", "35")
    assert half["data.test_fold"] == "1"


def test_derived_settings_are_kept(tmp_path: Path) -> None:
    (half, *_) = plan({"quick": finished(tmp_path / "quick", 10.0)}, ["quick"])
    settled = {"data.batch_size": "16", "data.sampling": "balanced", "data.clip_seconds": "1.5"}
    assert settled.items() <= overrides(half).items()
    assert overrides(half)["data.hop_seconds"] == "null"


def test_another_candidate_is_repeated_if_no_member_is_quick_enough(tmp_path: Path) -> None:
    runs = {"slow": finished(tmp_path / "slow", 70.0), "quick": finished(tmp_path / "quick", 20.0)}
    assert {one.name for one in plan(runs, ["slow"])} == {"quick"}


def test_one_worker_gives_one_share(tmp_path: Path) -> None:
    assert [one.share for one in plan({"a": finished(tmp_path / "a", 10.0)}, ["a"], slots=1)] == [0.5]


@pytest.mark.parametrize(
    ("training", "changes"),
    [
        ({"seconds": 60.0}, {}),  # a twentieth of the budget, and no time to spare
        ({"seconds": 30.0}, {"left": 20.0}),
        ({"seconds": 10.0, "planned": 20}, {}),  # the time ended it
    ],
)
def test_no_learning_curve_without_time(training: Any, changes: Any, tmp_path: Path) -> None:
    assert plan({"a": finished(tmp_path / "a", **training)}, ["a"], **changes) == []


def test_it_is_stored_in_the_state(tmp_path: Path) -> None:
    state = FitState(learning=[Training("quick", 0, ["a=1"], 0.5, "0-a")])
    state.write(tmp_path / "state.json")
    assert FitState.read(tmp_path / "state.json").learning == state.learning


def curve(path: Path, signals: list[float], clips: int = 400, **changes: Any) -> list[TrialFolder]:
    """Trainings on a quarter, half and all of 100 clips, whose predictions have more and more signal."""
    known = generated(signals, clips)
    folders = []
    for place, count in zip(range(len(signals)), (25, 50, 100)):
        folders.append(finished(path / f"{count}", 10.0, clips=count, **changes))
        write_run(folders[-1].path, known, place)
        write_json(folders[-1].metrics, {"epochs": 10, "num_clips/train": count})
    return folders[::-1]


def test_points_share_clips_and_have_intervals_of_the_gain(tmp_path: Path) -> None:
    points, note = learning_points("quick", curve(tmp_path, [0.5, 2.0, 2.02]), "accuracy")
    assert [point.share for point in points] == [0.25, 0.5, 1.0]
    known = generated([0.5, 2.0, 2.02], 400)
    right = known.probabilities.argmax(axis=-1) == known.targets.argmax(axis=-1)
    assert [point.value for point in points] == pytest.approx(right.mean(axis=1))
    assert points[0].gain_low is None
    rise, rest = points[1:]
    assert rise.gain_low is not None
    assert rise.gain_high is not None
    gain = right[1].astype(float) - right[0]
    error = 1.96 * gain.std() / np.sqrt(400)
    assert (rise.gain_low, rise.gain_high) == pytest.approx((gain.mean() - error, gain.mean() + error), abs=0.02)
    assert rest.gain_low is not None
    assert rest.gain_low < 0
    assert (
        note == "quick, trained once on each share of 100 clips for as many steps, and tested on one fold of 400 clips."
    )


def test_the_gain_of_a_loss_is_negative(tmp_path: Path) -> None:
    points, _ = learning_points("quick", curve(tmp_path, [0.5, 2.0]), "loss")
    assert points[1].value < points[0].value
    assert points[1].gain_high is not None
    assert points[1].gain_high < 0


def test_equal_predictions_of_few_clips_have_a_wide_interval(tmp_path: Path) -> None:
    points, _ = learning_points("quick", curve(tmp_path, [50.0, 50.0], 30), "accuracy")
    assert (points[1].gain_low, points[1].gain_high) == pytest.approx((-0.1, 0.0)), "nothing is more than all"


def test_a_training_at_its_time_limit_gives_no_point(tmp_path: Path) -> None:
    folders = curve(tmp_path, [0.5, 2.0])
    write_json(folders[0].metrics, {"epochs": 7, "num_clips/train": 100})
    assert learning_points("quick", folders, "accuracy") == ([], "")
    assert learning_points("quick", [], "accuracy") == ([], "")


def test_its_trainings_are_not_candidates(tmp_path: Path) -> None:
    fit = FitFolder(tmp_path)
    sweep = SweepFolder(fit.trials)
    sweep.path.mkdir()
    sweep.write_facts(SweepFacts("fit", [], ["candidate"], "validation/accuracy"))
    finished(sweep.trials / "0000-quick", 1.0)
    half = finished(sweep.trials / "0001-half", 1.0)
    status = half.read_status()
    half.write_status(replace(status, choices={"candidate": "quick", "fold": 0, "data.train_share": 0.5}))
    assert list(candidates_of_fit(fit)) == ["0000-quick"]


def test_the_page_describes_the_curve(tmp_path: Path) -> None:
    points, note = learning_points("quick", curve(tmp_path / "runs", [0.5, 2.0, 2.02]), "accuracy")
    fit = FitFolder(tmp_path / "fit")
    fit.write_summary(whole_summary(tmp_path, learning=points, learning_note=note))
    page = write_fit_page(fit.path).read_text(encoding="utf-8")
    assert note in page
    assert "too few recordings were tested to say whether more of them would help" in page
