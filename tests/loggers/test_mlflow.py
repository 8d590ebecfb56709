"""Runs in MLflow, read back by its own client."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
from running import Killed, kill_at, resume, run

from audio_lightning.loggers.mlflow import PATIENCE, MlflowLogger

pytest.importorskip("mlflow")


@pytest.fixture(scope="module", autouse=True)
def _own_settings() -> Any:
    """MLflow reads the environment, and the logger sets what is not set there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in PATIENCE.items():
            patch.setenv(name, value)
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # in which a test need not make a data base
        yield


def read(uri: str) -> tuple[Any, Any]:
    """The client and the only run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("audio-lightning")
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


@pytest.fixture(scope="module")
def finished(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a training that was killed and resumed. Read only."""
    folder = tmp_path_factory.mktemp("mlflow") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        more = [f"logger.mlflow.tracking_uri=file:{folder.parent / 'mlruns'}", "logger.mlflow.log_files=true"]
        more += ["logger=mlflow", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "augment=light"]
        with patch.context() as killing:
            kill_at(killing, epoch=1, batch=1)
            with pytest.raises(Killed):
                run(tiny_urbansound8k, folder, *more)
        _client, interrupted = read(f"file:{folder.parent / 'mlruns'}")
        assert interrupted.info.status == "FAILED"
        resume(folder, *more[:3])  # an address of a file is not used unless it is typed again
    return folder


def test_metrics_parameters_and_files_are_in_one_run(finished: Path, tmp_path: Path) -> None:
    client, found = read(f"file:{finished.parent / 'mlruns'}")
    assert found.info.status == "FINISHED"
    assert (found.data.params["optimizer.lr"], found.data.params["model"]) == ("0.01", "CNN")
    metrics, history = json.loads((finished / "metrics.json").read_text()), pd.read_csv(finished / "history.csv")
    for name in ("test/accuracy", "validation/loss", "parameters", "macs"):
        assert found.data.metrics[f"results/{name}"] == pytest.approx(metrics[name])
    for name in ("train/loss", "validation/loss", "validation/accuracy"):
        points = client.get_metric_history(found.info.run_id, name)
        assert {point.step: pytest.approx(point.value) for point in points} == dict(zip([1, 2], history[name]))
    assert {0, 1, 2, 3, 4} <= {point.step for point in client.get_metric_history(found.info.run_id, "train/step_loss")}
    place = Path(client.download_artifacts(found.info.run_id, "", str(tmp_path)))
    for name in ("train/augmented", "test/mistakes"):
        table = json.loads((place / f"{name}.json").read_text())
        assert len(list((place / name).glob("*.wav"))) == len(list((place / name).glob("*.png"))) == len(table["data"])
    assert soundfile.info(str(place / "test/mistakes/01.wav")).frames == 2000
    assert {"confusion_matrix.png", "roc.png", "pr.png", "per_class.json"} <= {
        path.name for path in (place / "test").iterdir()
    }
    assert (place / "run/checkpoints/best.ckpt").is_file()
    assert (place / "run/metrics.json").is_file()


def test_an_absent_server_gives_one_line_and_little_delay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = MlflowLogger(str(tmp_path), tracking_uri="http://127.0.0.1:9")
    started = time.perf_counter()
    logger.log_hyperparams({})
    for epoch in range(5):
        logger.log_metrics({"train/loss": 1.0, "epoch": epoch}, step=epoch)
    logger.finish()
    assert time.perf_counter() - started < 15
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("MLflow: nothing more is logged (")


def test_an_experiment_that_another_run_has_just_made_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"file:{tmp_path / 'mlruns'}"
    create = MlflowClient.create_experiment

    def meanwhile(client: MlflowClient, *args: Any, **kwargs: Any) -> str:
        create(MlflowClient(uri), "audio-lightning")
        return create(client, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_experiment", meanwhile)
    logger = MlflowLogger(str(tmp_path), tracking_uri=uri)
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
    logger.finish()
    _, found = read(uri)
    assert found.data.metrics["train/loss"] == 1


def test_the_address_of_one_run_is_not_that_of_the_next_in_the_process(tmp_path: Path) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    logger = MlflowLogger(str(tmp_path), tracking_uri=f"file:{tmp_path / 'mlruns'}")
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
    logger.finish()
    assert mlflow.get_tracking_uri() == before


@pytest.mark.full
def test_simultaneous_runs_share_one_database(tmp_path: Path) -> None:
    code = (
        "import sys; from audio_lightning.loggers.mlflow import MlflowLogger\n"
        "logger = MlflowLogger(sys.argv[1], tracking_uri=sys.argv[2])\n"
        "logger.log_metrics({'train/loss': 1.0, 'epoch': 0}, step=0); logger.finish()"
    )
    uri = f"sqlite:///{tmp_path / 'new/mlflow.db'}"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name), uri], stdout=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    assert [process.communicate()[0] for process in started] == ["", ""]


@pytest.mark.full
def test_without_a_server_runs_are_in_a_local_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        logger = MlflowLogger(str(tmp_path / f"run {number}"), run_name=f"number {number}", tags={"site": "north"})
        logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
        logger.finish(130 * number)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("audio-lightning").experiment_id])
    assert {(one.info.run_name, one.info.status) for one in found} == {("number 0", "FINISHED"), ("number 1", "KILLED")}
    assert all(one.data.tags["site"] == "north" for one in found)
