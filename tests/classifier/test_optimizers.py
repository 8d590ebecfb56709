"""Every optimizer of PyTorch is named by its own path, with its own arguments, and goes on where it stopped."""

import io
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from audio_lightning.classifier.optimizers import UNSUITABLE, make_optimizer
from audio_lightning.core.errors import ConfigError

NAMES = sorted(
    name
    for name, cls in vars(torch.optim).items()
    if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(24, 3))


def made(name: str, trained: nn.Module) -> Optimizer:
    node = {"_target_": f"torch.optim.{name}", "_partial_": True, "lr": 0.01}
    return make_optimizer(node, [{"params": list(trained.parameters())}])


def step(trained: nn.Module, optimizer: Optimizer) -> None:
    x = torch.linspace(-1, 1, 4 * 8).reshape(4, 1, 8)
    optimizer.zero_grad()
    nn.functional.cross_entropy(trained(x), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNSUITABLE])
def test_an_optimizer_of_torch_trains_and_goes_on(name: str) -> None:
    whole = network()
    optimizer = made(name, whole)
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
    optimizer = made(name, resumed)
    resumed.load_state_dict(kept["network"])
    optimizer.load_state_dict(kept["optimizer"])
    step(resumed, optimizer)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(UNSUITABLE))
def test_one_that_cannot_train_audio_networks_is_refused_with_the_reason(name: str) -> None:
    assert name in NAMES
    with pytest.raises(ConfigError, match=rf"^optimizer\._target_=torch\.optim\.{name} cannot be used: it "):
        made(name, network())


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "torch.optim.RAdam", "momentum": 0.9}, "optimizer has no argument momentum"),
        ({"_target_": "torch.optim.RAdam", "lr": -1.0}, "RAdam refuses its arguments: Invalid learning rate: -1.0"),
        ({"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1}, "is not a Optimizer"),
        ({"_target_": "torch.optim.swa_utils.AveragedModel"}, "is not a Optimizer"),
    ],
)
def test_what_cannot_work_is_said(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_optimizer(node, [{"params": list(network().parameters())}])
