"""All optimizers of PyTorch, by path and with their own arguments, train and resume."""

import io
from pathlib import Path
from typing import Any

import choices
import pytest
import torch
from choices import model
from running import Killed, kill_at, resume, run
from torch import nn
from torch.optim import Optimizer

from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.classifier.optimizers import UNSUITABLE, WEIGHT_DECAYS, make_optimizer, parameter_kinds
from audio_lightning.config import choices as names
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape

NAMES = sorted(
    name
    for name, cls in vars(torch.optim).items()
    if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(24, 3))


def node_of(name: str) -> dict[str, Any]:
    return {"_target_": f"torch.optim.{name}", "_partial_": True, "lr": 0.01}


def made(node: dict[str, Any], trained: nn.Module) -> Optimizer:
    return make_optimizer(node, [{"params": list(trained.parameters())}], parameter_kinds(trained))


def step(trained: nn.Module, optimizer: Optimizer) -> None:
    x = torch.linspace(-1, 1, 4 * 8).reshape(4, 1, 8)
    optimizer.zero_grad()
    nn.functional.cross_entropy(trained(x), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()


@pytest.mark.parametrize(
    "node",
    [node_of(name) for name in NAMES if name not in UNSUITABLE]
    + [choices.load("optimizer", name) for name in names("optimizer")],
    ids=[*(name for name in NAMES if name not in UNSUITABLE), *names("optimizer")],
)
def test_an_optimizer_of_torch_or_of_conf_trains_and_resumes(node: dict[str, Any]) -> None:
    whole = network()
    optimizer = made(node, whole)
    before = [parameter.clone() for parameter in whole.parameters()]
    for _ in range(2):
        step(whole, optimizer)
    assert any(not torch.equal(old, new) for old, new in zip(before, whole.parameters(), strict=True))
    file = io.BytesIO()
    torch.save({"network": whole.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    kept: dict[str, Any] = torch.load(file, weights_only=True)
    step(whole, optimizer)

    resumed = network()
    optimizer = made(node, resumed)
    resumed.load_state_dict(kept["network"])
    optimizer.load_state_dict(kept["optimizer"])
    step(resumed, optimizer)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(UNSUITABLE))
def test_an_unsuitable_optimizer_is_refused_with_the_reason(name: str) -> None:
    assert name in NAMES
    with pytest.raises(ConfigError, match=rf"^optimizer\._target_=torch\.optim\.{name} cannot be used: it "):
        made(node_of(name), network())


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "torch.optim.RAdam", "momentum": 0.9}, "optimizer has no argument momentum"),
        ({"_target_": "torch.optim.RAdam", "lr": -1.0}, "RAdam refuses its arguments: Invalid learning rate: -1.0"),
        ({"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1}, "is not a Optimizer"),
        ({"_target_": "torch.optim.swa_utils.AveragedModel"}, "is not a Optimizer"),
    ],
)
def test_invalid_nodes_are_refused_with_the_reason(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_optimizer(node, [{"params": list(network().parameters())}])


class Various(nn.Module):
    """Every kind of layer whose normalizations and biases have names of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.batch, self.group = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
        self.layer, self.root, self.instance = nn.LayerNorm([4, 4]), nn.RMSNorm(4), nn.InstanceNorm1d(4, affine=True)
        self.recurrent, self.attention = nn.LSTM(4, 4, bidirectional=True), nn.MultiheadAttention(4, 2)
        self.position = nn.Parameter(torch.ones(4))


BIASES = {
    "convolution.bias", "attention.in_proj_bias", "attention.out_proj.bias", "recurrent.bias_ih_l0",
    "recurrent.bias_hh_l0", "recurrent.bias_ih_l0_reverse", "recurrent.bias_hh_l0_reverse",
}  # fmt: skip
NORMS = {f"{name}.{part}" for name in ("batch", "group", "layer", "instance") for part in ("weight", "bias")}
NORMS |= {"root.weight"}


def decays(node: dict[str, Any], trained: nn.Module) -> dict[str, float]:
    """Weight decay of every parameter by its name."""
    optimizer = make_optimizer(node, [{"params": list(trained.parameters())}], parameter_kinds(trained))
    names = {parameter: name for name, parameter in trained.named_parameters()}
    return {names[one]: group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNSUITABLE and name != "Rprop"])
def test_norms_and_biases_have_a_weight_decay_of_their_own(name: str) -> None:
    trained = Various()
    node = {"_target_": f"torch.optim.{name}", "weight_decay": 0.1, "norm_weight_decay": 0.0, "bias_weight_decay": 0.2}
    found = decays(node, trained)
    assert {name for name, decay in found.items() if decay == 0.0} == NORMS
    assert {name for name, decay in found.items() if decay == 0.2} == BIASES
    assert {decay for name, decay in found.items() if name not in NORMS | BIASES} == {0.1}


def test_parameters_without_weight_decay_do_not_change_without_gradient() -> None:
    trained = Various()
    node = {"_target_": "torch.optim.AdamW", "weight_decay": 0.1, "norm_weight_decay": 0.0, "bias_weight_decay": 0.0}
    optimizer = make_optimizer(node, [{"params": list(trained.parameters())}], parameter_kinds(trained))
    before = {name: parameter.clone() for name, parameter in trained.named_parameters()}
    for parameter in trained.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    same = {name for name, parameter in trained.named_parameters() if torch.equal(parameter, before[name])}
    assert same == NORMS | BIASES


@pytest.mark.parametrize(
    "keys",
    [{}, {"norm_weight_decay": None, "bias_weight_decay": None}, {"norm_weight_decay": 0.1},
     {"weight_decay": 0.0, "norm_weight_decay": 0.0, "bias_weight_decay": 0.0}],
    ids=["not given", "null", "the same", "nothing decays"],
)  # fmt: skip
def test_one_group_in_the_original_order_if_all_weight_decays_are_equal(keys: dict[str, Any]) -> None:
    trained = Various()
    node = {"_target_": "torch.optim.AdamW", "weight_decay": 0.1, **keys}
    (group,) = make_optimizer(node, [{"params": list(trained.parameters())}], parameter_kinds(trained)).param_groups
    assert list(map(id, group["params"])) == list(map(id, trained.parameters()))


def test_the_default_of_the_class_counts_and_one_without_weight_decay_has_one_group() -> None:
    trained = Various()
    keys = {"norm_weight_decay": 0.0, "bias_weight_decay": 0.0}
    assert {*decays({"_target_": "torch.optim.AdamW", **keys}, trained).values()} == {0.01, 0.0}
    node = {"_target_": "torch.optim.Rprop", **keys}
    assert (
        len(make_optimizer(node, [{"params": list(trained.parameters())}], parameter_kinds(trained)).param_groups) == 1
    )


@pytest.mark.parametrize("value", [-0.1, "none", True])
def test_an_invalid_weight_decay_is_refused(value: Any) -> None:
    node = {"_target_": "torch.optim.AdamW", "norm_weight_decay": value}
    with pytest.raises(
        ConfigError, match=rf"optimizer\.norm_weight_decay={value}: not a weight decay; use 0\.0 or more, or null"
    ):
        make_optimizer(node, [{"params": list(network().parameters())}])


def test_stages_keep_their_rates() -> None:
    made = model("cnn", FeatureShape("spectrogram", (1, 8, 8)), channels=[2, 2], hidden_dim=4)
    finetuning = Finetuning({"layer_decay": 0.5}, made, nn.Identity())
    node = {"_target_": "torch.optim.SGD", "lr": 0.1, "weight_decay": 0.1, "norm_weight_decay": 0.0}
    optimizer = make_optimizer(node, finetuning.parameter_groups(), finetuning.kinds)
    finetuning.decay_rates(optimizer)
    found = [(finetuning.stage_of(group), group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    expected = [("head", 0.1, 0.1), ("embedding.2", 0.05, 0.1)]
    for stage, rate in (("blocks.1.0", 0.025), ("blocks.0.0", 0.0125)):
        expected += [(stage, rate, 0.1), (stage, rate, 0.0)]
    assert found == [(stage, pytest.approx(rate), decay) for stage, rate, decay in expected]


def test_an_older_run_resumes_unchanged(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its configuration lacks these keys, and all its parameters have weight decay."""
    options = ["optimizer.weight_decay=0.5", "trainer.max_epochs=3"]
    options += ["optimizer.norm_weight_decay=null", "optimizer.bias_weight_decay=null"]
    run(tiny_urbansound8k, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=0)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *options)
    file, checkpoint = tmp_path / "killed/config.yaml", tmp_path / "killed/checkpoints/last.ckpt"
    kept = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in kept if not line.strip().startswith(("norm_weight", "bias_weight"))))
    saved = torch.load(checkpoint, weights_only=True)
    for key in WEIGHT_DECAYS:
        del saved["hyper_parameters"]["config"]["optimizer"][key]
    torch.save(saved, checkpoint)
    resume(tmp_path / "killed")
    states = [torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True) for name in ("whole", "killed")]
    assert len(states[1]["optimizer_states"][0]["param_groups"]) == 1
    for name, value in states[0]["state_dict"].items():
        assert torch.equal(value, states[1]["state_dict"][name])
