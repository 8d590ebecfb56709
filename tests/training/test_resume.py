"""A killed training is resumed as if it had not been interrupted."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
from running import Killed, kill_at, resume, run

from audio_lightning.cli.train import main
from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.core.errors import ConfigError, UserError
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.resume import resumed_config
from audio_lightning.training.run import train

PROJECT = Path(__file__).parents[2]


def last(folder: Path) -> dict:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


def assert_equal_runs(one: Path, other: Path) -> None:
    """Weights and optimizer bit for bit, and every row of the histories but the times."""
    for part in ("state_dict", "lr_schedulers"):
        first, second = last(one)[part], last(other)[part]
        if part == "state_dict":
            assert all(torch.equal(first[name], second[name]) for name in first)
        else:
            assert first == second
    states = [last(folder)["optimizer_states"][0]["state"] for folder in (one, other)]
    for index, state in states[0].items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, states[1][index][name])
    histories = [pd.read_csv(f / "history.csv").drop(columns=["seconds", "training_seconds"]) for f in (one, other)]
    pd.testing.assert_frame_equal(*histories)
    assert (one / "predictions.csv").read_text() == (other / "predictions.csv").read_text()
    steps = [pd.read_csv(folder / "steps.csv") for folder in (one, other)]
    pd.testing.assert_frame_equal(*steps)


OF_TORCH = {
    name: [f"scheduler._target_=torch.optim.lr_scheduler.{name}", *(f"scheduler.{option}" for option in options)]
    for name, options in {
        "CosineAnnealingLR": [],
        "CyclicLR": ["base_lr=0.001", "max_lr=0.01", "cycle_momentum=false"],
        "MultiStepLR": ["milestones=[1,3]"],
        "OneCycleLR": [],
        "ReduceLROnPlateau": ["patience=0", "threshold=10.0"],
        "SequentialLR": [
            "milestones=[2]",
            "schedulers=[{_target_: torch.optim.lr_scheduler.LinearLR}, "
            "{_target_: torch.optim.lr_scheduler.ExponentialLR, gamma: 0.5}]",
        ],
    }.items()
}
"""Schedules of PyTorch, named on the command line."""


@pytest.mark.parametrize(
    ("scheduler", "augment"),
    [
        ("none", "none"), ("cosine", "strong"), ("onecycle", "light"), ("plateau", "none"), ("decay", "none"),
        *(pytest.param(name, "none", marks=pytest.mark.full) for name in sorted(OF_TORCH)),
    ],
)  # fmt: skip
def test_a_resumed_run_equals_an_uninterrupted_one(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str, augment: str
) -> None:
    options = [
        *OF_TORCH.get(scheduler, [f"scheduler={scheduler}"]),
        f"augment={augment}",
        "model.dropout=0.5",
        "trainer.max_epochs=5",
        "trainer.log_every_n_steps=1",
    ]
    if scheduler == "plateau":  # so impatient that it steps at the very epoch after which the run is killed
        options += ["scheduler.patience=0", "scheduler.threshold=10.0"]
    if scheduler == "decay":
        options += ["scheduler.whole_epochs=2"]
    run(tiny_urbansound8k, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=3, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *options)
    assert last(tmp_path / "killed")["epoch"] == 2
    (tmp_path / "killed").rename(tmp_path / "moved")
    resume(tmp_path / "moved")
    assert_equal_runs(tmp_path / "whole", tmp_path / "moved")
    rates = pd.read_csv(tmp_path / "moved/history.csv")["learning_rate"]
    if scheduler == "plateau":
        assert rates.nunique() > 2
    if scheduler == "decay":
        assert list(rates / rates[0]) == pytest.approx([1.0, 1.0, 0.85, 0.85**2, 0.85**3])


def test_early_stopping_and_the_best_epoch_are_remembered(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A minimal change of 1 is never reached: patience runs out after 3 more epochs, the kill being within them.
    options = ["callbacks=early_stopping", "callbacks.early_stopping.patience=3", "trainer.max_epochs=9"]
    options += ["callbacks.early_stopping.min_delta=1.0"]
    whole = run(tiny_urbansound8k, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=0)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *options)
    resumed = resume(tmp_path / "killed")
    assert whole["epochs"] == resumed["epochs"] == 4
    assert whole["best_epoch"] == resumed["best_epoch"]
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("ended", ["callbacks=early_stopping", "trainer.max_steps=5", "trainer.max_epochs=2"])
def test_a_run_that_only_lacks_its_test_is_tested(tiny_urbansound8k: Path, tmp_path: Path, ended: str) -> None:
    stops = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=1.0"]
    whole = run(tiny_urbansound8k, tmp_path, ended, *(stops if "stopping" in ended else []), "trainer.min_epochs=1")
    (tmp_path / "metrics.json").unlink()
    resumed = resume(tmp_path)
    assert whole["epochs"] == 2
    times = ("test_seconds", "total_seconds")
    assert {k: v for k, v in resumed.items() if k not in times} == {k: v for k, v in whole.items() if k not in times}


def test_no_process_waits_where_nothing_is_left_to_do(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")  # the first one only shows the result, and meets no other process
    monkeypatch.setattr("audio_lightning.training.run.train", lambda *_, **__: pytest.fail("it trains"))
    assert main([f"resume={trained}"]) == 0


def test_killed_before_the_first_checkpoint_starts_again(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=0, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed")
    assert resume(tmp_path / "killed")["epochs"] == 4


def test_a_finished_run_can_be_made_longer(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    run(tiny_urbansound8k, tmp_path, "scheduler=none", "trainer.max_epochs=2")
    assert resume(tmp_path, "trainer.max_epochs=3", "logger=none")["epochs"] == 3
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=0.1"], r"optimizer\.lr cannot be changed in a resumed run"),
        (["model=resnet"], "model cannot be changed in a resumed run"),
        (["seed=3"], "seed cannot be changed in a resumed run"),
        (["trainer.precision=bf16-mixed"], r"trainer\.precision cannot be changed"),
        (["trainer.max_epochs=9"], "scheduler=onecycle: its cycle spans the whole training"),
    ],
)
def test_what_would_make_it_another_run_is_refused(
    tiny_urbansound8k: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(
        compose(quote_paths(["data=urbansound8k", f"data.root={tiny_urbansound8k}", "scheduler=onecycle"]))
    )
    with pytest.raises(ConfigError, match=message):
        resumed_config(folder, overrides)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a folder with config\.yaml"):
        resumed_config(RunFolder(tmp_path / "nothing"), [])


@pytest.mark.full
def test_sigkill_in_the_middle_of_an_epoch(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    options = [*tiny.TRAIN_OVERRIDES, "trainer.max_epochs=150", "model.dropout=0.5"]
    command = [sys.executable, "train.py", "data=urbansound8k", f"data.root={tiny_urbansound8k}", *options]
    killed = tmp_path / "killed (ö)=1"
    process = subprocess.Popen(
        [*command, f"hydra.run.dir={killed}"], cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (killed / "checkpoints/last.ckpt").exists():
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "metrics.json").exists()
    subprocess.run([sys.executable, "train.py", f"resume={killed}"], cwd=PROJECT, check=True, capture_output=True)
    run(tiny_urbansound8k, tmp_path / "whole", *options[-2:])
    assert_equal_runs(tmp_path / "whole", killed)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 0x01
    path.unlink()
    if how == "pipe":
        os.mkfifo(path)
    elif how != "gone":
        path.write_bytes(data[: len(data) - 100 if how == "cut" else None])


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_previous_one(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    run(tiny_urbansound8k, tmp_path / "whole", "scheduler=none", "trainer.max_epochs=4")
    run(tiny_urbansound8k, tmp_path / "run", "scheduler=none", "trainer.max_epochs=3")
    damage(tmp_path / "run/checkpoints/last.ckpt", how)
    capsys.readouterr()
    resume(tmp_path / "run", "trainer.max_epochs=4")
    said = capsys.readouterr().out
    assert f"resumed from {tmp_path}/run/checkpoints/previous.ckpt, after epoch 2" in said
    assert ["epoch 3/4" in said, "epoch 2/4" in said] == [True, False]
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_a_damaged_checkpoint_never_replaces_the_previous_one(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny_urbansound8k, tmp_path, "scheduler=none", "trainer.max_epochs=3")
    before = (tmp_path / "checkpoints/previous.ckpt").read_bytes()
    damage(tmp_path / "checkpoints/last.ckpt", "flip")
    kill_at(monkeypatch, epoch=3, batch=0)
    with pytest.raises(Killed):
        resume(tmp_path, "trainer.max_epochs=4")
    assert last(tmp_path)["epoch"] == 2
    assert (tmp_path / "checkpoints/previous.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("last_is", "previous_is", "message"),
    [
        ("flip", "gone", r"last\.ckpt .* is damaged .*; remove it to begin the training again"),
        ("cut", "flip", r"last\.ckpt .* is damaged .*, and the previous one cannot be used either: .*previous\.ckpt"),
        ("pipe", "whole", r"last\.ckpt: expected a file, found a named pipe"),
    ],
)
def test_a_run_without_a_usable_checkpoint_is_refused(
    trained: Path, tmp_path: Path, last_is: str, previous_is: str, message: str
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    damage(tmp_path / "run/checkpoints/last.ckpt", last_is)
    if previous_is != "whole":
        damage(tmp_path / "run/checkpoints/previous.ckpt", previous_is)
    with pytest.raises(UserError, match=message) as caught:
        resume(tmp_path / "run", "trainer.max_epochs=9")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_before_there_were_checksums_is_resumed(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    run(tiny_urbansound8k, tmp_path, "scheduler=none", "trainer.max_epochs=2")
    torch.save(last(tmp_path), tmp_path / "checkpoints/last.ckpt")
    assert resume(tmp_path, "trainer.max_epochs=3")["epochs"] == 3


def test_a_jump_of_the_learning_rate_is_reported(
    tiny_urbansound8k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_urbansound8k, tmp_path, "trainer.max_epochs=2")  # of three steps
    assert "jumps" not in capsys.readouterr().out
    resume(tmp_path, "trainer.max_epochs=6")
    # Of 18 steps 2 warm up, and 6 are done: the cosine over the other 16 is where 4 of them are over.
    due = 0.5 * (1 + math.cos(math.pi * 4 / 16))
    assert (
        f"warning: the learning rate jumps from 0 to {0.01 * due:.3g} ({due:.2f} of its peak 0.01), because "
        "WarmupCosine spans the whole training" in capsys.readouterr().out
    )
    assert last(tmp_path)["global_step"] == 18


@pytest.mark.parametrize("scheduler", ["cosine", "decay"])
def test_an_unchanged_learning_rate_is_not_reported(
    tiny_urbansound8k: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scheduler: str,
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=1, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path, "trainer.max_epochs=3", f"scheduler={scheduler}")
    resume(tmp_path, *(["trainer.max_epochs=4"] if scheduler == "decay" else []))
    assert "jumps" not in capsys.readouterr().out


def test_torchs_one_cycle_cannot_be_made_longer(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    file = tmp_path / "run/config.yaml"
    file.write_text(
        file.read_text().replace(
            "audio_lightning.classifier.schedulers.WarmupCosine", "torch.optim.lr_scheduler.OneCycleLR"
        )
    )
    with pytest.raises(ConfigError, match="scheduler=onecycle: its cycle spans the whole training"):
        resumed_config(RunFolder(tmp_path / "run"), ["trainer.max_epochs=9"])


def test_found_values_are_kept_when_a_run_is_resumed(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["tuner.lr_find=true", "tuner.scale_batch_size=true", "trainer.max_epochs=3"]
    monkeypatch.setattr("audio_lightning.training.finders.STEPS", 3)
    monkeypatch.setattr("audio_lightning.training.finders.suggested", lambda *_: 0.003)
    run(tiny_urbansound8k, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=0)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *options)
    # As a sweep and the API do, which compose the configuration again.
    config = compose(quote_paths(["data=urbansound8k", f"data.root={tiny_urbansound8k}", *tiny.TRAIN_OVERRIDES]))
    check_config(config)
    config.tuner.lr_find = config.tuner.scale_batch_size = True
    config.trainer.max_epochs = 3
    monkeypatch.setattr("audio_lightning.training.run.find", lambda *_: pytest.fail("it searches again"))
    metrics = train(config, RunFolder(tmp_path / "killed"), resume=True)
    assert (metrics["found_lr"], metrics["found_batch_size"]) == (0.003, 16)
    config = RunFolder(tmp_path / "killed").read_config()
    assert (config.optimizer.lr, config.data.batch_size) == (0.003, 16)
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")
