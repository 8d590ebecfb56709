"""Fine-tuning: frozen stages stay bit for bit, train from their epoch on, and have the configured rates."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from choices import front_end, model
from omegaconf import OmegaConf
from running import Killed, kill_at, resume, run
from torch import Tensor, nn

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.factory import check_networks
from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.classifier.schedulers import TrainingLength, make_scheduler
from audio_lightning.config import compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask, FeatureShape
from audio_lightning.models import AudioModel

FROZEN = ("blocks.0.", "blocks.1.")
"""Parameters of the small network frozen by freeze=blocks.1."""

State = dict[str, Tensor]


def watch(patch: pytest.MonkeyPatch) -> list[State]:
    """Record the network before each later training step."""
    seen: list[State] = []
    original = AudioClassifier.training_step

    def training_step(self: AudioClassifier, batch: Any, batch_idx: int) -> Any:
        seen.append({name: tensor.clone() for name, tensor in self.network.state_dict().items()})
        return original(self, batch, batch_idx)

    patch.setattr(AudioClassifier, "training_step", training_step)
    return seen


def changed(before: State, after: State) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def last(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


def network() -> AudioModel:
    return model("cnn", FeatureShape("spectrogram", (1, 8, 8)), channels=[2, 2], hidden_dim=4)


@pytest.mark.parametrize(
    "optimizer",
    [
        ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.weight_decay=0.1"],
        ["optimizer=adamw", "optimizer.weight_decay=0.1"],
    ],
    ids=["sgd", "adamw"],
)
def test_frozen_parameters_stay_bit_for_bit(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: list[str]
) -> None:
    seen = watch(monkeypatch)
    options = ["finetune.freeze=blocks.1", "finetune.layer_decay=0.9", "trainer.max_epochs=2"]

    metrics = run(tiny_urbansound8k, tmp_path, *optimizer, *options)

    # Validation came between the epochs, and with it evaluation mode and back.
    assert changed(seen[0], seen[-1]) == {name for name in seen[0] if not name.startswith(FROZEN)}
    sizes = {name: value.numel() for name, value in seen[0].items() if "running" not in name and "num_" not in name}
    frozen = sum(size for name, size in sizes.items() if name.startswith(FROZEN))
    assert metrics["frozen_parameters"] == frozen
    assert metrics["parameters"] == sum(sizes.values()) - frozen
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics


def test_unfrozen_stages_train_from_their_epoch_on(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = watch(monkeypatch)

    metrics = run(tiny_urbansound8k, tmp_path, "finetune.freeze=all", "finetune.unfreeze_epoch=2")

    first = 2 * len(seen) // 4
    assert changed(seen[0], seen[first]) == {"head.weight", "head.bias"}
    assert changed(seen[first], seen[first + 1]) == set(seen[0])
    assert "frozen_parameters" not in metrics
    assert re.search(
        r"CNN on .*: [\d,]+ parameters, [\d,]+ of them frozen until epoch 2 has ended", capsys.readouterr().out
    )


@pytest.mark.parametrize("epoch", [2, 3])
def test_resumed_equals_undisturbed_across_the_unfreezing(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    options = ["finetune.freeze=embedding", "finetune.unfreeze_epoch=2", "finetune.layer_decay=0.5"]
    options += ["model.dropout=0.5", "scheduler=cosine"]
    run(tiny_urbansound8k, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=epoch, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *options)

    resume(tmp_path / "killed")

    whole, resumed = last(tmp_path / "whole"), last(tmp_path / "killed")
    assert not changed(whole["state_dict"], resumed["state_dict"])
    torch.testing.assert_close(resumed["optimizer_states"], whole["optimizer_states"], rtol=0, atol=0)
    histories = [pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "killed")]
    assert histories[0]["validation/loss"].equals(histories[1]["validation/loss"])
    groups = whole["optimizer_states"][0]["param_groups"]
    rates = dict.fromkeys(group["initial_lr"] for group in groups)  # of a stage, some decay and some do not
    assert [*rates] == pytest.approx([0.01 * 0.5**depth for depth in range(5)])
    assert histories[0]["learning_rate"].iloc[-1] == groups[0]["lr"], "the head's is written down"


SCHEDULES = {
    "cosine": {"warmup_ratio": 0.2, "min_lr_ratio": 0.1},
    "onecycle": {"final_div_factor": 100.0},
    "decay": {"whole_epochs": 2, "gamma": 0.5},
    "plateau": {"patience": 0, "threshold": 0.1, "min_lr": 0.01},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_decay_towards_the_input_through_a_schedule(name: str) -> None:
    node = OmegaConf.to_container(compose([f"scheduler={name}", "monitor=validation/loss"]).scheduler, resolve=True)
    made, pcen = network(), front_end("pcen", learnable=True)

    def rates(decay: float) -> list[list[float]]:
        finetuning = Finetuning({"layer_decay": decay}, made, pcen)
        optimizer = torch.optim.SGD(finetuning.parameter_groups(), lr=0.1, momentum=0.9)
        finetuning.decay_rates(optimizer)
        assert {*made.parameters(), *pcen.parameters()} == {p for g in optimizer.param_groups for p in g["params"]}
        length = TrainingLength(steps=12, epochs=12)
        config = make_scheduler({**node, **SCHEDULES[name]}, optimizer, length, monitor="validation/loss")
        assert config is not None
        scheduler: Any = config["scheduler"]
        found = []
        for _ in range(12):
            found.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            scheduler.step(*[1.0] * (name == "plateau"))
        return found

    assert list(made.stages()) == ["blocks.0.0", "blocks.1.0", "embedding.2", "head"]
    alike = [rate for (rate,) in rates(1.0)]
    assert min(alike) < max(alike) == pytest.approx(0.1, rel=0.05)
    assert rates(0.5) == [pytest.approx([rate, rate / 2, rate / 4, rate / 8]) for rate in alike]


def test_a_configuration_without_fine_tuning_trains_everything_alike() -> None:
    made, front = network(), nn.Identity()
    finetuning = Finetuning(None, made, front)
    made.eval()

    finetuning.start_epoch(0, processes=1)

    (group,) = finetuning.parameter_groups()
    assert list(map(id, group["params"])) == list(map(id, made.parameters()))
    assert all(parameter.requires_grad for parameter in made.parameters())
    assert not made.training, "nothing is done to it"


def test_parameters_frozen_by_the_architecture_stay_frozen() -> None:
    made = network()
    made.get_parameter("blocks.0.0.weight").requires_grad_(False)
    finetuning = Finetuning({"freeze": "blocks", "unfreeze_epoch": 1}, made, nn.Identity())

    for epoch in (0, 1):
        finetuning.start_epoch(epoch, processes=1)
        assert not made.get_parameter("blocks.0.0.weight").requires_grad
        assert made.get_parameter("blocks.1.0.weight").requires_grad == (epoch == 1)


@pytest.mark.parametrize("name", ["transformer", "conv1d"])
def test_dropout_between_frozen_layers_drops_nothing(name: str) -> None:
    shape = FeatureShape("waveform", (1, 4000)) if name == "conv1d" else FeatureShape("spectrogram", (1, 16, 16))
    made = model(name, shape, dropout=0.5)
    x = torch.randn(2, *shape.dims)
    stages = list(made.stages())
    Finetuning({"freeze": stages[-2]}, made, nn.Identity()).start_epoch(0, processes=1)
    drops = [module for module in made.modules() if isinstance(module, nn.Dropout)]
    behind = [drop for drop in drops if drop.training]
    assert len(behind) < len(drops)
    for drop in behind:  # what comes before the head belongs to what trains
        drop.eval()
    torch.testing.assert_close(made.embed(x), made.embed(x), atol=0, rtol=0)
    Finetuning({"freeze": stages[0]}, made, nn.Identity()).start_epoch(0, processes=1)
    assert any(drop.training for drop in drops)


def test_several_processes_discard_averaged_gradients_of_frozen_parameters() -> None:
    made = network()
    finetuning = Finetuning({"freeze": "all", "unfreeze_epoch": 1}, made, nn.Identity())
    # What DistributedDataParallel sees when it is made, before the first epoch.
    assert all(parameter.requires_grad for parameter in made.parameters())
    for epoch in (0, 1):
        finetuning.start_epoch(epoch, processes=2)
        made(torch.randn(4, 1, 8, 8)).sum().backward()
        finetuning.drop_gradients()
        assert {name for name, parameter in made.named_parameters() if parameter.grad is not None} == (
            {name for name, _ in made.named_parameters()} if epoch else {"head.weight", "head.bias"}
        )


MISTAKES = {
    "freeze=blockz.1": "finetune.freeze=blockz.1: cnn has no such stage; did you mean blocks.1? "
    "(from the input on: blocks.0.0, blocks.1.0, blocks.2.0, embedding.2, head)",
    "freeze=3": "finetune.freeze=3: cnn has no such stage (from the input on: blocks.0.0, ",
    "freeze=head": "finetune.freeze=head leaves nothing of cnn to train; all freezes all except the head",
    "unfreeze_epoch=2": "finetune.unfreeze_epoch=2: nothing is frozen; give finetune.freeze=STAGE",
    "unfreeze_epoch=0": "finetune.unfreeze_epoch=0: expected a whole number of epochs, at least 1, or null",
    "layer_decay=0.0": "finetune.layer_decay=0.0: expected more than 0.0 and at most 1.0",
    "layer_decay=1.5": "finetune.layer_decay=1.5: expected more than 0.0 and at most 1.0",
}


@pytest.mark.parametrize(("override", "message"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_one_line_before_audio_is_read(override: str, message: str) -> None:
    plain: Any = OmegaConf.to_container(compose([f"finetune.{override}"]), resolve=True)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        check_networks(plain, AudioTask(("a", "b"), 16000, 16000))
    assert "\n" not in str(caught.value)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"there is no key finetune\.freez; did you mean freeze\?"):
        Finetuning({"freez": "all"}, network(), nn.Identity())


@pytest.mark.parametrize("name", ["blocks", "blocks.1", "blocks.1.0", "backbone.blocks.1"])
def test_a_stage_can_be_named_by_any_module_that_ends_with_it(name: str) -> None:
    made = network()
    finetuning = Finetuning({"freeze": name}, made, nn.Identity())
    frozen = {name for name, parameter in made.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in made.named_parameters() if name.startswith("blocks.")}
    total, part = (sum(p.numel() for p in parameters) for parameters in (made.parameters(), finetuning.frozen))
    assert str(finetuning) == f"{total:,} parameters, {part:,} of them frozen"
