"""Trainings that are fused have the result of each alone."""

import logging
import os
import random
import signal
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import choices
import members
import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from audio_lightning.classifier import network as networks
from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.config.location import choices as names
from audio_lightning.core import clock
from audio_lightning.core.errors import Interrupted, UserError
from audio_lightning.core.seeding import seed_generators
from audio_lightning.core.task import FeatureShape
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.fusion.callback import JointTraining
from audio_lightning.training.fusion.check import reason_of, reason_of_settings
from audio_lightning.training.fusion.joint_network import JointPass
from audio_lightning.training.fusion.random_states import RandomState
from audio_lightning.training.fusion.rounds import Alone, Backward, Forward, Rounds
from audio_lightning.training.fusion.turns import Member, Turns
from audio_lightning.training.run import train

SHAPES = {
    "cnn": FeatureShape("spectrogram", (1, 16, 24)),
    "crnn": FeatureShape("spectrogram", (1, 16, 24)),
    "lstm": FeatureShape("spectrogram", (1, 8, 12)),
    "transformer": FeatureShape("spectrogram", (1, 8, 12)),
    "matchboxnet": FeatureShape("spectrogram", (1, 8, 24)),
    "linear": FeatureShape("waveform", (1, 20)),
}

MOST_PARAMETERS = 20_000_000
"""Of a network that is compared in float64."""

DIFFERENT = (
    ["seed=0", "optimizer.lr=0.01", "augment.waveform.gain.p=0.5"],
    ["seed=1", "optimizer.lr=0.003", "optimizer.weight_decay=0.1", "augment.waveform.gain.p=1.0"],
    ["seed=2", "optimizer.lr=0.02", "loss.label_smoothing=0.2", "augment.spectrogram.specaugment.freq_mask_param=3"],
)
"""Settings in which members differ."""

SMALL = {
    "cnn": ["model.channels=[4,8,8]", "model.hidden_dim=16"],
    "transformer": ["model=transformer", "model.embed_dim=16", "model.num_layers=1", "model.num_heads=2"],
    "crnn": ["model=crnn", "model.channels=[4,8]", "model.cell=gru", "model.num_layers=2", "model.hidden_dim=8"],
    "learnable": ["feature=pcen", "model.channels=[4,8,8]", "model.hidden_dim=16"],
}


@pytest.mark.parametrize("name", SHAPES)
def test_ten_steps_of_networks_are_those_of_each_alone(name: str) -> None:
    assert members.largest_difference(name, SHAPES[name], steps=10) < 1e-8


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", names("model"))
def test_every_architecture_that_can_be_fused_computes_what_it_does_alone(name: str) -> None:
    kind, least = choices.smallest(name)
    shape = FeatureShape(kind, (1, *least))
    with torch.device("meta"):
        pair = [choices.model(name, shape, num_classes=members.CLASSES) for _ in range(2)]
    if reason := reason_of(pair, pair[0].quick_dims()):
        pytest.skip(reason)
    if sum(value.numel() for value in pair[0].parameters()) > MOST_PARAMETERS:
        pytest.skip("six copies in float64, with gradients and momenta, take gigabytes")
    assert members.largest_difference(name, shape, steps=2) < 1e-6


class Doubled:
    """Networks in float64 on the features of float32."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        build, arranged = networks.build_network, networks.ClassifierNetwork.arranged
        patch.setattr(networks, "build_network", lambda *given: build(*given).double())
        patch.setattr(networks.ClassifierNetwork, "arranged", lambda self, x: arranged(self, x).double())


def config_of(root: Path, *overrides: str) -> Any:
    settings = [line for line in tiny.TRAIN_OVERRIDES if not line.startswith("model.")]
    settings += ["trainer.max_epochs=5", "augment=light", "plots=false", "logger=none"]
    config = compose(quote_paths(["data=urbansound8k", f"data.root={root}", *settings, *overrides]))
    check_config(config)
    return config


def run_members(functions: list[Callable[[Member], None]], rounds: Rounds) -> list[BaseException | None]:
    return Turns(rounds.serve).run(functions)


@pytest.mark.parametrize("name", [*SMALL, "taught"])
def test_trainings_have_the_weights_of_each_alone(
    name: str, tiny_urbansound8k: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Doubled(monkeypatch)
    settings = {**SMALL, "taught": [*SMALL["cnn"], f"distill.teacher={trained}"]}[name]
    configs = [config_of(tiny_urbansound8k, *settings, *lines) for lines in DIFFERENT]
    for number, config in enumerate(configs):
        train(config.copy(), RunFolder(tmp_path / f"alone{number}"))
    rounds = Rounds()

    def training_of(number: int) -> Callable[[Member], None]:
        def function(member: Member) -> None:
            train(configs[number].copy(), RunFolder(tmp_path / f"fused{number}"), callbacks=[JointTraining(member)])

        return function

    assert run_members([training_of(number) for number in range(3)], rounds) == [None] * 3

    assert rounds.joint_steps >= 10
    for number in range(3):
        alone, fused = (
            torch.load(tmp_path / f"{how}{number}/checkpoints/last.ckpt", weights_only=True)
            for how in ("alone", "fused")
        )
        assert alone["global_step"] == fused["global_step"] >= 10
        assert alone["state_dict"].keys() == fused["state_dict"].keys()
        for key, value in alone["state_dict"].items():
            assert torch.allclose(value, fused["state_dict"][key], rtol=1e-8, atol=1e-8), key
        assert alone["callbacks"].keys() == fused["callbacks"].keys()


def test_members_differ_from_each_other() -> None:
    """Otherwise the equality above would say nothing of who gets which random numbers."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 2))
    streams = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        streams.append(RandomState())
    joint = JointPass([network, network], [torch.ones(3, 8)] * 2, streams)
    assert not torch.equal(joint.logits[0], joint.logits[1])


class Draws(nn.Module):
    """Draws in the ways of published networks that have no rule for ``vmap`` in torch."""

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.empty((len(x), 1)).bernoulli_(0.5)  # stochastic depth of torchvision
        rows = torch.rand(len(x), 1) + x.new_empty((len(x), 1)).bernoulli_(0.7)
        return x * noise + rows + torch.randn_like(x) + nn.functional.alpha_dropout(x, 0.5, True)


def test_every_kind_of_draw_is_that_of_each_member() -> None:
    inputs = [torch.randn(4, 3) for _ in range(3)]
    streams, alone = [], []
    for seed, x in enumerate(inputs):
        torch.manual_seed(seed)
        streams.append(RandomState())
        alone.append(Draws()(x))
    joint = JointPass([Draws()] * 3, inputs, streams)
    for one, other in zip(alone, joint.logits):
        assert torch.allclose(one, other)


def test_attention_with_a_mask_and_dropout_is_that_of_each_member() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            return self.layer(x, x, x, attn_mask=mask, need_weights=False)[0].mean(1) + self.layer(x, x, x)[0].sum(1)

    layers, inputs = [Attention() for _ in range(2)], [torch.randn(2, 5, 8) for _ in range(2)]
    streams, alone = [], []
    for seed, (layer, x) in enumerate(zip(layers, inputs)):
        torch.manual_seed(seed)
        streams.append(RandomState())
        alone.append(layer(x))
    for one, other in zip(alone, JointPass(layers, inputs, streams).logits):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_member_that_left_between_the_passes_gets_no_gradient() -> None:
    layers = [nn.Linear(3, 2) for _ in range(3)]
    joint = JointPass(layers, [torch.ones(2, 3)] * 3, [RandomState() for _ in layers])
    for logits in joint.logits:
        logits.sum().backward()
    joint.backward([0, 2])
    assert layers[0].weight.grad is not None
    assert layers[1].weight.grad is None
    assert torch.equal(layers[2].weight.grad, torch.full((2, 3), 2.0))


def test_gradients_accumulate() -> None:
    layers = [nn.Linear(3, 2) for _ in range(2)]
    for _ in range(2):
        joint = JointPass(layers, [torch.ones(2, 3)] * 2, [RandomState() for _ in layers])
        for logits in joint.logits:
            logits.sum().backward()
        joint.backward([0, 1])
    assert torch.equal(layers[1].weight.grad, torch.full((2, 3), 4.0))


def test_inputs_of_other_shapes_are_computed_alone() -> None:
    layer = nn.Linear(3, 2)
    replies: list[Any] = [None, None]

    def function(member: Member) -> None:
        replies[member.number] = member.meet(Forward(layer, torch.ones(2 + member.number, 3)))

    assert run_members([function, function], Rounds()) == [None, None]
    assert replies == [Alone(), Alone()]


class Unfit(nn.Module):
    """Decides by values, which ``vmap`` cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    memorizes = False

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if float(x.sum()) > 0 else x[:, :2]


def test_a_network_that_cannot_be_fused_is_found_and_computed_alone() -> None:
    assert "item" in str(reason_of([Unfit().to("meta"), Unfit().to("meta")], [3]))
    replies: list[Any] = [None, None]
    states: list[Tensor] = [torch.empty(0)] * 2

    def function(member: Member) -> None:
        torch.manual_seed(member.number)
        replies[member.number] = member.meet(Forward(Unfit(), torch.ones(2, 3)))
        states[member.number] = torch.rand(3)

    assert run_members([function, function], Rounds()) == [None, None]
    assert all(isinstance(reply, Alone) and reply.reason for reply in replies)
    for seed, drawn in enumerate(states):
        torch.manual_seed(seed)
        Unfit()
        assert torch.equal(drawn, torch.rand(3)), "a failed pass draws nothing"


def test_only_the_shapes_that_cannot_be_fused_are_computed_alone() -> None:
    layers = [nn.Linear(3, 2) for _ in range(2)]
    networks = [Unfit() for _ in range(2)]
    found: list[list[Any]] = [[], []]
    rounds = Rounds()

    def function(member: Member) -> None:
        for step in range(4):
            network = (networks if step % 2 == 0 else layers)[member.number]
            reply = member.meet(Forward(network, torch.ones(2, 3)))
            found[member.number].append(reply.reason is not None if isinstance(reply, Alone) else "joint")
            if not isinstance(reply, Alone):
                reply.logits(member).sum().backward()
                member.meet(Backward(reply))

    assert run_members([function] * 2, rounds) == [None] * 2
    assert found == [[True, "joint", True, "joint"]] * 2
    assert rounds.joint_steps == 2


def test_a_layer_that_computes_something_else_under_vmap_is_noticed() -> None:
    class Silent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            noise = torch.zeros(2, 3)
            noise.bernoulli_(0.5)  # what it returns, which is what a joint pass replaces, is not used
            return x + 10 * noise

    torch.manual_seed(0)
    replies: list[Any] = [None, None]

    def function(member: Member) -> None:
        replies[member.number] = member.meet(Forward(Silent(), torch.ones(2, 3)))

    run_members([function, function], Rounds())
    assert "differ" in replies[0].reason


def reply_to_all(waiting: Mapping[Member, Any]) -> dict[Member, tuple[Any, float]]:
    return dict.fromkeys(waiting, (None, 0.0))


def draw() -> list[float]:
    """A number of every generator."""
    return [random.random(), np.random.rand(), float(torch.rand(()))]  # noqa: NPY002 - libraries draw from it


def test_members_find_the_process_as_they_left_it(tmp_path: Path) -> None:
    """Random numbers, log files, warnings, variables and output of one do not reach another."""
    drawn: dict[int, list[float]] = {}

    def function(member: Member) -> None:
        number = member.number
        seed_generators((number,))
        os.environ["PL_GLOBAL_SEED"] = str(number)
        handler = logging.FileHandler(tmp_path / f"{number}.log")
        logging.getLogger().addHandler(handler)
        warnings.showwarning = lambda message, *rest: logging.getLogger().warning("warned %s", message)
        file = os.open(tmp_path / f"{number}.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        drawn[number] = []
        for _ in range(3):
            member.meet(None)
            os.write(1, str(number).encode())
            logging.getLogger().warning("from %d", number)
            assert os.environ["PL_GLOBAL_SEED"] == str(number)
            drawn[number] += draw()
        os.close(file)
        handler.close()

    before = os.environ.get("PL_GLOBAL_SEED"), logging.getLogger().handlers[:], warnings.showwarning
    assert Turns(reply_to_all).run([function] * 3) == [None] * 3
    assert (os.environ.get("PL_GLOBAL_SEED"), logging.getLogger().handlers, warnings.showwarning) == before
    for number in range(3):
        seed_generators((number,))
        expected = [value for _ in range(3) for value in draw()]
        assert drawn[number] == expected
        assert (tmp_path / f"{number}.txt").read_text() == 3 * str(number)
        assert set((tmp_path / f"{number}.log").read_text().split()) == {"from", str(number)}


def test_one_runs_at_a_time_and_an_exception_is_its_own() -> None:
    running: list[int] = []
    together: list[int] = []

    def function(member: Member) -> None:
        for step in range(20):
            running.append(member.number)
            together.append(len(running))
            if member.number == 1 and step == 5:
                running.remove(1)
                raise UserError("mine")
            running.remove(member.number)
            member.meet(step)

    failures = Turns(reply_to_all).run([function] * 4)
    assert set(together) == {1}
    assert [str(failure) for failure in failures] == ["None", "mine", "None", "None"]


def test_waiting_takes_no_time_of_a_training() -> None:
    seconds: list[float] = [0.0, 0.0]

    def function(member: Member) -> None:
        began = clock.perf_counter()
        if member.number == 0:
            time.sleep(0.2)
        member.meet(None)
        seconds[member.number] = clock.perf_counter() - began

    Turns(reply_to_all).run([function, function])
    assert seconds[0] >= 0.2
    assert seconds[1] < 0.1


def test_all_members_stop_at_a_signal() -> None:
    def function(member: Member) -> None:
        for step in range(3000):
            if step == 3 and member.number == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.3)  # the main thread handles it
            member.meet(step)

    before = signal.getsignal(signal.SIGTERM)
    assert threading.current_thread() is threading.main_thread()
    failures = Turns(reply_to_all).run([function] * 3)
    assert [isinstance(failure, Interrupted) and failure.exit_code for failure in failures] == [143] * 3
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], None),
        (["trainer.devices=2"], "it trains on several devices"),
        (["trainer.strategy=ddp"], "trainer.strategy=ddp"),
        (["trainer.precision=bf16-mixed"], "trainer.precision=bf16-mixed"),
        (["compile=true"], "compile=true"),
        (["ensemble.num_members=2"], "it is an ensemble"),
        (["tuner.lr_find=true"], "it searches for its learning rate or batch size"),
        (["logger=wandb"], "logger=wandb counts the whole process as one training"),
        (["callbacks=[default,emissions]"], "callbacks=emissions counts the whole process as one training"),
    ],
)
def test_settings_that_cannot_be_fused_have_a_reason(lines: list[str], reason: str | None) -> None:
    from audio_lightning.config import as_plain

    assert reason_of_settings(as_plain(compose(["data=demo", *lines]))) == reason


def test_a_member_whose_batch_is_of_another_size_catches_up() -> None:
    """No member waits forever, and members that differ once compute together afterwards."""
    layers = [nn.Linear(3, 2) for _ in range(3)]
    found: list[list[bool]] = [[], [], []]
    rounds = Rounds()

    def function(member: Member) -> None:
        for step in range(4):
            clips = 2 + (member.number == 0 and step == 1)
            reply = member.meet(Forward(layers[member.number], torch.ones(clips, 3)))
            found[member.number].append(isinstance(reply, Alone))
            if not isinstance(reply, Alone):
                reply.logits(member).sum().backward()
                member.meet(Backward(reply))

    assert run_members([function] * 3, rounds) == [None] * 3
    assert found == [[False, True, False, False], [False] * 4, [False] * 4]
    assert rounds.joint_steps == 4
