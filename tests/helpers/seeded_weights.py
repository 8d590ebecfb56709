"""Weights seeded by tensor names, as used for the reference programs, and a test sound."""

from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn


def draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """Values of a tensor, seeded by its name."""
    value = np.random.RandomState(crc32(name.encode())).randn(*shape)
    if name.endswith("running_var"):
        value = 1 + 0.1 * np.abs(value)
    elif len(shape) > 1 and shape[0] > 1:
        value *= np.prod(shape[1:]) ** -0.5
    else:
        value = 0.2 * value + (0 if name.endswith("bias") else 1)
    return torch.from_numpy(value.astype(np.float32))


def fill(network: nn.Module) -> None:
    """Set the weights of a network."""
    for name, tensor in network.state_dict().items():
        if tensor.dtype.is_floating_point:
            tensor.copy_(draw(name, tuple(tensor.shape)))


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a network, by name."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def tones(samples: int, rate: int = 16_000) -> Tensor:
    """A rising tone, a tone from 0.5 s on, and noise that grows."""
    t = np.arange(samples) / rate
    rising = 0.3 * np.sin(2 * np.pi * (150 * t + 400 * t * t)) + 0.2 * np.sin(2 * np.pi * 2500 * t) * (t > 0.5)
    noise = 0.05 * np.random.RandomState(7).randn(samples) * t / t[-1]
    return torch.from_numpy((rising + noise).astype(np.float32))[None]


def affine(shapes: dict[str, tuple[int, ...]], prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Shapes of the weights and biases of layers, given those of the weights."""
    named = {f"{prefix}{name}": shape for name, shape in shapes.items()}
    return {f"{name}.{kind}": shape for name, whole in named.items() for kind, shape in _both(whole)}


def _both(shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    return [("weight", shape), ("bias", shape[:1])]
