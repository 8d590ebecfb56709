"""W&B runs, read back from wandb's own files."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import soundfile
import wandb
from PIL import Image
from running import Killed, kill_at, resume, run
from wandb_files import written_runs

from audio_lightning.core.errors import ConfigError, Interrupted, UserError
from audio_lightning.loggers.loggers import runs_ended
from audio_lightning.loggers.wandb import WandbLogger, has_key


@pytest.fixture(autouse=True, scope="module")
def _end_the_service() -> Iterator[None]:
    yield
    wandb.teardown()


@pytest.fixture(scope="module")
def finished(tiny_urbansound8k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a training with two loggers. Read only."""
    folder = tmp_path_factory.mktemp("wandb") / "run"
    with pytest.MonkeyPatch.context() as patch:
        without_account(patch, folder.parent)
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder.parent / "cache"))
        more = ["logger.wandb.log_files=true", "logger.wandb.tags=[tiny]", "trainer.log_every_n_steps=2"]
        run(tiny_urbansound8k, folder, "logger=[csv,wandb]", "trainer.max_epochs=2", *more)
    return folder


def without_account(patch: pytest.MonkeyPatch, place: Path) -> None:
    wandb.teardown()  # it reads the environment once
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_RUN_ID", "WANDB_RUN_GROUP"):
        patch.delenv(name, raising=False)
    patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # no server is there
    patch.setenv("NETRC", str(place / "netrc"))
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        patch.setenv(name, str(place / "wandb files"))


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    without_account(monkeypatch, tmp_path)
    return monkeypatch


def test_the_config_is_nested_and_numbers_are_numbers(finished: Path) -> None:
    (written,) = written_runs(finished)
    assert written.config["optimizer"]["lr"] == 0.01
    assert written.config["model"]["channels"] == [4, 8, 8]
    assert written.config["data"]["allow_leakage"] is False
    assert (written.run.project, list(written.run.tags)) == ("audio-lightning", ["tiny"])


def test_the_history_has_a_row_an_epoch_with_epoch_and_step_as_axes(finished: Path) -> None:
    (written,) = written_runs(finished)
    expected = pd.read_csv(finished / "history.csv")
    epochs = pd.DataFrame([row for row in written.history if "train/loss" in row])
    assert list(epochs["epoch"]) == [1, 2]
    for name in ("train/loss", "validation/loss", "validation/accuracy", "learning_rate"):
        assert list(epochs[name]) == pytest.approx(list(expected[name]))
    steps = [row for row in written.history if "train/step_loss" in row]
    assert [row["step"] for row in steps] == [1, 3, 5]
    assert all("learning_rate" in row and "validation/loss" not in row for row in steps)
    assert all(row["train/gradient_norm"] > 0 for row in steps)
    assert written.axes == {
        "epoch": "", "step": "", "train/step_loss": "step", "train/gradient_norm": "step", "learning_rate": "step",
        "learning_rate/*": "step", "*": "epoch",
    }  # fmt: skip


def test_the_summary_is_that_of_the_metrics_and_the_test_is_shown(finished: Path) -> None:
    (written,) = written_runs(finished)
    metrics = json.loads((finished / "metrics.json").read_text())
    assert {name: written.summary[name] for name in metrics} == metrics
    assert metrics["macs"] > 0
    assert written.summary["test/per_class"]["nrows"] == 3
    assert written.summary["test/confusion_matrix_table"]["nrows"] == 9
    assert {"config.yaml", "predictions.csv", "checkpoints/best.ckpt"} <= set(written.artifacts)
    assert written.exit_code == 0


def test_the_pictures_the_sounds_and_the_tables_are_in_the_run(finished: Path) -> None:
    (written,) = written_runs(finished)
    (files,) = finished.glob("wandb/offline-run-*/files")
    predictions = pd.read_csv(finished / "predictions.csv")
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    for name in ("train/augmented", "test/confusion_matrix", "test/roc", "test/pr", "test/mistakes"):
        with Image.open(files / written.summary[f"{name}_picture"]["path"]) as image:
            assert min(image.size) > 200
    for name, clips in (("train/augmented", 8), ("test/mistakes", min(16, len(wrong)))):
        sounds = written.summary[f"{name}_audio"]
        paths = list((files / "media/audio").joinpath(name).parent.glob(f"{Path(name).name}_audio_*.wav"))
        assert sounds["count"] == len(paths) == clips > 0
        for path in paths:
            samples, rate = soundfile.read(path)
            assert (rate, samples.shape) == (8000, (2000,))
        table = json.loads((files / written.summary[name]["path"]).read_text())
        assert table["columns"][:3] == ["audio", "spectrogram", "label"]
        assert len(table["data"]) == clips
    for kind, count in (("audio", 8 + clips), ("images", 8 + clips)):  # those in the cells of the tables
        assert len([path for path in written.artifacts if path.startswith(f"media/{kind}/")]) == count
    mistakes = {row[table["columns"].index("path")] for row in table["data"]}
    assert mistakes <= set(wrong["path"])
    curves = json.loads((files / written.summary["test/roc_table"]["path"]).read_text())
    assert curves["columns"] == ["class", "false positive rate", "true positive rate"]
    assert {row[0] for row in curves["data"]} == {"high_tone", "low_tone", "noise"}


def test_an_offline_run_is_resumed_as_a_second_run_of_its_group(
    tiny_urbansound8k: Path, tmp_path: Path, no_account: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_account.context() as patch:
        kill_at(patch, epoch=1, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "run", "logger=wandb", "trainer.max_epochs=2")
    resume(tmp_path / "run")
    first, second = written_runs(tmp_path / "run")
    assert first.run.run_id != second.run.run_id
    assert first.run.run_group == second.run.run_group == first.run.run_id
    assert "continues" not in first.config
    assert second.config["continues"] == first.run.run_id
    assert [row["epoch"] for row in first.history if "train/loss" in row] == [1]
    assert [row["epoch"] for row in second.history if "train/loss" in row] == [2]
    assert (first.exit_code, second.exit_code) == (1, 0)
    said = [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines() if "wandb sync" in line]
    assert [Path(path).name.rpartition("-")[2] for path in said] == [first.run.run_id, second.run.run_id]


class TrialPruned(Exception):  # noqa: N818 - called as a search calls it
    pass


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("a defect"), 1),
        (UserError("a mistake"), 2),
        (Interrupted(143), 143),
        (KeyboardInterrupt(), 130),
        (SystemExit(143), 143),
        (TrialPruned(), 0),
    ],
    ids=repr,
)
def test_a_run_ends_with_its_status(
    error: BaseException, code: int, tmp_path: Path, no_account: pytest.MonkeyPatch
) -> None:
    logger = WandbLogger(str(tmp_path))
    trainer: Any = SimpleNamespace(loggers=[logger], optimizers=[], current_epoch=0)

    def training() -> None:
        with runs_ended(trainer):
            logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
            raise error

    with pytest.raises(type(error)):
        training()
    (written,) = written_runs(tmp_path)
    assert written.exit_code == code


def test_two_runs_at_once_in_a_process_are_two(tmp_path: Path, no_account: pytest.MonkeyPatch) -> None:
    loggers = [WandbLogger(str(tmp_path / name), name=name) for name in ("a", "b")]
    for value, logger in enumerate(loggers):
        logger.log_metrics({"train/loss": float(value), "epoch": 0}, step=0)
    for logger in loggers:
        logger.finish()
    for value, name in enumerate(("a", "b")):
        (written,) = written_runs(tmp_path / name)
        assert written.run.display_name == name
        assert [row["train/loss"] for row in written.history] == [value]


@pytest.mark.parametrize(
    ("environment", "mode", "runs"),
    [
        ({}, "auto", 1),
        ({}, "online", 1),
        ({"WANDB_MODE": "online"}, "auto", 1),
        ({"WANDB_API_KEY": "no key"}, "auto", 1),
        ({"WANDB_MODE": "disabled"}, "auto", 0),
        ({}, "disabled", 0),
        ({"WANDB_MODE": "disabled"}, "offline", 1),
    ],
    ids=str,
)
def test_without_a_key_there_is_no_prompt_and_no_loss(
    environment: dict[str, str], mode: Any, runs: int, tmp_path: Path, no_account: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        no_account.setenv(name, value)
    logger = WandbLogger(str(tmp_path), mode=mode)
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
    logger.finish()
    assert [len(written.history) for written in written_runs(tmp_path)] == [1] * runs


def test_an_invalid_name_is_an_error(tmp_path: Path, no_account: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"logger\.wandb: Invalid project name 'a/b'"):
        WandbLogger(str(tmp_path), project="a/b").log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)


def test_the_key_is_found_where_wandb_keeps_it(tmp_path: Path, no_account: pytest.MonkeyPatch) -> None:
    settings = wandb.Settings(base_url="https://wandb.example.org")
    assert not has_key(settings)
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password " + "a" * 40)
    assert has_key(settings)
    assert not has_key(wandb.Settings(base_url="https://other.example.org"))
