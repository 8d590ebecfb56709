"""Multiply-accumulates (MACs) of a network on the meta device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_macs(network: nn.Module, *shape: int) -> int:
    """Count the multiply-accumulates of a forward pass in evaluation mode: matrix products and convolutions.

    Args:
        network: network on the meta device; on others, fused recurrent layers hide their products from the counter.
        shape: shape of the input.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _one_frame(network) as left_out, counter:
        network.eval()(torch.empty(shape, device=next(network.parameters()).device))
    return counter.get_total_flops() // 2 + sum(left_out)


@contextmanager
def _one_frame(network: nn.Module) -> Iterator[list[int]]:
    """Make recurrent layers compute one frame only, and collect the products of the other frames.

    On the meta device, PyTorch decomposes a recurrent layer into about fifteen operations per frame, which the counter
    processes one by one: ten seconds for three layers on 400 frames. Every frame has the same products, one for each
    weight.
    """
    left_out: list[int] = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.RNNBase)]
    for layer in layers:
        vars(layer)["forward"] = _first_frame(layer, left_out)
    try:
        yield left_out
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def _first_frame(layer: nn.RNNBase, left_out: list[int]) -> Callable[..., tuple[Tensor, Any]]:
    """Return a ``forward`` that computes the first frame only and repeats its output for the others."""
    forward = layer.forward
    weights = sum(weight.numel() for weight in layer.parameters() if weight.dim() == 2)

    def first_frame(x: Tensor, *state: Any) -> tuple[Tensor, Any]:
        time = 1 if layer.batch_first and x.dim() == 3 else 0
        clips = x.shape[1 - time] if x.dim() == 3 else 1
        output, last = forward(x.narrow(time, 0, 1), *state)
        left_out.append((x.shape[time] - 1) * clips * weights)
        return output.expand(*(x.shape[time] if axis == time else -1 for axis in range(output.dim()))), last

    return first_frame
