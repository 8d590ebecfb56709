"""Passes of a fit, and the use of remaining time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
from typer.testing import CliRunner

from audio_lightning.cli.main import app
from audio_lightning.compare.fit_summary import FitFolder
from audio_lightning.fit.budget import Allocation
from audio_lightning.fit.out_of_fold import candidates_of_fit
from audio_lightning.fit.run_passes import _Passes
from audio_lightning.fit.state import FitState, Pass
from audio_lightning.fit.survey import Machine, Survey, Surveyed


def begun(left: float, limit: float | None, *, refit: bool = False) -> Pass:
    """The first pass of a fit with two candidates and eight folds."""
    candidates = {
        "strong": Surveyed("strong", 0.2, 40, predict_seconds=0.004),
        "quick": Surveyed("quick", 0.1, 40, predict_seconds=0.001),
    }
    found = Survey([], [], Machine("CPU", 2, 8.0), candidates, [[]] * 8, "made", ["a", "b"], False, 80, 80, None, [])
    settings = SimpleNamespace(limit_seconds=limit, refit=refit, max_members=3)
    fit: Any = SimpleNamespace(
        state=FitState(),
        request=SimpleNamespace(settings=settings),
        trainings=SimpleNamespace(slots=2),
        budget=left,
        left=left,
        save=lambda: None,
    )
    assert _Passes(fit, found, "validation/accuracy").begin()
    (planned,) = fit.state.passes
    return planned


def test_prediction_time_counts_the_models_of_tested_folds() -> None:
    much, little = 100_000, 160
    assert begun(much, None).allocation.candidates == ("strong", "quick")
    planned = begun(much, 0.009)
    assert (planned.allocation.candidates, planned.allocation.folds) == (("quick",), 8)
    why = "predicting takes 32ms per clip with the models of 8 folds, above infer_limit=9ms"
    assert planned.slow == {"strong": why}
    planned = begun(little, 0.009)
    assert (planned.allocation.candidates, planned.allocation.folds) == (("strong",), 2)
    assert planned.slow == {}


def test_with_refit_a_single_model_counts() -> None:
    planned = begun(100_000, 0.009, refit=True)
    assert planned.allocation.candidates == ("strong", "quick")
    assert planned.slow == {}


def test_remaining_time_tests_further_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, folder = tiny.write_folder(tmp_path / "data", clips=6), tmp_path / "fit"
    short = Allocation(("quick",), survivors=1, folds=1, steps=4)
    monkeypatch.setattr("audio_lightning.fit.passes.allocate", lambda *arguments, **options: short)
    small = ["model.channels=[4,8]", "model.hidden_dim=8", "trainer=cpu", "exclude=[both,logmel,pcen,frozen,words]"]
    line = ["fit", "data=folder", f"data.root={data}", f"fit.dir={folder}", *small, "data.folds=3", "budget=10m"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert "time for 2 more folds, 3 of 3 in all" in result.output
    assert FitFolder(folder).read_summary().folds == 3
    assert len(FitFolder(folder).read_out_of_fold()) == len(list(data.rglob("*.wav")))
    trials = {path: path.stat().st_mtime for path in folder.glob("trials/trials/*/metrics.json")}
    (folder / "model.ckpt").unlink()
    again = CliRunner().invoke(app, line)
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime for path in folder.glob("trials/trials/*/metrics.json")} == trials
    assert FitFolder(folder).read_summary().folds == 3


FROZEN = """
defaults:
  - good
  - _self_
candidates:
  frozen: [experiment=frozen, feature.pretrained=false, 'model.hidden_dims=[8]', trainer.max_epochs=2]
  quick: [experiment=auto, feature=logmel, augment=none, ensemble.num_members=1, 'model.channels=[4,8]']
"""


def test_classifiers_on_published_networks_are_trained_on_all_tested_folds_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = tiny.write_folder(tmp_path / "data", clips=6), tmp_path / "fit"
    (tmp_path / "conf/fit").mkdir(parents=True)
    (tmp_path / "conf/fit/mine.yaml").write_text(FROZEN)
    short = Allocation(("quick",), survivors=1, folds=1, steps=4)
    monkeypatch.setattr("audio_lightning.fit.passes.allocate", lambda *arguments, **options: short)
    line = ["fit", "--config-dir", str(tmp_path / "conf"), "preset=mine", "data=folder", f"data.root={data}"]
    line += [
        f"fit.dir={folder}",
        "trainer=cpu",
        "exclude=[both,logmel,pcen,words]",
        "data.folds=3",
        "ensemble.inputs=all",
    ]
    result = CliRunner().invoke(app, [*line, "budget=10m"])
    assert result.exit_code == 0, result.output
    assert "because the weights are not on this machine: cnn14 (327 MB from zenodo.org), mn10_as (" in result.output
    assert "candidate frozen: probe on aisfx, trained in seconds" in result.output
    assert "time for quick on 1 fold, 4 steps each, frozen on the same folds" in result.output
    fit = FitFolder(folder)
    runs = candidates_of_fit(fit)
    assert {name: len(found) for name, found in runs.items()} == {"quick": 3, "frozen": 3}
    assert all(run.read_metrics()["epochs"] == 2 for run in runs["frozen"])
    states = {candidate.name: candidate.state for candidate in fit.read_summary().candidates}
    assert states.keys() == {"quick", "frozen"}
    assert not {*states.values()} & {"skipped", "failed", "stopped"}
    trials = {path: path.stat().st_mtime for path in folder.glob("trials/trials/*/metrics.json")}
    (folder / "model.ckpt").unlink()
    again = CliRunner().invoke(app, [*line, "budget=10m"])
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime for path in folder.glob("trials/trials/*/metrics.json")} == trials


TWO = """
defaults:
  - good
  - _self_
candidates:
  strong: [experiment=auto, feature=logmel, augment=none, ensemble.num_members=1, 'model.channels=[4,8]']
  small: [experiment=auto, feature=logmel, augment=none, ensemble.num_members=1, 'model.channels=[4]']
"""


def test_remaining_time_tries_a_further_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, folder = tiny.write_folder(tmp_path / "data", clips=6), tmp_path / "fit"
    (tmp_path / "conf/fit").mkdir(parents=True)
    (tmp_path / "conf/fit/mine.yaml").write_text(TWO)
    short = Allocation(("strong",), survivors=1, folds=1, steps=4)
    monkeypatch.setattr("audio_lightning.fit.passes.allocate", lambda *arguments, **options: short)
    line = ["fit", "--config-dir", str(tmp_path / "conf"), "preset=mine", "data=folder", f"data.root={data}"]
    line += [f"fit.dir={folder}", "trainer=cpu", "data.folds=3", "ensemble.inputs=all", "budget=10m"]
    line += ["exclude=[both,logmel,pcen,frozen,words,panns,efficientat,beats,quick]"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert "time for small, too: 4 steps on 3 folds" in result.output
    fit = FitFolder(folder)
    assert {name: len(found) for name, found in candidates_of_fit(fit).items()} == {"strong": 3, "small": 3}
    states = {candidate.name: candidate.state for candidate in fit.read_summary().candidates}
    assert states.keys() == {"strong", "small"}
    assert not {*states.values()} & {"skipped", "failed", "stopped"}
    assert "further candidates" in {one.what for one in fit.read_summary().time}
    trials = {path: path.stat().st_mtime for path in folder.glob("trials/trials/*/metrics.json")}
    (folder / "model.ckpt").unlink()
    again = CliRunner().invoke(app, line)
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime for path in folder.glob("trials/trials/*/metrics.json")} == trials
