"""Sweeps from the command line to the leaderboard, on data small enough for it."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import tiny
from omegaconf import OmegaConf
from optuna.storages.journal import JournalFileBackend
from running import run
from sweeping import SETTINGS, arguments, results, start, states, sweep, trials

from audio_lightning.cli.sweep import main
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.config import as_plain, compose, quote_paths
from audio_lightning.config.automatic import CLIPS, PROVISIONAL, provisional
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.sweeps.preflight import preflight, settle_automatic

STATES = {"logmel": "done", "mfcc": "skipped", "waveform": "skipped"}


@pytest.fixture(scope="module")
def finished(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished sweep with a combination that cannot work. Read only."""
    folder = tmp_path_factory.mktemp("sweeps") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        assert sweep(tiny_urbansound8k, folder, "feature=logmel,mfcc,waveform", "seed=0,1", "plots=true") == 0
    return folder


def test_every_combination_is_trained_or_skipped_with_the_reason(finished: Path) -> None:
    expected = {f"{feature} {seed}": state for feature, state in STATES.items() for seed in (0, 1)}
    assert states(finished) == expected
    found = trials(finished)
    assert "n_mfcc is 40, more than the 16 bands" in str(found["mfcc 0"][1].reason)
    lacking = "there is no key feature.n_mels with feature=waveform; it needs feature=fbank, logmel, "
    assert str(found["waveform 0"][1].reason).startswith(lacking)
    table = pd.read_csv(finished / "results.csv")
    assert table["state"].tolist() == list(expected.values())
    assert table["choice.seed"].tolist() == [0, 1] * 3
    assert table["test/accuracy"].notna().tolist() == [state == "done" for state in expected.values()]
    assert len(pd.read_csv(finished / "leaderboard.csv")) == 1
    assert "logmel" in (finished / "report.html").read_text()
    drawn = {name: (folder.path / "curves.png").exists() for name, (folder, _) in found.items()}
    assert drawn == {name: state == "done" for name, state in expected.items()}


def test_a_trial_is_the_training_that_its_overrides_describe(
    finished: Path, tiny_urbansound8k: Path, tmp_path: Path
) -> None:
    metrics = run(tiny_urbansound8k, tmp_path / "run", "trainer.max_epochs=2", "plots=false", "seed=1")
    same = results(finished)["logmel 1"]
    # Two trials at once share the cores: one has fewer threads, which add up in another order.
    assert {name: metrics[name] for name in same} == pytest.approx(same, abs=1e-6)


def test_the_same_command_repeats_nothing(
    finished: Path, tiny_urbansound8k: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("trials/*/*")}
    assert sweep(tiny_urbansound8k, finished, "feature=logmel,mfcc,waveform", "seed=0,1", "plots=true") == 0
    assert {path: path.stat().st_mtime_ns for path in finished.glob("trials/*/*")} == before
    assert "nothing was left to do; 2 had finished before; 4 cannot work (" in capsys.readouterr().out


def test_results_of_other_sweeps_are_taken_if_the_recordings_are_the_same(
    finished: Path, tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny.write_urbansound8k(tmp_path / "other data", seed=5)
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "copy").symlink_to(tiny_urbansound8k)
    beside = finished.parent
    sweep(moved / "copy", beside / "taken", "feature=logmel", "seed=0,1")
    reused = [status.reused_from for _, status in trials(beside / "taken").values()]
    assert all(path is not None and "finished" in path for path in reused)
    assert list(results(beside / "taken").values()) == list(results(finished).values())
    assert f"nothing was left to do; 2 had finished before, 2 of them in {finished} (" in capsys.readouterr().out
    sweep(other, beside / "others", "seed=0,1")
    assert [status.reused_from for _, status in trials(beside / "others").values()] == [None, None]
    sweep(tiny_urbansound8k, beside / "again", "seed=0,1", "sweep.reuse=false")
    assert [status.reused_from for _, status in trials(beside / "again").values()] == [None, None]
    assert list(results(beside / "again").values()) == list(results(finished).values())


def test_every_fold_is_tested_in_turn(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    assert sweep(tiny_urbansound8k, tmp_path / "folds", "sweep=folds", "trainer.max_epochs=1") == 0
    assert [metrics["test_fold"] for metrics in results(tmp_path / "folds").values()] == [1, 2, 3, 4]
    (row,) = pd.read_csv(tmp_path / "folds/leaderboard.csv").to_dict("records")
    assert row["n"] == 4


def test_a_search_ends_at_its_total(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = ["optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep.search.storage=journal:///" + str(tmp_path / "study")]
    for total in (2, 3):
        line = ["sweep=search", f"sweep.trials={total}", "trainer.max_epochs=1", *space]
        assert sweep(tiny_urbansound8k, tmp_path / "search", *line) == 0
        assert list(states(tmp_path / "search").values()) == ["done"] * total
    said = [line for line in capsys.readouterr().out.splitlines() if "had finished before" in line]
    assert [line.partition(" (")[0] for line in said] == ["1 done; 2 had finished before"]


@pytest.mark.full
def test_a_search_runs_damaged_trials_again(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "search"
    space = ["optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep.search.storage=journal:///" + str(tmp_path / "study")]
    line = ["sweep=search", "sweep.trials=4", "trainer.max_epochs=1", *space]
    assert sweep(tiny_urbansound8k, folder, *line) == 0
    before = results(folder)
    paths = [trial.path for trial, _ in trials(folder).values()]
    (paths[0] / "status.json").write_text("{")
    (paths[1] / "metrics.json").write_text("[]")
    shutil.rmtree(paths[2])
    capsys.readouterr()
    assert sweep(tiny_urbansound8k, folder, *line) == 0
    said = capsys.readouterr()
    assert "3 done; 1 had finished before" in said.out
    for path in paths[:2]:
        (named,) = [line for line in said.err.splitlines() if f"{path}/" in line]
        assert named.endswith(f"the trial is run again, and its old files are in {folder / 'damaged' / path.name}")
    assert results(folder) == before
    assert set(pd.read_csv(folder / "results.csv")["state"]) == {"done"}
    study = journal_study(tmp_path / "study")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert sweep(tiny_urbansound8k, folder, *line) == 0
    assert "nothing was left to do; 4 had finished before" in capsys.readouterr().out


def journal_study(file: Path) -> Any:
    """The only study in a journal."""
    optuna = pytest.importorskip("optuna")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    (study,) = optuna.get_all_study_names(storage := JournalStorage(JournalFileBackend(str(file))))
    return optuna.load_study(study_name=study, storage=storage)


@pytest.mark.full
def test_an_interrupted_sweep_is_resumed(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = ["seed=0,1", "trainer.max_epochs=30", "sweep.reuse=false"]
    assert sweep(tiny_urbansound8k, tmp_path / "undisturbed", *line) == 0
    process = start("sweep.py", tiny_urbansound8k, tmp_path / "disturbed", *line, cwd=tmp_path)
    _wait_for(tmp_path / "disturbed", "*/checkpoints/last.ckpt")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    words = shlex.split(output.splitlines()[-1])
    assert words[:5] == ["next:", "python", "sweep.py", "data=urbansound8k", f"data.root={tiny_urbansound8k}"]
    assert states(tmp_path / "disturbed") == {"0": "interrupted", "1": "interrupted"}
    assert (tmp_path / "disturbed/report.html").is_file()
    assert sweep(tiny_urbansound8k, tmp_path / "disturbed", *line) == 0
    assert trials(tmp_path / "disturbed")["0"][1].attempts == 2
    assert results(tmp_path / "disturbed") == results(tmp_path / "undisturbed")


@pytest.mark.full
def test_trials_that_fail_do_not_touch_the_others(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    line = ["seed=0,101,102", "trainer.max_epochs=1", "sweep.retries=1"]
    process = start("tests/sweeps/chaos.py", tiny_urbansound8k, tmp_path / "chaos", *line, cwd=tmp_path)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 1, output
    assert states(tmp_path / "chaos") == {"0": "done", "101": "failed", "102": "failed"}
    found = trials(tmp_path / "chaos")
    assert found["101"][1].reason == "RuntimeError: raised on purpose"
    assert found["101"][1].attempts == found["102"][1].attempts == 2
    assert "raised on purpose" in found["101"][0].error.read_text()
    assert "RuntimeError: raised on purpose" in output  # at once, with its traceback
    assert found["102"][1].reason == "its process ended with exit code 9"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["model=cnm,lstm"], "there is no such model; did you mean cnn?"),
        (["sweep.workrs=2"], "did you mean sweep.workers?"),
        (["sweep=fold"], "did you mean folds?"),
        (["optimizer.lr=interval(1e-4,1e-1)"], "use sweep=search"),
        (
            ["sweep=search", "sweep.zip=[[model,seed]]", "model=cnn,lstm", "seed=1,2"],
            "sweep.zip: works with grids",
        ),
        (["sweep=search"], "no key varies"),
        (["--multirun", "model=cnn,lstm"], "no such option"),
        (["sweep.executor=cloud", "seed=0,1"], "expected one of local, ray, slurm"),
        (["sweep.workers=0", "seed=0,1"], "expected at least 1"),
        (["sweep.timeout=10m", "seed=0,1"], "sweep.timeout='10m': expected a number | null"),
        (["sweep.timeout=[1]", "seed=0,1"], "sweep.timeout=[1]: expected a number | null"),
        (["sweep.fuse=null", "seed=0,1"], "sweep.fuse=null: expected a whole number"),
        (["sweep.retries=null", "seed=0,1"], "sweep.retries=null: expected a whole number"),
        (["sweep=search", "sweep.trials=null", "seed=0,1"], "sweep.trials=null: expected a whole number"),
        (["sweep=search", "sweep.search.objectives=macs", "seed=0,1"], "objectives='macs': expected a list of text"),
        (["sweep.executor=slurm", "sweep.slurm.minutes=null", "seed=0,1"], "sweep.slurm.minutes=null: expected a"),
        (["sweep=folds", "data.test_fold=1,2"], "remove data.test_fold"),
        (["sweep=folds", "data.split=grouped"], "choose data.folds=5"),
        ([f"sweep.dir={__file__}", "seed=0,1"], "test_sweep.py: Not a directory); give another folder"),
        ([f"sweep.dir={'x' * 300}", "seed=0,1"], "File name too long); give another folder"),
        (["sweep.dir=/proc/sweep", "seed=0,1"], "sweep.dir=/proc/sweep: cannot be created or written (/proc: "),
        (["resume=.", "seed=0,1"], "to continue a sweep, give its command again"),
        (
            ["monitor=validation/loss,validation/accuracy"],
            "the trials differ (validation/accuracy, validation/loss)",
        ),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    line: list[str], said: str, tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(tiny_urbansound8k, tmp_path / "sweep", *line) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "sweep/trials").exists()


@pytest.mark.parametrize(("kind", "names"), [("fit", ["state.json", "clock.json"]), ("run", ["config.yaml"])])
def test_the_folder_of_a_fit_or_a_run_is_no_sweep_folder(
    kind: str, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    assert main([f"sweep.dir={tmp_path}", "seed=0,1"]) == 2
    message = f"error: sweep.dir={tmp_path}: is the folder of a {kind}, not of a sweep; give another folder\n"
    assert capsys.readouterr().err == message
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_dry_run_shows_the_trials_and_trains_nothing(
    finished: Path, tiny_urbansound8k: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "feature=logmel,mfcc",
        "seed=0,1,2",
        "sweep.dry_run=true",
        "sweep.exclude=[{feature: mfcc, seed: 1}]",
    ]
    before = sorted(finished.rglob("*"))
    assert sweep(tiny_urbansound8k, finished, *line) == 0
    output = capsys.readouterr().out
    assert "5 trials, 2 cannot work, 1 to run" in output
    assert "queued      logmel seed=2" in output
    assert "one after the other, estimated from finished trials" in output
    assert sorted(finished.rglob("*")) == before


def test_a_file_lists_the_trials(tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "trials.txt"
    listed.write_text("model=lstm seed=3\nseed=4 feature.n_mels=20\n")
    settings = [line for line in arguments(tiny_urbansound8k, tmp_path / "x") if not line.startswith("model.")]
    assert main([*settings, f"sweep.trials_file={listed}", "sweep.dry_run=true"]) == 0
    output = capsys.readouterr().out
    assert "lstm seed=3" in output
    assert "seed=4 feature.n_mels=20" in output


def test_the_password_of_a_database_is_not_kept(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    url = "sweep.search.storage=mysql://me:secret@127.0.0.1:1/x"
    assert sweep(tiny_urbansound8k, tmp_path / "sweep", "sweep=search", "model=cnn,lstm", url) == 2
    kept = [path for path in (tmp_path / "sweep").rglob("*") if path.is_file() and "secret" in path.read_text()]
    assert [path.name for path in kept if path.stat().st_mode & 0o077] == []


def test_the_facts_of_a_sweep_are_kept(finished: Path) -> None:
    facts = json.loads((finished / "sweep.json").read_text())
    assert facts["axes"] == ["feature", "seed"]
    assert facts["monitor"] == "validation/accuracy"
    assert SweepFolder(finished).read_facts().overrides == facts["overrides"]


def _wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 60
    while not list((folder / "trials").glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_key_of_some_choices_only_does_not_end_a_search(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    small = [line for line in SETTINGS if not line.startswith("model.")]
    line = [*small, "sweep=search", "sweep.search.sampler=grid", "sweep.search.pruner=none", "model=lstm,matchboxnet"]
    line += ["model.bidirectional=true,false", f"sweep.search.storage=journal:///{tmp_path}/study", "sweep.trials=4"]
    line += ["data=urbansound8k", f"data.root={tiny_urbansound8k}", f"sweep.dir={tmp_path / 'search'}"]
    assert main([*line, "trainer.max_epochs=1"]) == 0
    found = sorted((status.groups["model"], status.state) for _, status in trials(tmp_path / "search").values())
    assert set(found) == {("lstm", "done"), ("matchboxnet", "skipped")}


def test_a_sweep_without_anything_to_choose_by_still_ends_in_a_page(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    everything = ["seed=0,1", "data.split=train_only", "data.validation_fraction=0.0", "trainer.max_epochs=1"]
    assert sweep(tiny_urbansound8k, tmp_path / "all", *everything) == 0
    assert (tmp_path / "all/report.html").is_file()
    assert sweep(tiny_urbansound8k, tmp_path / "none", "feature=mfcc", "seed=0,1") == 0
    assert set(states(tmp_path / "none").values()) == {"skipped"}
    assert (tmp_path / "none/report.html").is_file()


def test_what_trials_import_is_imported_before_they_are_forked() -> None:
    """Linters report unused imports as mistakes; without these imports every trial takes seconds longer."""
    code = "import sys, audio_lightning.sweeps.executors.preload; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    wanted = {"torch._dynamo", "torchaudio.models", "matplotlib.backends.backend_agg", "lightning.pytorch"}
    wanted |= {
        "audio_lightning.models.vision",
        "audio_lightning.data.sources.demo.source",
        "audio_lightning.sweeps.latency",
    }
    assert wanted <= set(loaded)


def test_impossible_trials_are_skipped_before_recordings_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny.write_folder(tmp_path / "recordings")
    monkeypatch.setattr(AudioDataModule, "read", lambda self: pytest.fail("data was measured"))
    lines = ["data=folder", f"data.root={root}", "model=sincnet", "feature=logmel"]
    config = compose(quote_paths(lines))
    (found,) = settle_automatic([as_plain(config)], [as_plain(provisional(config))])
    assert found == {key: PROVISIONAL[key] for key in CLIPS}
    for key, value in found.items():
        OmegaConf.update(config, key, value)
    assert "sincnet takes a waveform" in str(preflight([as_plain(config)])[0].impossible)


def test_losses_and_metrics_are_axes(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ordered by a metric for which lower is better, and which is shown in every table and page."""
    axes = ["loss=cross_entropy,focal", "metrics=[calibration_error],[calibration_error,auroc]", "trainer.max_epochs=1"]
    assert sweep(tiny_urbansound8k, tmp_path / "s", *axes, "monitor=validation/calibration_error") == 0
    said = capsys.readouterr().out
    found = {name: metrics["validation/calibration_error"] for name, metrics in results(tmp_path / "s").items()}
    assert len(found) == 4
    assert {"test/auroc" in metrics for metrics in results(tmp_path / "s").values()} == {False, True}
    rows = pd.read_csv(tmp_path / "s/leaderboard.csv")
    errors = rows["validation/calibration_error mean"]
    assert errors.tolist() == pytest.approx(sorted(found.values()))
    assert rows["test/calibration_error mean"].notna().all()
    assert set(rows["choice.loss"]) == {"cross_entropy", "focal"}
    assert f"calibration_error {errors[0]:.4f}" in said
    assert "calibration error" in (tmp_path / "s/report.html").read_text()


def test_configured_metrics_are_objectives_of_a_search(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["sweep=search", "sweep.trials=2", "trainer.max_epochs=1", "loss=cross_entropy,focal"]
    line += ["metrics=[auroc,calibration_error]", "metrics.auroc.average=none"]
    line += ["sweep.search.pruner=none", f"sweep.search.storage=journal:///{tmp_path / 'study'}"]
    objectives = "sweep.search.objectives=[validation/auroc_noise,validation/calibration_error]"
    assert sweep(tiny_urbansound8k, tmp_path / "search", *line, objectives) == 0
    assert "validation/auroc_noise" in capsys.readouterr().out.partition("Pareto-optimal trials:")[2]
    (study,) = optuna.study.get_all_study_summaries(
        optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "study")))
    )
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert sweep(tiny_urbansound8k, tmp_path / "s", *line, "sweep.search.objectives=[validation/auroq_noise]") == 2
    assert "no such metric validation/auroq_noise" in capsys.readouterr().err
