"""Muon: steps of matrices, of convolutions, and of all other parameters."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audio_lightning.classifier.muon import NEWTON_SCHULZ, Muon, orthogonalize
from audio_lightning.classifier.optimizers import make_optimizer, parameter_kinds
from audio_lightning.core.errors import ConfigError

NODE = {"_target_": "audio_lightning.classifier.muon.Muon", "lr": 0.02, "weight_decay": 0.1}


def parameter(*shape: int, seed: int = 0) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    found = nn.Parameter(torch.randn(*shape, generator=generator))
    found.grad = torch.randn(*shape, generator=generator)
    return found


def muon(*parameters: nn.Parameter, **options: Any) -> Muon:
    return Muon([{"params": list(parameters), "use_muon": True}], **options)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)], ids=str)
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_singular_values_become_about_one_and_the_vectors_stay(shape: tuple[int, int], scale: float) -> None:
    left, _, right = torch.linalg.svd(
        torch.randn(*shape, generator=torch.Generator().manual_seed(0)), full_matrices=False
    )
    values = torch.linspace(0.05, 1, min(shape))
    found = left.mT @ orthogonalize(scale * (left * values) @ right) @ right.mT
    torch.testing.assert_close(found, torch.diag(found.diagonal()), rtol=0, atol=1e-4)
    assert found.diagonal().min() > 0.6
    assert found.diagonal().max() < 1.25


def test_the_iterations_are_those_of_newton_and_schulz() -> None:
    matrix = parameter(6, 20).detach().double()
    a, b, c = NEWTON_SCHULZ
    x = matrix / matrix.norm()
    for _ in range(4):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    torch.testing.assert_close(orthogonalize(matrix, steps=4), x, rtol=0, atol=1e-6)


def test_parameters_of_16_bits_keep_their_type() -> None:
    weight = nn.Parameter(parameter(6, 20).detach().bfloat16())
    weight.grad = torch.ones_like(weight)
    before = weight.clone()
    muon(weight, lr=0.1).step()
    assert weight.dtype == torch.bfloat16
    assert not torch.equal(weight, before)


def test_a_matrix_of_zeros_stays_one() -> None:
    assert not orthogonalize(torch.zeros(3, 5)).any()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("shape", [(6, 20), (20, 6)], ids=str)
def test_steps_of_a_matrix_are_those_of_torch(shape: tuple[int, int], nesterov: bool) -> None:
    """PyTorch's Muon computes in bfloat16, ours in the type of the parameter."""
    ours, theirs = parameter(*shape), parameter(*shape)
    options: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.8, "nesterov": nesterov, "ns_steps": 3}
    optimizers = muon(ours, **options), torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **options)
    start = ours.detach().clone()
    for seed in (1, 2, 3):
        ours.grad = parameter(*shape, seed=seed).grad
        theirs.grad = parameter(*shape, seed=seed).grad
        for optimizer in optimizers:
            optimizer.step()
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


def test_a_kernel_is_a_matrix_of_outputs() -> None:
    kernel, matrix = parameter(6, 4, 3, 3), parameter(6, 36)
    assert kernel.grad is not None
    with torch.no_grad():
        matrix.copy_(kernel.flatten(1))
    matrix.grad = kernel.grad.flatten(1)
    for one in (kernel, matrix):
        muon(one, lr=0.1).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_all_other_parameters_are_trained_by_adamw() -> None:
    ours, theirs = parameter(5), parameter(5)
    optimizers: list[torch.optim.Optimizer] = [
        Muon([ours], lr=0.1, adamw_lr_ratio=0.5, weight_decay=0.2, betas=(0.8, 0.9)),
        torch.optim.AdamW([theirs], lr=0.05, weight_decay=0.2, betas=(0.8, 0.9)),
    ]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


class Network(nn.Module):
    """Layers of all kinds, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped, self.norm = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)
        self.hidden, self.recurrent = nn.Linear(4, 4), nn.GRU(4, 4)
        self.position = nn.Parameter(torch.zeros(1, 4, 4))
        self.head = nn.Sequential(nn.Linear(4, 3))


def test_weights_of_layers_are_matrices_except_for_the_head() -> None:
    network = Network()
    kinds = parameter_kinds(network, head=network.head)
    optimizer = make_optimizer(NODE | {"bias_weight_decay": 0.0}, [{"params": list(network.parameters())}], kinds)
    names = {one: name for name, one in network.named_parameters()}
    groups = {names[one]: group for group in optimizer.param_groups for one in group["params"]}
    assert groups.keys() == set(names.values())
    assert {name for name, group in groups.items() if group["use_muon"]} == {"first.weight", "hidden.weight"}
    assert {group["weight_decay"] for name, group in groups.items() if "bias" in name and "norm" not in name} == {0.0}


def test_parameters_without_gradient_stay() -> None:
    matrix, vector = parameter(3, 4), parameter(4)
    matrix.grad = vector.grad = None
    before: list[Tensor] = [matrix.clone(), vector.clone()]
    Muon([{"params": [matrix], "use_muon": True}, {"params": [vector]}], weight_decay=0.5).step()
    assert torch.equal(matrix, before[0])
    assert torch.equal(vector, before[1])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"lr": -1.0}, "lr=-1.0; use 0 or more"),
        ({"momentum": 1.0}, "momentum=1.0; use 0 or more, and less than 1"),
        ({"ns_steps": 0}, "ns_steps=0; use a whole number from 1 to 100"),
        ({"adamw_lr_ratio": -0.1}, "adamw_lr_ratio=-0.1; use 0 or more"),
    ],
)
def test_invalid_values_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_optimizer(NODE | option, [{"params": [parameter(2, 2)]}])


def test_a_vector_is_no_matrix() -> None:
    with pytest.raises(ValueError, match=r"use_muon: found a parameter of shape \(4,\)"):
        muon(parameter(4))
