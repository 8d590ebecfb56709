"""Untrusted folders and checkpoints: no interpolation is resolved, no address contacted, no outside path written."""

import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

import audio_lightning as al
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.cli.main import app
from audio_lightning.cli.sweep import main as sweep
from audio_lightning.cli.train import main as train
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.core.errors import UserError
from audio_lightning.run_folder import RunFolder

SECRET = "correct-horse-battery-staple"


class Listener:
    """A server that must not receive any request.

    Attributes:
        url: address of the server.
        asked: lines of the requests.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                listener.asked.append(self.rfile.readline().decode(errors="replace"))
                self.close_connection = True

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setenv("AL_SECRET", SECRET)
    found = Listener()
    yield found
    found.server.shutdown()
    found.server.server_close()


def mlflow(uri: str) -> dict[str, Any]:
    return {"_target_": "audio_lightning.loggers.mlflow.MlflowLogger", "tracking_uri": uri}


def spoiled(path: Path, changes: dict[str, Any]) -> None:
    """Lay values over those of a configuration, by dotted keys."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        node = values
        *parents, name = key.split(".")
        for parent in parents:
            node = node[parent]
        node[name] = value
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def assert_kept(listener: Listener, *folders: Path) -> None:
    assert listener.asked == []
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "a logger's address": lambda url: {"logger": {"mlflow": mlflow(url + "/${oc.env:AL_SECRET}")}},
    "a logger's name": lambda url: {"logger": {"mlflow": {**mlflow(url), "run_name": "${oc.env:AL_SECRET}"}}},
    "a list": lambda url: {"logger": {"wandb": {"tags": ["${oc.env:AL_SECRET}"]}}},
    "a path": lambda url: {"data.root": "/tmp/${oc.env:AL_SECRET}"},
    "a key": lambda url: {"logger": {"${oc.env:AL_SECRET}": None}},
    "a new key": lambda url: {"note": "${oc.env:AL_SECRET}"},
    "an escape": lambda url: {"note": "\\${oc.env:AL_SECRET}"},
    "decoded": lambda url: {"seed": "${oc.decode:${oc.env:AL_SECRET}}"},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("more", [[], ["trainer.max_epochs=5"], ["logger=csv", "trainer.max_epochs=5"]], ids=str)
def test_resume_resolves_no_interpolation(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], listener: Listener, place: str, more: list[str]
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    spoiled(run / "config.yaml", PLACES[place](listener.url))
    (run / "metrics.json").unlink()
    assert train([f"resume={run}", *more]) == 2
    error = capsys.readouterr().err
    assert "is refused: an interpolation in a saved configuration" in error
    assert error.count("\n") == 1
    assert_kept(listener, run)


@pytest.mark.parametrize(
    "value",
    [
        "http://127.0.0.1:1",
        "HTTP://127.0.0.1:1",
        "file:/tmp/x",
        "sqlite:////tmp/x.db",
        "databricks://x",
        "../x",
        "/tmp/x",
        "~/x",
    ],
)
def test_addresses_in_run_folders_are_not_contacted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    spoiled(run / "config.yaml", {"logger": {"mlflow": mlflow(value)}})
    assert train([f"resume={run}", "trainer.max_epochs=5"]) == 2
    error = capsys.readouterr().err
    assert (
        "leads out of its folder, and is refused; to use it, type it on the command line: logger=mlflow logger.mlflow."
        in error
    )
    assert error.count("\n") == 1


def test_addresses_given_again_are_used(trained: Path, tmp_path: Path, listener: Listener) -> None:
    from audio_lightning.training.resume import resumed_config

    run = Path(shutil.copytree(trained, tmp_path / "run"))
    spoiled(run / "config.yaml", {"logger": {"mlflow": mlflow("http://127.0.0.1:1")}})
    typed = ["logger=mlflow", f"logger.mlflow.tracking_uri={listener.url}"]
    assert resumed_config(RunFolder(run), typed).logger.mlflow.tracking_uri == listener.url


@pytest.mark.full  # importing MLflow and making its data base takes seconds
def test_addresses_in_logger_files_are_not_contacted(
    trained: Path, tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audio_lightning.loggers.mlflow import MlflowLogger

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "mlflow.json").write_text(f'{{"tracking_uri": "{listener.url}", "run_id": "1"}}')
    logger = MlflowLogger(str(run))
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
    logger.finish()
    assert listener.asked == []


@pytest.fixture
def stranger(trained: Path, tmp_path: Path, listener: Listener) -> Path:
    """A run whose checkpoints and configuration name the server and the secret."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    for path in run.glob("checkpoints/*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        config = checkpoint["hyper_parameters"]["config"]
        config["data"]["root"] = "/tmp/${oc.env:AL_SECRET}"
        config["logger"] = {"mlflow": mlflow(listener.url + "/${oc.env:AL_SECRET}")}
        torch.save(checkpoint, path)
    spoiled(run / "config.yaml", PLACES["a logger's address"](listener.url))
    return run


@pytest.mark.parametrize(
    "command",
    [["predict", "RUN", "x.wav"], ["embed", "RUN", "x.wav"], ["evaluate", "RUN"], ["evaluate", "RUN", "data=demo"]],
    ids=" ".join,
)
def test_commands_resolve_no_interpolation_of_a_checkpoint(
    stranger: Path, listener: Listener, command: list[str]
) -> None:
    found = CliRunner().invoke(app, [str(stranger) if word == "RUN" else word for word in command])
    assert found.exit_code == 2
    assert "is refused: an interpolation in a saved configuration" in found.output
    assert SECRET not in found.output
    assert_kept(listener, stranger)


@pytest.mark.parametrize(
    "call",
    [
        lambda run: al.Run(run).config,
        lambda run: al.Run(run).classifier,
        lambda run: AudioClassifier.load_from_checkpoint(run / "checkpoints/best.ckpt"),
        lambda run: AudioClassifier.load_from_checkpoint(run / "checkpoints/last.ckpt"),
        lambda run: RunFolder(run).read_config(),
    ],
)
def test_api_resolves_no_interpolation(stranger: Path, listener: Listener, call: Callable[[Path], Any]) -> None:
    with pytest.raises(UserError, match="is refused: an interpolation in a saved configuration"):
        call(stranger)
    assert_kept(listener, stranger)


@pytest.fixture
def strangers(swept: Path, tmp_path: Path, listener: Listener) -> Path:
    """A sweep whose trials name the server and the secret."""
    folder = Path(shutil.copytree(swept, tmp_path / "sweep"))
    for path in folder.glob("trials/*/config.yaml"):
        spoiled(path, PLACES["a logger's address"](listener.url))
    return folder


@pytest.mark.parametrize("command", ["leaderboard", "refit", "dashboard"])
def test_commands_resolve_no_interpolation_of_a_sweep(strangers: Path, listener: Listener, command: str) -> None:
    found = CliRunner().invoke(app, [command, str(strangers)])
    assert found.exit_code in (1, 2)
    assert SECRET not in found.output
    assert found.output.count("is refused: an interpolation in a saved configuration") == (
        2 if command == "leaderboard" else 0
    )
    assert_kept(listener, strangers)


def test_results_resolve_no_interpolation(strangers: Path, listener: Listener) -> None:
    results = read_results([SweepFolder(strangers)])
    assert list(results["state"]) == ["failed", "failed"]
    assert len(results.attrs["damaged"]) == 2
    assert_kept(listener, strangers)


def test_refit_does_not_use_the_tracking_address_of_the_sweep(swept: Path, tmp_path: Path, listener: Listener) -> None:
    folder = Path(shutil.copytree(swept, tmp_path / "sweep"))
    for path in folder.glob("trials/*/config.yaml"):
        spoiled(path, {"logger": {"mlflow": mlflow(listener.url)}, "trainer.max_epochs": 1})
    found = CliRunner().invoke(app, ["refit", str(folder)])
    assert found.exit_code == 0, found.output
    assert f"logger.mlflow.tracking_uri={listener.url} of the sweep is not used" in found.output
    assert_kept(listener, folder)


def test_continued_sweeps_use_the_tracking_address_of_the_command(
    strangers: Path, tiny_urbansound8k: Path, listener: Listener, capfd: pytest.CaptureFixture[str]
) -> None:
    """One trial is also damaged: both are reported, set aside and run again, with the overrides of the command."""
    import tiny

    first, second = sorted(strangers.glob("trials/*"))
    (second / "status.json").write_text('{"number": ')
    line = ["data=urbansound8k", f"data.root={tiny_urbansound8k}", *tiny.TRAIN_OVERRIDES, "trainer.max_epochs=2"]
    assert sweep([*line, "seed=0,1", "plots=false", f"sweep.dir={strangers}"]) == 0
    error = capfd.readouterr().err
    for trial in (first, second):
        assert any(line.startswith(str(trial)) and "the trial is run again" in line for line in error.splitlines())
        assert (strangers / "damaged" / trial.name).is_dir()
    results = read_results([SweepFolder(strangers)])
    assert list(results["state"]) == ["done", "done"]
    assert results.attrs["damaged"] == []
    assert len({*results["choice.seed"]}) == 2
    assert_kept(listener, strangers)


def own_callback(path: Path, **arguments: str) -> None:
    node = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", **arguments}
    spoiled(path / "config.yaml", {"callbacks.own": node})


def test_relative_paths_stay_in_the_run_folder(trained: Path, tmp_path: Path) -> None:
    from audio_lightning.training.resume import resumed_config

    run = Path(shutil.copytree(trained, tmp_path / "run"))
    own_callback(run, dirpath="kept")
    assert resumed_config(RunFolder(run), []).callbacks.own.dirpath == str(run / "kept")
    own_callback(run, dirpath=str(run / "kept"))
    assert resumed_config(RunFolder(run), []).callbacks.own.dirpath == str(run / "kept")


@pytest.mark.parametrize(
    "arguments",
    [
        {"dirpath": "../kept"},
        {"dirpath": "link/kept"},
        {"dirpath": "/tmp"},
        {"dirpath": "~/kept"},
        {"dirpath": "s3://kept"},
        {"filename": "../kept"},
        {"api_key": "mine"},
        {"tracking_uri": "databricks"},
    ],
    ids=str,
)
def test_paths_outside_of_the_folder_are_rejected_unless_given_again(
    trained: Path, tmp_path: Path, arguments: dict[str, str]
) -> None:
    from audio_lightning.training.resume import resumed_config

    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "link").symlink_to(tmp_path)
    own_callback(run, **arguments)
    (name,) = arguments
    with pytest.raises(UserError, match=rf"^callbacks\.own\.{name}=.* leads out of its folder, and is refused"):
        resumed_config(RunFolder(run), [])
    if name == "dirpath":
        typed = [f"callbacks.own.dirpath='{tmp_path / 'kept'}'"]
        assert resumed_config(RunFolder(run), typed).callbacks.own.dirpath == str(tmp_path / "kept")
