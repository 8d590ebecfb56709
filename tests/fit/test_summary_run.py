"""A fit in dashboards: names of its runs, and its summary run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fit_folders import CLASSES, whole_summary, write_fit
from wandb_files import written_runs

from audio_lightning.compare.fit_summary import FitFolder
from audio_lightning.config import as_plain, compose
from audio_lightning.fit.run_names import name_run
from audio_lightning.fit.summary_run import fit_items, log_fit
from audio_lightning.loggers.media.items import Confusion, Table

WRONG = {"rain": "wind", "siren": "wind"}


@pytest.fixture
def fit(tmp_path: Path) -> FitFolder:
    """Fit that predicts wind for rain and sirens."""
    rows = [(f"{name}/{clip}.wav", name, WRONG.get(name, name)) for name in CLASSES for clip in range(3)]
    return write_fit(tmp_path / "yard", whole_summary(tmp_path / "data"), rows)


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb files"))
    yield
    wandb.teardown()


def test_the_tables_are_those_of_the_page(fit: FitFolder) -> None:
    items = {item.name: item for item in fit_items(fit, fit.read_summary())}
    board = items["fit/leaderboard"]
    assert isinstance(board, Table)
    assert [row[0] for row in board.rows][:3] == ["auto", "mfcc", "raw"]
    after = items["fit/after_selection"]
    assert isinstance(after, Table)
    figures = {"expected": 0.78, "low": 0.71, "high": 0.84, "apparent": 0.8}
    assert dict(zip(after.columns, after.rows[0])) == {"metric": "accuracy", **figures, "interval over": "40 groups"}
    confusion, counts = items["fit/confusion_matrix"], items["fit/confusion_counts"]
    assert isinstance(confusion, Confusion)
    assert confusion.counts.tolist() == [[3, 0, 0, 0], [0, 0, 0, 3], [0, 0, 0, 3], [0, 0, 0, 3]]
    assert isinstance(counts, Table)
    assert list(counts.rows[1]) == ["rain", 0, 0, 0, 3]


def test_lower_is_better_sorts_ascending(fit: FitFolder) -> None:
    board = fit_items(fit, replace(fit.read_summary(), metric="loss"))[0]
    assert isinstance(board, Table)
    assert [row[0] for row in board.rows][:3] == ["raw", "mfcc", "auto"]


def test_with_several_labels_a_clip_there_is_no_confusion_matrix(fit: FitFolder) -> None:
    names = [item.name for item in fit_items(fit, replace(fit.read_summary(), multilabel=True))]
    assert names == ["fit/leaderboard", "fit/after_selection", "fit/learning_curve"]


@pytest.mark.usefixtures("_offline")
def test_wandb_has_a_summary_in_the_group_of_the_fit(fit: FitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (fit.trials / "trials/0-a/wandb/offline-run-1").mkdir(parents=True)
    log_fit(fit, fit.read_summary(), ["data=demo", "logger=wandb", "logger.wandb.project=sounds"])
    assert f"wandb sync {fit.trials}/trials/*/wandb/offline-run-*" in capsys.readouterr().out
    (written,) = written_runs(fit.path)
    described = (written.run.project, written.run.run_group, written.run.job_type, written.run.display_name)
    assert described == ("sounds", "yard", "fit", "summary")
    assert written.summary["fit/leaderboard"]["nrows"] == 6
    assert written.summary["fit/confusion_counts"]["ncols"] == 5
    assert written.summary["expected/accuracy"] == pytest.approx(0.78)
    assert written.exit_code == 0


@pytest.mark.usefixtures("_offline")
def test_the_model_of_the_fit_is_linked(fit: FitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    fit.model.write_bytes(b"weights")
    registry = "wandb-registry-model/birds"
    log_fit(fit, fit.read_summary(), ["data=demo", "logger=wandb", f"logger.wandb.registry={registry}"])
    assert f"W&B: the model is not linked to {registry} (the run is offline)" in capsys.readouterr().out
    assert written_runs(fit.path)[0].exit_code == 0


def test_tensorboard_has_the_tables_and_the_confusion_matrix(fit: FitFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_fit(fit, fit.read_summary(), ["logger=[csv,tensorboard]"])
    events = EventAccumulator(str(fit.path / "summary")).Reload()
    (board,) = events.Tensors("fit/leaderboard/text_summary")
    assert "| auto | selected | 0.67 |" in board.tensor_proto.string_val[0].decode()
    assert events.Images("fit/confusion_matrix")
    (expected,) = events.Scalars("results/expected/accuracy")
    assert expected.value == pytest.approx(0.78)


def test_mlflow_has_a_run_in_the_experiment_of_the_fit(
    fit: FitFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # in which a test need not make a data base
    uri = f"file:{tmp_path / 'mlruns'}"
    log_fit(fit, fit.read_summary(), ["logger=mlflow", f"logger.mlflow.tracking_uri='{uri}'"])
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("yard")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("summary", "FINISHED")
    names = {file.path for file in client.list_artifacts(run.info.run_id, "fit")}
    assert {"fit/leaderboard.json", "fit/confusion_matrix.png"} <= names


def test_without_such_a_logger_nothing_is_written(fit: FitFolder) -> None:
    before = sorted(fit.path.rglob("*"))
    for lines in (["data=demo"], ["logger=csv"], ["logger=none"]):
        log_fit(fit, fit.read_summary(), lines)
    assert sorted(fit.path.rglob("*")) == before


@pytest.mark.usefixtures("_offline")
def test_an_error_is_one_line(fit: FitFolder, capsys: pytest.CaptureFixture[str]) -> None:
    log_fit(fit, fit.read_summary(), ["logger=wandb", "logger.wandb.project=a/b"])
    said = capsys.readouterr().out
    assert "the summary of the fit could not be logged: logger.wandb: Invalid project name" in said


def test_runs_are_named_by_candidate_and_fold(tmp_path: Path) -> None:
    lines = ["data=demo", "logger=[csv,wandb,tensorboard,mlflow]"]
    config = compose(lines)
    name_run(config, tmp_path / "yard", "logmel fold=1", lines)
    logger = as_plain(config)["logger"]
    assert [logger["wandb"][key] for key in ("group", "job_type", "name")] == ["yard", "trial", "logmel fold=1"]
    assert (logger["mlflow"]["experiment_name"], logger["mlflow"]["run_name"]) == ("yard", "logmel fold=1")
    assert logger["tensorboard"]["name"] == "logmel-fold-1"
    lines += ["logger.wandb.group=mine", "logger.mlflow.experiment_name=audio-lightning"]
    config = compose(lines)
    name_run(config, tmp_path / "yard", "logmel fold=1", lines)
    assert (config.logger.wandb.group, config.logger.mlflow.experiment_name) == ("mine", "audio-lightning")
