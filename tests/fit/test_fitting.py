"""Whole fits on tiny recordings: decisions are stored, and the model is used as any classifier."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from filelock import FileLock, Timeout
from typer.testing import CliRunner

from audio_lightning.classifier.checkpoint import read_contents, write_checkpoint
from audio_lightning.cli.main import app
from audio_lightning.compare.fit_summary import TRAIN_SHARE, FitFolder
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.core.errors import ConfigError, Interrupted
from audio_lightning.fit.fitting import run_fit
from audio_lightning.fit.out_of_fold import candidates_of_fit
from audio_lightning.fit.processes import conclude, finish, survey
from audio_lightning.fit.recordings import look
from audio_lightning.fit.request import parse_fit_args
from audio_lightning.fit.state import FitState
from audio_lightning.fit.survey import Survey
from audio_lightning.inference.load import load_classifier
from audio_lightning.sweeps.executors.forkserver import call
from audio_lightning.sweeps.progress import duration

SMALL = ["model.channels=[4,8]", "model.hidden_dim=8", "trainer=cpu", "exclude=[pcen,frozen,words]", "metric=accuracy"]


def words(root: Path, folder: Path, *more: str) -> list[str]:
    return ["data=folder", f"data.root={root}", f"fit.dir={folder}", *SMALL, *more]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tiny.write_folder(tmp_path_factory.mktemp("data"), clips=6)
    (root / "high_tone" / "broken.wav").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def shortest(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit with almost no time, which still gives a model."""
    folder = tmp_path_factory.mktemp("fit") / "short"
    result = CliRunner().invoke(app, ["fit", *words(data, folder, "budget=1s", "logger=[csv,tensorboard]")])
    assert result.exit_code == 0, result.output
    return folder


def test_without_time_the_quickest_candidate_is_selected(shortest: Path) -> None:
    summary = FitFolder(shortest).read_summary()
    states = {candidate.name: candidate.state for candidate in summary.candidates}
    assert list(states.values()).count("selected") == 1
    assert list(states.values()).count("skipped") == 2
    assert summary.result is not None
    assert 0 <= summary.result.expected <= 1
    assert summary.folds == 1


def test_unreadable_recordings_are_skipped_and_named(shortest: Path, data: Path, tmp_path: Path) -> None:
    (note,) = [note for note in FitFolder(shortest).read_summary().notes if "cannot be read" in note]
    assert note == "1 recording cannot be read and is left out: high_tone/broken.wav"
    lines = words(data, tmp_path / "fit", "budget=1s", "data.bad_recordings=error")
    result = CliRunner().invoke(app, ["fit", *lines])
    assert result.exit_code != 0
    assert "high_tone/broken.wav" in result.output
    assert "Traceback" not in result.output


def test_an_exceeded_budget_is_reported(data: Path, shortest: Path) -> None:
    summary = FitFolder(shortest).read_summary()
    (note,) = [note for note in summary.notes if "of a budget of 1 s" in note]
    assert note == f"the fit took {duration(summary.spent_seconds or 0)} of a budget of 1 s: " + (
        "a budget does not shorten starting, measuring, one short training and the page"
    )
    assert run_fit(parse_fit_args(words(data, shortest, "budget=1s"))).over_budget == note


def test_prediction_time_is_reported(shortest: Path) -> None:
    summary = FitFolder(shortest).read_summary()
    assert summary.predict_ms is not None
    assert 0 < summary.predict_ms < 1000
    assert all(candidate.predict_ms for candidate in summary.candidates)
    assert "ms per clip on this machine's CPU" in FitFolder(shortest).report.read_text()


def test_an_impossible_limit_is_an_error_before_training(data: Path, shortest: Path) -> None:
    before = FitFolder(shortest).summary.stat().st_mtime
    with pytest.raises(ConfigError, match=r"infer_limit=1e-06ms: no candidate .* the quickest is \w+, "):
        run_fit(parse_fit_args(words(data, shortest, "budget=1s", "infer_limit=0.000001ms")))
    assert FitFolder(shortest).summary.stat().st_mtime == before


def test_it_writes_a_model_a_page_and_a_plan(shortest: Path) -> None:
    files = FitFolder(shortest)
    assert load_classifier(shortest).task.classes == tiny.CLASSES
    assert "<html" in files.report.read_text()
    assert files.plan.is_file()
    predictions = pd.read_csv(files.out_of_fold)
    assert set(predictions["label"]) <= {*tiny.CLASSES}
    assert len(predictions) >= 3


def test_the_model_predicts(shortest: Path, data: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(shortest), str(data / "noise")])
    assert result.exit_code == 0, result.output
    assert "5.wav" in result.output


def test_on_its_own_recordings_it_is_evaluated_by_cross_validation(shortest: Path, data: Path) -> None:
    expected = FitFolder(shortest).read_summary().result
    assert expected is not None
    for place in (shortest, shortest / "model.ckpt"):
        result = CliRunner().invoke(app, ["evaluate", str(place), "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["test/accuracy"] == expected.expected
        assert len(result.stderr.splitlines()) == 1
        assert "that of cross-validation, corrected for selection" in result.stderr
    result = CliRunner().invoke(app, ["evaluate", str(shortest), "--output", str(shortest / "again")])
    assert result.exit_code == 2
    assert "out_of_fold.csv" in result.stderr
    other = ["data=folder", f"data.root={data}", "data.bad_recordings=skip"]
    result = CliRunner().invoke(app, ["evaluate", str(shortest), *other, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_train_overlap"] > 0


def test_label_errors_can_be_audited(shortest: Path) -> None:
    result = CliRunner().invoke(app, ["labels", str(shortest)])
    assert result.exit_code == 0, result.output
    assert FitFolder(shortest).read_summary().selected[0].name in result.output


def test_dashboards_have_a_run_a_training_and_a_summary(shortest: Path) -> None:
    assert list(shortest.glob("summary/events.*"))
    (member,) = FitFolder(shortest).read_summary().selected
    assert list(shortest.glob(f"trials/trials/*/{member.name}-fold-0/events.*"))


def test_decisions_are_kept_and_damage_is_one_line(shortest: Path, tmp_path: Path) -> None:
    state = FitState.read(shortest / "state.json")
    assert isinstance(state.survey, Survey)
    assert [one.budget for one in state.passes] == [1]
    assert state.passes[0].survivors
    assert state.passes[0].done
    (tmp_path / "state.json").write_text(json.dumps({"survey": {"machine": 3}}))
    with pytest.raises(ConfigError, match=r"damaged \(survey.*; restore a copy, or begin"):
        FitState.read(tmp_path / "state.json")
    assert FitState.read(tmp_path / "none.json") == FitState()


def test_the_same_command_returns_at_once(
    shortest: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called = []

    def noted(function: Callable[..., Any], *arguments: Any) -> Any:
        called.append(function)
        return function(*arguments)

    monkeypatch.setattr("audio_lightning.fit.fitting.call", noted)
    monkeypatch.setattr("audio_lightning.fit.trainings.plan_trials", None)
    for budget in ("budget=1s", "budget=0.5s"):
        outcome = run_fit(parse_fit_args(words(data, shortest, budget)))
        assert outcome.answer == FitState.read(shortest / "state.json").answer
        assert outcome.answer
    assert called == [look, look]  # nothing is surveyed or selected again
    assert capsys.readouterr().out == ""


def test_other_trainings_need_another_folder(shortest: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match="holds a fit with other settings of its trainings or other candidates"):
        run_fit(parse_fit_args(words(data, shortest, "budget=1s", "optimizer.lr=0.1")))


def test_the_default_folder_does_not_depend_on_the_budget(data: Path) -> None:
    lines = ["data=folder", f"data.root={data}", *SMALL]
    folders = {parse_fit_args([*lines, *more]).folder for more in ([], ["budget=1m"], ["budget=2h"])}
    assert len(folders) == 1
    assert parse_fit_args([*lines, "preset=fast"]).folder not in folders


@pytest.mark.parametrize(
    "default", ["preset=good", "refit=false", "fit.max_members=3", "metric=null", "data.bad_recordings=skip"]
)
def test_a_typed_default_is_the_same_fit(default: str) -> None:
    assert parse_fit_args(["data=demo", default]).name == parse_fit_args(["data=demo"]).name


@pytest.fixture(scope="module")
def grown(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[float]]:
    """Fit with a budget of one second, then one that is enough for trainings of four steps; its output."""
    folder = tmp_path_factory.mktemp("fit") / "grown"
    lines = words(data, folder, "exclude=[both,logmel,pcen,frozen,words]", "data.folds=3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audio_lightning.fit.budget.MOST_STEPS", 4)
        assert CliRunner().invoke(app, ["fit", *lines, "budget=1s"]).exit_code == 0
        before = [path.stat().st_mtime for path in folder.glob("trials/trials/*/metrics.json")]
        result = CliRunner().invoke(app, ["fit", *lines, "budget=10h"])
    assert result.exit_code == 0, result.output
    return folder, result.output, before


def test_a_larger_budget_adds_to_what_is_there(grown: tuple[Path, str, list[float]]) -> None:
    folder, printed, before = grown
    summary = FitFolder(folder).read_summary()
    assert [candidate.name for candidate in summary.candidates] == ["quick", "quick (2)"]
    first, second = summary.candidates
    assert (
        first.out_of_fold is not None
    )  # on all folds, since it was trained on the folds that the first budget left out
    assert second.out_of_fold is not None
    assert (first.epochs, second.epochs) == (1, 4)
    assert (summary.folds, summary.budget_seconds) == (3, 36_000)
    assert summary.command[-1] == "budget=10h"
    trials = sorted(folder.glob("trials/trials/*/metrics.json"))
    assert [path.stat().st_mtime for path in trials][:1] == before
    assert len(trials) == 6 + 2  # those of the learning curve
    assert "earlier trainings are kept" in printed
    assert "4 steps each (1 before), quick on the folds not tested before" in printed


def test_a_learning_curve_is_drawn_where_there_is_time(grown: tuple[Path, str, list[float]]) -> None:
    fit = FitFolder(grown[0])
    summary = fit.read_summary()
    assert summary.learning[-1].share == 1
    assert 0.4 < summary.learning[-2].share < 0.6
    assert summary.learning_note.startswith("quick")
    assert "Learning curve" in fit.report.read_text()
    runs = candidates_of_fit(fit)["quick"]
    tested = sum(int(run.read_metrics()["num_clips/test"]) for run in runs)
    assert len(fit.read_out_of_fold()) == tested, "it has no part in what is predicted"


def test_refit_trains_each_member_on_all_recordings(
    grown: tuple[Path, str, list[float]], data: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(grown[0], tmp_path / "fit"))
    before = FitFolder(folder).read_summary()
    durations = torch.tensor([0.1, 0.2, float("nan")])  # those of members with validation clips
    for path in folder.glob("trials/trials/*/checkpoints/best.ckpt"):
        checkpoint = read_contents(path)
        checkpoint["audio_lightning"]["sounding_seconds"] = durations
        write_checkpoint(path, checkpoint)
    lines = words(data, folder, "exclude=[both,logmel,pcen,frozen,words]", "data.folds=3", "budget=10h", "refit=true")
    result = CliRunner().invoke(app, ["fit", *lines])
    assert result.exit_code == 0, result.output
    summary = FitFolder(folder).read_summary()
    assert summary.refit
    assert summary.result == before.result  # that of the cross-validation
    assert [member.models for member in summary.selected] == [1] * len(summary.selected)
    trainings = [run for run, _ in SweepFolder(FitFolder(folder).refits).folders()]
    assert [run.read_metrics()["num_clips/train"] for run in trainings] == [18] * len(summary.selected)
    assert "trained once on all recordings" in result.output
    assert "trained once more on all recordings" in FitFolder(folder).report.read_text()
    contents = read_contents(FitFolder(folder).model)
    assert len(contents["members"]) == len(summary.selected)
    assert all("sounding_seconds" not in member["audio_lightning"] for member in contents["members"])
    torch.testing.assert_close(contents["sounding_seconds"], durations, equal_nan=True)
    assert list(FitFolder(folder).sweep.folders())  # those of the folds are still there
    again = CliRunner().invoke(app, ["fit", *lines])
    assert again.output.splitlines()[0] == result.output.splitlines()[-3]


def test_new_recordings_begin_a_pass_of_their_own(shortest: Path, data: Path, tmp_path: Path) -> None:
    folder, root = Path(shutil.copytree(shortest, tmp_path / "fit")), Path(shutil.copytree(data, tmp_path / "data"))
    lines = words(root, folder, "budget=1s")
    unchanged = run_fit(parse_fit_args(lines))
    assert unchanged.answer == FitState.read(shortest / "state.json").answer
    (root / "noise/0.wav").rename(root / "noise/new.wav")
    result = CliRunner().invoke(app, ["fit", *lines])
    assert result.exit_code == 0, result.output
    assert "recordings have changed: 1 new, 1 gone. The fit begins again" in result.output
    state = FitState.read(folder / "state.json")
    assert (state.edition, len(state.passes)) == (1, 1)
    assert list((folder / "earlier/1/trials/trials").iterdir())
    assert {run.path.name for run, _ in FitFolder(folder).sweep.folders()} == {state.passes[0].rounds[0][0].trial}
    summary = FitFolder(folder).read_summary()
    assert summary.spent_seconds is not None
    assert summary.spent_seconds < json.loads((folder / "clock.json").read_text())["spent_seconds"]


def test_an_interrupted_fit_is_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = words(data, tmp_path / "fit", "exclude=[both,logmel,pcen,frozen,words]", "budget=1s", "refit=true")
    for phase in (survey, "trainings", conclude, finish):
        with monkeypatch.context() as patch:
            if phase == "trainings":
                patch.setattr("audio_lightning.fit.trainings.TrialRunner.__call__", _killed)
            else:
                patch.setattr("audio_lightning.fit.fitting.call", partial(_killed_at, phase))
            with pytest.raises(Killed):
                run_fit(parse_fit_args(lines))
    capsys.readouterr()
    outcome = run_fit(parse_fit_args(lines))
    assert re.search(r"^continuing: \d+ s of 1 s used$", capsys.readouterr().out, re.MULTILINE)
    assert outcome.answer is not None
    assert "refit=true: " in outcome.answer
    assert "so the file holds the models of the folds" in FitFolder(tmp_path / "fit").report.read_text()
    (status,) = [status for _, status in FitFolder(tmp_path / "fit").sweep.folders()]
    assert status.attempts == 1


def test_a_second_command_does_not_work_on_the_same_fit(data: Path, tmp_path: Path) -> None:
    request = parse_fit_args(words(data, tmp_path, "budget=1s"))
    with FileLock(tmp_path / ".lock"), pytest.raises(ConfigError, match="another command is working on this fit"):
        run_fit(request)


def test_a_lock_inside_a_fit_is_not_taken_for_its_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(*arguments: Any) -> None:
        raise Timeout("another.lock")

    monkeypatch.setattr("audio_lightning.fit.fitting.call", wait)
    with pytest.raises(Timeout):
        run_fit(parse_fit_args(words(data, tmp_path / "fit", "budget=1s")))


def test_sigterm_while_recordings_are_measured_is_an_interruption(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_lightning.fit.fitting.call", lambda *arguments: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as raised:
        run_fit(parse_fit_args(words(data, tmp_path / "fit", "budget=1s")))
    assert raised.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


class Killed(BaseException):
    """Stands for SIGKILL: written files stay as they are."""


def _killed(*arguments: Any) -> None:
    raise Killed


def _killed_at(phase: Callable[..., Any], function: Callable[..., Any], *arguments: Any) -> Any:
    if function is phase:
        raise Killed
    return call(function, *arguments)


def test_passes_differ_in_seed_and_share_the_folds(grown: tuple[Path, str, list[float]]) -> None:
    statuses = [status for _, status in FitFolder(grown[0]).sweep.folders() if TRAIN_SHARE not in status.choices]
    by_fold: dict[object, set[str | None]] = {}
    for status in statuses:
        by_fold.setdefault(status.choices["fold"], set()).add(status.division)
    assert [len(divisions) for divisions in by_fold.values()] == [1, 1, 1]
    seeds = {status.choices["candidate"]: [line for line in status.overrides if "seed" in line] for status in statuses}
    assert seeds == {"quick": [], "quick (2)": ["seed=1", "data.seed=0"]}


@pytest.mark.parametrize("command", [["train", "resume={}"], ["refit", "{}"], ["leaderboard", "{}"]])
def test_a_fit_folder_instead_of_a_run_or_sweep_is_an_error_with_a_remedy(shortest: Path, command: list[str]) -> None:
    result = CliRunner().invoke(app, [word.format(shortest) for word in command])
    assert result.exit_code == 2, result.output
    assert "it is the folder of a fit: continue it with audio-lightning fit data=folder" in result.stderr
    assert f"its trainings are in the sweep {shortest}/trials" in result.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sweep.trials=3", "not supported by a fit"),
        ("modle=cnn", "did you mean model"),
        ("data.test_fold=1", "a fit tests every fold in turn"),
        ("bugdet=2m", "there is no key bugdet; did you mean budget?"),
        ("presets=good", "there is no key presets; did you mean preset?"),
        ("--budget=2m", "--budget=2m: no such option; keys are typed as KEY=VALUE: budget=2m"),
        ("metric=acuracy", "did you mean accuracy"),
        ("metric=mean_average_precision", "choose one of"),
        ("budget=soon", "expected a time"),
        ("data.root=empty", "empty has no class folders"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(
    line: str, said: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    typed = [word for word in words(data, Path("new/fit"), "budget=1s") if word.split("=")[0] != line.split("=")[0]]
    result = CliRunner().invoke(app, ["fit", *typed, line])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_folder_with_other_files_is_refused_unchanged(tmp_path: Path) -> None:
    (tmp_path / "my_run").mkdir()
    with pytest.raises(ConfigError, match="contains other files; name a new or empty folder, or that of a fit"):
        run_fit(parse_fit_args(["data=demo", f"fit.dir={tmp_path}"]))
    assert [path.name for path in tmp_path.iterdir()] == ["my_run"]


def test_without_data_the_demo_sounds_are_named_first(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    result = CliRunner().invoke(app, ["fit", f"fit.dir={tmp_path}"])
    assert "no data= is given: the generated demo sounds are used" in result.stdout
    result = CliRunner().invoke(app, ["fit", "data=demo", f"fit.dir={tmp_path}"])
    assert result.stdout == ""


@pytest.mark.full
def test_a_fit_over_folds_selects_and_resumes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audio_lightning.fit.budget.MOST_STEPS", 4)
    lines = words(data, tmp_path / "fit", "budget=20m")
    assert CliRunner().invoke(app, ["fit", *lines]).exit_code == 0
    first = FitFolder(tmp_path / "fit").read_summary()
    assert first.folds is not None
    assert first.folds >= 3
    assert sum(candidate.weight or 0 for candidate in first.candidates) == pytest.approx(1)
    trials = sorted((tmp_path / "fit/trials/trials").iterdir())
    changed = [path.stat().st_mtime for path in trials]
    again = CliRunner().invoke(app, ["fit", *lines])
    assert again.exit_code == 0
    assert [path.stat().st_mtime for path in sorted((tmp_path / "fit/trials/trials").iterdir())] == changed
