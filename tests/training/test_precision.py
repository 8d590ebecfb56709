"""Trainer options: their effect on weights, files and results."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import tiny_sources
import torch
from omegaconf import DictConfig, OmegaConf
from running import Killed, kill_at, resume, run
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import ConfigError, Interrupted, UserError
from audio_lightning.features.base import FrontEnd
from audio_lightning.training import finders, precision
from audio_lightning.training.averaging import EMA, SWA
from audio_lightning.training.precision import check_compiler, say_precision

SHORT = ["trainer.max_epochs=1", "scheduler=none"]
PLAIN = [*SHORT, "model.batch_norm=false", "model.dropout=0.0", "optimizer=sgd", "optimizer.momentum=0.0",
         "optimizer.nesterov=false", "optimizer.weight_decay=0.0", "data.split=random"]  # fmt: skip
"""With these, an update is the learning rate times the gradient of the mean loss."""


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


def network(state: dict[str, torch.Tensor]) -> torch.Tensor:
    parts = [value.float().flatten() for name, value in state.items() if name.startswith("network.")]
    return torch.cat(parts)


class Steps:
    """Precisions of the optimizer and the network during trainings."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.updates: list[float] = []
        self.types: list[tuple[torch.dtype, torch.dtype]] = []
        self.formats: list[tuple[bool, bool]] = []
        optimizer_step, classified, front = torch.optim.SGD.step, AudioClassifier._classified, FrontEnd._apply_to_clips

        def step(optimizer: Any, closure: Any = None) -> Any:
            before = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
            loss = optimizer_step(optimizer, closure)
            after = [p.detach() for group in optimizer.param_groups for p in group["params"]]
            self.updates.append(float(sum(((a - b) ** 2).sum() for a, b in zip(after, before)) ** 0.5))
            return loss

        def see(classifier: AudioClassifier, features: torch.Tensor) -> torch.Tensor:
            logits = classified(classifier, features)
            self.types.append((features.dtype, logits.dtype))
            layer = next(module for module in classifier.network.modules() if isinstance(module, nn.Conv2d))
            arranged = classifier.arranged(features)
            last = {"memory_format": torch.channels_last}
            self.formats.append((layer.weight.is_contiguous(**last), arranged.is_contiguous(**last)))
            return logits

        def computed(front_end: FrontEnd, function: Any, waveform: torch.Tensor) -> torch.Tensor:
            features = front(front_end, function, waveform)
            assert features.dtype == torch.float32
            return features

        patch.setattr(torch.optim.SGD, "step", step)
        patch.setattr(AudioClassifier, "_classified", see)
        patch.setattr(FrontEnd, "_apply_to_clips", computed)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


# Precision


@pytest.mark.parametrize(
    ("asked", "ran", "dtype"),
    [
        ("32-true", "32-true", torch.float32),
        ("bf16-mixed", "bf16-mixed", torch.bfloat16),
        ("16-mixed", "bf16-mixed", torch.bfloat16),
    ],
)
def test_the_actual_precision_is_written_and_features_stay_float32(
    tiny_urbansound8k: Path, tmp_path: Path, steps: Steps, capsys: pytest.CaptureFixture[str], asked: str, ran: str,
    dtype: torch.dtype,
) -> None:  # fmt: skip
    metrics = run(tiny_urbansound8k, tmp_path / "run", *SHORT, f"trainer.precision={asked}")
    assert metrics["precision"] == ran
    assert set(steps.types) == {(torch.float32, dtype)}
    assert all(value.dtype != torch.bfloat16 for value in weights(tmp_path / "run").values())
    said = f"trainer.precision={asked} is not supported on this device; using {ran}"
    assert (said in capsys.readouterr().out) == (asked != ran)


class Device:
    """The attributes of a Trainer that the messages about precision depend on."""

    def __init__(self, device: str, precision: str) -> None:
        self.precision, self.strategy = precision, self
        self.root_device = torch.device(device)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("device", "faster"), [("cuda", "16-mixed"), ("cpu", "32-true")])
def test_a_device_without_bfloat16_has_something_faster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], device: str, faster: str, native: bool
) -> None:
    monkeypatch.setattr(precision, f"{'gpu' if device == 'cuda' else 'cpu'}_has_bfloat16", lambda: native)
    say_precision(Device(device, "bf16-mixed"), "bf16-mixed")
    kind = {"cuda": "GPU", "cpu": "CPU"}[device]
    line = f"this {kind} emulates bfloat16; trainer.precision={faster} is faster\n"
    assert capsys.readouterr().out == ("" if native else line)
    say_precision(Device(device, "32-true"), "32-true")
    assert capsys.readouterr().out == ""


# What is not on this machine


@pytest.mark.parametrize("accelerator", ["mps", "gpu", "cuda"])
def test_a_missing_accelerator_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, accelerator: str) -> None:
    monkeypatch.setattr(precision, "has_mps", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as raised:
        run(tmp_path, tmp_path / "run", f"trainer.accelerator={accelerator}")
    assert str(raised.value) == (
        f"trainer.accelerator={accelerator}: not available on this machine; use trainer=default, which finds the "
        "accelerator, or trainer=cpu"
    )


@pytest.mark.parametrize(("device", "language"), [("cpu", "C++"), ("cuda", "C")])
def test_a_missing_compiler_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, language: str
) -> None:
    from torch._inductor.cpp_builder import cpp_compiler_search

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    cpp_compiler_search.cache_clear()
    with pytest.raises(ConfigError) as raised:
        check_compiler(torch.device(device))
    assert str(raised.value) == (
        f"compile=true: no {language} compiler on this machine; install one (gcc, g++), or use compile=false"
    )
    (tmp_path / "gcc").write_text("#!/bin/sh\n")
    (tmp_path / "g++").write_text("#!/bin/sh\n")
    for name in ("gcc", "g++"):
        (tmp_path / name).chmod(0o755)
    check_compiler(torch.device(device))
    cpp_compiler_search.cache_clear()


def test_a_compiler_is_looked_for_before_the_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_urbansound8k: Path
) -> None:
    def check(device: torch.device) -> None:
        raise ConfigError(f"none for {device}")

    monkeypatch.setattr("audio_lightning.training.trainer.check_compiler", check)
    monkeypatch.setattr("audio_lightning.training.run.open_data", lambda *_, **__: pytest.fail("the data was opened"))
    with pytest.raises(ConfigError, match="none for cpu"):
        run(tiny_urbansound8k, tmp_path / "run", "compile=true")


# Steps


def test_clipping_bounds_what_a_step_changes(tiny_urbansound8k: Path, tmp_path: Path, steps: Steps) -> None:
    rate, bound = 0.01, 0.05
    run(tiny_urbansound8k, tmp_path / "free", *PLAIN, f"optimizer.lr={rate}")
    free, steps.updates[:] = max(steps.updates), []
    run(tiny_urbansound8k, tmp_path / "bound", *PLAIN, f"optimizer.lr={rate}", f"trainer.gradient_clip_val={bound}")
    assert max(steps.updates) <= rate * bound * 1.001 < free


def test_batches_that_are_accumulated_equal_a_large_one(tiny_urbansound8k: Path, tmp_path: Path, steps: Steps) -> None:
    # 16 of the clips: a rest would be divided by 4 although there are not 4 batches of it.
    options = [*PLAIN, "trainer.max_epochs=2", "scheduler=cosine"]
    large, small = tmp_path / "large", tmp_path / "small"
    run(tiny_urbansound8k, large, *options, "data.batch_size=8", "trainer.limit_train_batches=2")
    updates, steps.updates[:] = list(steps.updates), []
    assert len(updates) == 4
    batches = ["data.batch_size=2", "trainer.limit_train_batches=8", "trainer.accumulate_grad_batches=4"]
    run(tiny_urbansound8k, small, *options, *batches)
    np.testing.assert_allclose(steps.updates, updates, rtol=1e-4)
    torch.testing.assert_close(network(weights(small)), network(weights(large)), rtol=1e-5, atol=1e-6)
    rates = [pd.read_csv(folder / "history.csv")["learning_rate"].tolist() for folder in (large, small)]
    assert rates[0] == rates[1]
    assert rates[0][-1] < rates[0][0]


def test_channels_last_is_how_weights_and_inputs_lie(tiny_urbansound8k: Path, tmp_path: Path, steps: Steps) -> None:
    tested = {}
    for chosen in (True, False):
        steps.formats.clear()
        folder = tmp_path / str(chosen)
        # Two channels in: of one, both orders are the same.
        run(
            tiny_urbansound8k,
            folder,
            *SHORT,
            f"channels_last={str(chosen).lower()}",
            "feature=mfcc",
            "feature.n_mels=20",
            "feature.n_mfcc=13",
            "feature.deltas=1",
            settings=[line for line in tiny.TRAIN_OVERRIDES if not line.startswith("feature")],
        )
        assert {weight for weight, _ in steps.formats} == {chosen}
        assert {features for _, features in steps.formats} == {chosen}
        tested[chosen] = pd.read_csv(folder / "predictions.csv").filter(like="probability").to_numpy()
    np.testing.assert_allclose(tested[True], tested[False], atol=1e-4)


# Averages of weights


def test_ema_is_what_is_validated_kept_tested_and_resumed(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["callbacks=ema", "callbacks.ema.decay=0.9", "augment=light", "trainer.max_epochs=3"]
    trail: list[torch.Tensor] = []
    original = EMA.on_train_batch_end

    def on_train_batch_end(self: EMA, trainer: Any, module: Any, *rest: Any) -> None:
        trail.append(network_of(module))
        original(self, trainer, module, *rest)

    monkeypatch.setattr(EMA, "on_train_batch_end", on_train_batch_end)
    metrics = run(tiny_urbansound8k, tmp_path / "run", *options)
    average = trail[0]
    for n, newest in enumerate(trail[1:], 1):
        average = average + (1 - min(0.9, (1 + n) / (10 + n))) * (newest - average)
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    names = [name for name in last["state_dict"] if name.startswith("network.") and "num_batches" not in name]
    stored = torch.cat([last["state_dict"][name].flatten() for name in names])
    torch.testing.assert_close(stored, average, rtol=1e-4, atol=1e-5)
    current = torch.cat([last["current_model_state"][name].flatten() for name in names])
    assert torch.equal(current, trail[-1])
    assert not torch.allclose(current, stored, atol=1e-4)
    # best.ckpt is what was validated: measured again, it gives the same loss.
    assert validated(tmp_path / "run", tiny_urbansound8k) == pytest.approx(metrics["validation/loss"], abs=1e-6)

    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *options)
    resume(tmp_path / "killed")
    again = torch.load(tmp_path / "killed/checkpoints/last.ckpt", weights_only=True)
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, again[part][name]) for name, value in last[part].items())
    assert (tmp_path / "killed/predictions.csv").read_text() == (tmp_path / "run/predictions.csv").read_text()


def network_of(module: AudioClassifier) -> torch.Tensor:
    items = module.network.state_dict().items()
    return torch.cat([value.flatten() for name, value in items if "num_batches" not in name]).clone()


def validated(folder: Path, root: Path) -> float:
    """Loss of best.ckpt over the validation clips."""
    from audio_lightning.config import build
    from audio_lightning.data.datamodule import AudioDataModule

    classifier = AudioClassifier.load_from_checkpoint(folder / "checkpoints/best.ckpt")
    data = build(OmegaConf.load(folder / "config.yaml").data, AudioDataModule, where="data")
    data.setup()
    losses = []
    with torch.inference_mode():
        for batch in data.val_dataloader():
            losses.append(nn.functional.cross_entropy(classifier(batch["waveform"]), batch["target"], reduction="none"))
    return float(torch.cat(losses).mean())


def test_swa_is_the_mean_of_the_last_epochs_with_its_own_batch_norm(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail: list[torch.Tensor] = []
    original = SWA.on_train_batch_end

    def on_train_batch_end(self: SWA, trainer: Any, module: Any, *rest: Any) -> None:
        if trainer.is_last_batch:
            trail.append(torch.cat([value.detach().flatten() for value in module.network.parameters()]).clone())
        original(self, trainer, module, *rest)
        assert module.network.training
        assert all(norm.momentum for norm in module.modules() if isinstance(norm, nn.BatchNorm2d))

    monkeypatch.setattr(SWA, "on_train_batch_end", on_train_batch_end)
    options = ["callbacks=swa", "callbacks.swa.start=0.5", "scheduler=none", "monitor=train/loss"]
    metrics = run(tiny_urbansound8k, tmp_path / "run", *options)
    classifier = AudioClassifier.load_from_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    mean = (trail[2] + trail[3]) / 2
    torch.testing.assert_close(torch.cat([value.flatten() for value in classifier.network.parameters()]), mean)
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    norms = [name for name in last["state_dict"] if name.endswith("running_mean")]
    assert not any(torch.equal(last["state_dict"][name], last["current_model_state"][name]) for name in norms)
    if metrics["best_epoch"] == 4:
        assert validated(tmp_path / "run", tiny_urbansound8k) == pytest.approx(metrics["validation/loss"], abs=1e-6)

    with monkeypatch.context() as patch:
        kill_at(patch, epoch=3, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *options)
    resume(tmp_path / "killed")
    assert all(torch.equal(value, weights(tmp_path / "killed")[name]) for name, value in last["state_dict"].items())


def test_thresholds_are_those_of_the_best_epoch_where_only_the_test_was_left(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    data = tiny_sources.write_labels(tmp_path / "data")
    settings = [*tiny.TRAIN_OVERRIDES, "data=table", f"data.table={data}/clips.csv", "callbacks=ema", "scheduler=none"]
    settings += ["data.label_separator=;", "optimizer.lr=0.1"]  # so that the last epoch is not the best
    metrics = run(data, folder, settings=settings)
    assert metrics["best_epoch"] < metrics["epochs"]
    state = weights(folder, "best")
    (folder / "metrics.json").unlink()
    again = resume(folder)
    assert torch.equal(weights(folder, "best")["thresholds"], state["thresholds"])
    times = ("test_seconds", "total_seconds")
    assert {k: v for k, v in again.items() if k not in times} == {k: v for k, v in metrics.items() if k not in times}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("callbacks.ema.decay=1.0", r"callbacks\.ema\.decay=1\.0: expected at least 0 and less than 1"),
        ("callbacks.ema.every_n_steps=0", r"callbacks\.ema\.every_n_steps=0: expected 1 or more"),
        ("callbacks.swa.start=1.0", r"callbacks\.swa\.start=1\.0: expected"),
        ("trainer.precision=16-true", "precision=16-true is not supported"),
        ("trainer.profiler=fast", r"profiler=fast: expected simple \| advanced \| pytorch"),
        ("trainer.max_epochs=0", r"trainer\.max_epochs=0: must be at least 1"),
        ("trainer.limit_val_batches=0", "limit_val_batches=0 leaves nothing to choose the epoch by"),
        ("trainer.limit_train_batches=0.01", "Try at least `trainer.limit_train_batches"),
        ("trainer.max_time=00:00:00:00", "ended before an epoch was validated"),
        ("callbacks=[ema,swa]", r"callbacks=\[ema,swa\]: each replaces the weights by its average; choose one"),
        ("callbacks.best=null", r"callbacks\.best: missing"),
        ("callbacks.early_stopping.patience=-1", r"callbacks\.early_stopping\.patience=-1: expected 0 or more"),
        ("trainer.max_epochs=null", "max_epochs=null has no end; set max_epochs, max_steps or max_time"),
        ("trainer.check_val_every_n_epoch=0", "check_val_every_n_epoch=0: expected 1 or more"),
        ("trainer.accumulate_grad_batches=0", r"trainer\.accumulate_grad_batches=0: expected a number, at least 1"),
        ("data.num_workers=-1", r"data\.num_workers=-1: expected a number, at least 0"),
        ("feature_memory_gb=-1", r"feature_memory_gb=-1: expected a number, at least 0"),
        ("tuner.max_batch_size=null", "tuner.max_batch_size=null: expected a number, at least 1"),
        ("seed=-1", "seed=-1: expected a number, 0 to 4294967295"),
        ("loss=null", "loss=null: expected a choice; choices: auto, "),
        ("loss.label_smoothing=null", r"loss\.label_smoothing=null: expected at least 0"),
        ("trainer.check_val_every_n_epoch=5", "n_epoch=5: no epoch of trainer.max_epochs=4 is validated"),
    ],
)
def test_a_mistake_is_one_line(tiny_urbansound8k: Path, tmp_path: Path, override: str, message: str) -> None:
    callback = re.match(r"callbacks\.(ema|swa|early_stopping)\.", override)
    group = [f"callbacks={callback[1]}"] if callback else []
    with pytest.raises(ConfigError, match=message):
        run(tiny_urbansound8k, tmp_path / "run", *group, override)


# Finders


class Search:
    """Learning rates and frozen parameters of every step of a search, which is all that is run, and what it found."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.rates: list[list[float]] = []
        self.frozen: list[int] = []
        step, find = torch.optim.AdamW.step, finders.find

        def stepped(optimizer: Any, closure: Any = None) -> Any:
            loss = step(optimizer, closure)
            self.rates.append([group["lr"] for group in optimizer.param_groups])
            self.frozen.append(sum(p.grad is None for group in optimizer.param_groups for p in group["params"]))
            return loss

        def found(config: DictConfig, *arguments: Any) -> None:
            find(config, *arguments)
            self.found = config
            raise Killed

        patch.setattr(torch.optim.AdamW, "step", stepped)
        patch.setattr("audio_lightning.training.run.find", found)


@pytest.mark.parametrize("accumulated", [pytest.param(1, marks=pytest.mark.full), 2, 4])
def test_a_rate_is_searched_in_steps_of_the_training(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulated: int
) -> None:
    search = Search(monkeypatch)  # an epoch has 3 batches
    options = ["tuner.lr_find=true", f"trainer.accumulate_grad_batches={accumulated}", "finetune.layer_decay=0.5"]
    options += ["finetune.freeze=blocks.0", "finetune.unfreeze_epoch=1"]
    monkeypatch.setattr(finders, "STEPS", 40)
    with pytest.raises((Killed, ConfigError)):  # nothing need be found
        run(tiny_urbansound8k, tmp_path / "run", *options)
    curve = pd.read_csv(tmp_path / "run/lr_finder.csv")
    head, second = zip(*([*dict.fromkeys(rates)][:2] for rates in search.rates))  # of two stages
    np.testing.assert_allclose(curve["learning_rate"], head)
    np.testing.assert_allclose(curve["learning_rate"], np.logspace(-6, 0, 40)[: len(head)])
    np.testing.assert_allclose(second, np.array(head) / 2)
    assert min(search.frozen) > 0, "the steps of a search are many epochs"
    # At the lowest rates nothing is learned, whatever a step consists of.
    assert curve["loss"][:12].mean() == pytest.approx(np.log(3), rel=0.1)


def test_a_search_that_diverges_ends_early(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(monkeypatch)
    original = AudioClassifier._classified

    def classified(self: AudioClassifier, features: torch.Tensor) -> torch.Tensor:
        return original(self, features) * (1e3 if len(search.rates) > 40 else 1.0)

    monkeypatch.setattr(AudioClassifier, "_classified", classified)
    with pytest.raises((Killed, ConfigError)):
        run(tiny_urbansound8k, tmp_path / "run", "tuner.lr_find=true")
    assert 40 < len(search.rates) < 60


@pytest.mark.parametrize(("fits", "found"), [(15, 8), pytest.param(2, 2, marks=pytest.mark.full), (1, None)])
def test_the_largest_batch_that_fits(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: int, found: int | None
) -> None:
    original = AudioClassifier._classified

    def classified(self: AudioClassifier, features: torch.Tensor) -> torch.Tensor:
        if len(features) > fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return original(self, features)

    search = Search(monkeypatch)
    monkeypatch.setattr(AudioClassifier, "_classified", classified)
    options = ["tuner.scale_batch_size=true", "data.sampling=balanced", "tuner.max_batch_size=16"]
    with pytest.raises(Killed if found else ConfigError, match=None if found else "too small for 2 clips"):
        run(tiny_urbansound8k, tmp_path / "run", *options)
    assert not found or search.found.data.batch_size == found


@pytest.mark.parametrize("step", ["training_step", "test_step"])
def test_sigterm_is_an_interruption_in_a_search_and_in_the_test(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    original = getattr(AudioClassifier, step)

    def terminated(self: AudioClassifier, batch: Any, batch_idx: int) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(AudioClassifier, step, terminated)
    search = "true" if step == "training_step" else "false"
    with pytest.raises(Interrupted) as stopped:
        run(tiny_urbansound8k, tmp_path / "run", *SHORT, f"tuner.lr_find={search}")
    assert stopped.value.exit_code == 143
    assert (tmp_path / "run/history.csv").exists() == (step == "test_step")


@pytest.mark.full
def test_found_values_are_used_and_random_states_restored(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    options = ["optimizer.lr=1e-7", "trainer.max_epochs=15"]
    lost = run(tiny_urbansound8k, tmp_path / "lost", *options)
    found = run(tiny_urbansound8k, tmp_path / "found", *options, "tuner.lr_find=true", "tuner.scale_batch_size=true")
    assert 1e-4 < found["found_lr"] < 0.5
    assert found["found_batch_size"] == 16  # of 18 clips
    assert found["validation/loss"] < 0.9 * lost["validation/loss"]
    config = OmegaConf.load(tmp_path / "found/config.yaml")
    assert (config.optimizer.lr, config.data.batch_size) == (found["found_lr"], 16)
    assert pd.read_csv(tmp_path / "found/history.csv")["step"][0] == 2  # 16 clips and 2
    curve = pd.read_csv(tmp_path / "found/lr_finder.csv")
    assert curve["learning_rate"].is_monotonic_increasing
    assert not list((tmp_path / "found").glob(".*"))
    typed = [f"optimizer.lr={found['found_lr']}", "data.batch_size=16", "trainer.max_epochs=15"]
    run(tiny_urbansound8k, tmp_path / "typed", *typed)
    assert all(torch.equal(v, weights(tmp_path / "typed")[k]) for k, v in weights(tmp_path / "found").items())


def test_the_batch_size_is_bounded(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    found = run(tiny_urbansound8k, tmp_path / "run", *SHORT, "tuner.scale_batch_size=true", "tuner.max_batch_size=11")
    assert found["found_batch_size"] == 8
    with pytest.raises(ConfigError, match="at most 1 clips per batch leave no choice"):
        run(tiny_urbansound8k, tmp_path / "none", *SHORT, "tuner.scale_batch_size=true", "tuner.max_batch_size=1")


def test_a_search_on_several_devices_is_refused(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"search on one device"):
        run(tiny_urbansound8k, tmp_path / "run", "trainer=ddp_sim", "tuner.lr_find=true")


def test_the_rate_is_where_the_loss_falls_fastest_by_its_logarithm() -> None:
    rates = np.logspace(-6, 0, 101)
    falls = 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 3)))  # fastest at 1e-3
    noise = 1e-3 * np.cos(np.arange(101) * 2.5)
    assert 3e-4 < finders.suggested(rates, falls + noise + np.where(rates > 0.1, 5.0, 0.0)) < 3e-3
    with pytest.raises(ConfigError, match="fell at no learning rate"):
        finders.suggested(rates, np.linspace(1, 2, 101))


# Accounts

OTHERS = [("advanced", "cumtime"), ("pytorch", "Self CPU")]


@pytest.mark.filterwarnings("ignore:.*Profiler.*:UserWarning")  # torch's, of a training of so few steps
@pytest.mark.parametrize(
    ("name", "holds"),
    [("simple", "run_training_epoch"), *(pytest.param(*case, marks=pytest.mark.full) for case in OTHERS)],
)
def test_a_profile_is_written_into_the_run_folder(
    tiny_urbansound8k: Path, tmp_path: Path, name: str, holds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_urbansound8k, tmp_path / "run", "debug=profiler", f"trainer.profiler={name}", "trainer.max_epochs=1")
    assert holds in (tmp_path / "run/fit-profile.txt").read_text()
    assert holds not in capsys.readouterr().out


def test_device_statistics_are_logged_where_losses_are(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    options = ["callbacks=device_stats", "trainer.log_every_n_steps=2", "trainer.accumulate_grad_batches=2"]
    run(tiny_urbansound8k, tmp_path / "run", *options)  # 2 steps an epoch, of 2 batches and of 1
    steps = pd.read_csv(tmp_path / "run/steps.csv")
    logged = steps.query("name.str.startswith('device/')")
    assert {"device/cpu_percent", "device/clips_per_second"} <= set(logged["name"])
    clips = logged.query("name == 'device/clips_per_second'")
    assert clips["step"].tolist() == steps.query("name == 'train/step_loss'")["step"].tolist() == [1, 3, 5, 7]
    assert clips["epoch"].tolist() == [1, 2, 3, 4]
    assert (logged.query("name == 'device/clips_per_second'")["value"] > 0).all()
    with pytest.raises(ConfigError, match="needs a logger, and logger=none has none"):
        run(tiny_urbansound8k, tmp_path / "none", *options, "logger=none")


# Ends


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_loss_that_is_not_a_number_is_found_where_it_happens(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    original = AudioClassifier._classified

    def classified(self: AudioClassifier, features: torch.Tensor) -> torch.Tensor:
        bad = self.training == (part == "training") and self.global_step >= (1 if part == "training" else 3)
        return original(self, features) * (float("nan") if bad else 1.0)

    monkeypatch.setattr(AudioClassifier, "_classified", classified)
    with pytest.raises(
        UserError, match=rf"{part} loss became nan in epoch 1 \(step [23]\); try a smaller optimizer.lr"
    ):
        run(tiny_urbansound8k, tmp_path / "run", "trainer.log_every_n_steps=1")
    assert not (tmp_path / "run/metrics.json").exists()


@pytest.mark.parametrize(("limit", "epochs"), [("max_steps=2", 1), ("max_steps=4", 2), ("limit_train_batches=1", 4)])
def test_a_training_that_is_cut_short_is_validated_and_tested(
    tiny_urbansound8k: Path, tmp_path: Path, limit: str, epochs: int
) -> None:
    run(tiny_urbansound8k, tmp_path / "run", f"trainer.{limit}")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    history = pd.read_csv(tmp_path / "run/history.csv")
    assert metrics["epochs"] == len(history) == epochs
    assert history["validation/loss"].nunique() == epochs


def test_an_epoch_without_a_validation_has_none_in_the_history(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    metrics = run(tiny_urbansound8k, tmp_path / "run", "trainer.check_val_every_n_epoch=2")
    assert pd.read_csv(tmp_path / "run/history.csv")["validation/loss"].notna().tolist() == [False, True, False, True]
    assert metrics["best_epoch"] in (2, 4)


def test_a_plateau_waits_for_validations_and_not_for_epochs(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[float] = []
    monkeypatch.setattr(ReduceLROnPlateau, "step", lambda schedule, value: steps.append(value))
    run(tiny_urbansound8k, tmp_path / "run", "scheduler=plateau", "trainer.check_val_every_n_epoch=2")
    history = pd.read_csv(tmp_path / "run/history.csv")["validation/accuracy"]
    assert steps == pytest.approx([history[1], history[3]])


def test_no_patience_stops_at_the_first_epoch_without_improvement(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    early = ["callbacks=early_stopping", "callbacks.early_stopping.patience=0"]
    metrics = run(tiny_urbansound8k, tmp_path / "run", *early, "callbacks.early_stopping.min_delta=1.0")
    assert metrics["epochs"] == 2


def test_a_logger_can_be_left_out_of_several(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    run(tiny_urbansound8k, tmp_path / "run", *SHORT, "logger=[csv,tensorboard]", "logger.csv=null")
    assert not (tmp_path / "run/steps.csv").exists()


def test_a_batch_of_one_clip_is_too_few_for_some_networks(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    network = ["model=lstm", "model.num_layers=1", "model.hidden_dim=4", "data.batch_size=1"]
    settings = [line for line in tiny.TRAIN_OVERRIDES if not line.startswith("model")]
    with pytest.raises(ConfigError, match=r"data\.batch_size: LSTM normalizes over the batch.*; use 2 or more"):
        run(tiny_urbansound8k, tmp_path / "run", *network, settings=settings)


def test_a_batch_larger_than_the_training_set_takes_all_of_it(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    run(tiny_urbansound8k, tmp_path / "run", *SHORT, "data.batch_size=4096")
    assert pd.read_csv(tmp_path / "run/history.csv")["step"].tolist() == [1]
