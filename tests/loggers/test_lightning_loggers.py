"""Every Lightning logger can be named by its path, or is listed here with the reason why not."""

from pathlib import Path

import lightning.pytorch.loggers
import pytest
from running import run

ARGUMENTS = {
    "CSVLogger": "",
    "MLFlowLogger": ", tracking_uri: 'sqlite:///mlflow.db'",
    "TensorBoardLogger": "",
    "WandbLogger": ", offline: true",
}
"""Arguments besides the run folder, which is filled in; packages that they need are in the extras."""

CANNOT_BE_TRIED = {
    "CometLogger": "needs the package comet_ml and an account",
    "LitLogger": "needs the package litlogger and an account",
    "Logger": "it is a base class",
    "NeptuneLogger": "needs the package neptune and an account",
}

WRITES = {
    "CSVLogger": "run/lightning_logs/version_0/metrics.csv",
    "MLFlowLogger": "mlflow.db",
    "TensorBoardLogger": "run/lightning_logs/version_0/events.*",
    "WandbLogger": "run/wandb/offline-run-*/*.wandb",
}

MEDIA = {
    "MLFlowLogger": "mlruns/*/*/artifacts/test/confusion_matrix.png",
    "TensorBoardLogger": WRITES["TensorBoardLogger"],
    "WandbLogger": "run/wandb/offline-run-*/files/media/images/test/confusion_matrix*.png",
}

FAST = ("CSVLogger", "TensorBoardLogger")


def test_every_logger_of_lightning_is_known() -> None:
    assert {*ARGUMENTS, *CANNOT_BE_TRIED} >= {*lightning.pytorch.loggers.__all__}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.full) for name in ARGUMENTS]
)
def test_a_logger_of_lightning_logs_a_training_and_its_media(
    name: str, tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    node = f"{{_target_: lightning.pytorch.loggers.{name}{ARGUMENTS[name]}}}"
    metrics = run(tiny_urbansound8k, tmp_path / "run", f"+logger.own={node}", "trainer.max_epochs=1")
    assert metrics["epochs"] == 1
    written = list(tmp_path.glob(WRITES[name]))
    assert written
    assert all(path.stat().st_size for path in written)
    if name in MEDIA:
        media = [path.read_bytes() for path in tmp_path.glob(MEDIA[name])]
        assert any(b"test/confusion_matrix" in content or name != "TensorBoardLogger" for content in media)
