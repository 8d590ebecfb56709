"""Joint forward and backward passes of several networks of one architecture by ``torch.vmap``."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from audio_lightning.training.fusion.member_ops import MemberOps
from audio_lightning.training.fusion.random_states import RandomState


class JointPass:
    """Joint forward pass of several networks, each on its own input, and later the joint backward pass.

    Convolutions become grouped ones, and matrix products batched ones. Buffers, such as the statistics of batch
    normalization, are updated in every network.

    Args:
        networks: networks of one architecture, with the same layers in training mode and the same frozen parameters.
        inputs: input of each network, ``[batch, ...]``; all have the same shape.
        streams: random numbers of each network. It draws the same numbers as in a separate training.

    Attributes:
        logits: logits of each network, ``[batch, classes]``: leaf tensors with ``requires_grad``.

    Raises:
        RuntimeError: ``torch.vmap`` does not support an operation of the networks.
    """

    def __init__(self, networks: Sequence[nn.Module], inputs: Sequence[Tensor], streams: Sequence[RandomState]) -> None:
        self._own = [dict(network.named_parameters()) for network in networks]
        self._needs_input = [value.requires_grad for value in inputs]
        learned = {name for name, value in self._own[0].items() if value.requires_grad}
        self._parameters = stacked(self._own)
        for name in learned:
            self._parameters[name].requires_grad_()
        buffers = [dict(network.named_buffers()) for network in networks]
        joint_buffers = stacked(buffers)
        self._input = _stacked_inputs(inputs, channels_last=_has_channels_last(networks[0]))
        if any(self._needs_input):
            self._input.requires_grad_()
        with torch.enable_grad():
            self._outputs = forward(networks[0], self._parameters, joint_buffers, self._input, streams).unbind()
        with torch.no_grad():
            for number, own in enumerate(buffers):
                for name, buffer in own.items():
                    buffer.copy_(joint_buffers[name][number])
        self._learned = sorted(learned)
        self.logits = [output.detach().requires_grad_() for output in self._outputs]

    def backward(self, members: Sequence[int]) -> list[Tensor | None]:
        """Backpropagate from the gradients of :attr:`logits` to the parameters of some networks.

        Gradients are added to existing ones. Call this method once: it frees the graph.

        Args:
            members: numbers of the networks; the others get no gradients.

        Returns:
            Gradient of the input of each of these networks; None for an input without ``requires_grad``.
        """
        outputs = [self._outputs[number] for number in members if self.logits[number].grad is not None]
        given = [self.logits[number].grad for number in members if self.logits[number].grad is not None]
        wanted = [self._parameters[name] for name in self._learned]
        wanted += [self._input] if self._input.requires_grad else []
        if not outputs or not wanted:
            return [None] * len(members)
        found = list(torch.autograd.grad(outputs, wanted, given, allow_unused=True))
        self._outputs = ()
        of_input = found.pop() if self._input.requires_grad else None
        for name, gradient in zip(self._learned, found):
            for number in members if gradient is not None else ():
                parameter, part = self._own[number][name], gradient[number]
                if parameter.grad is None:
                    # Optimizers have fast kernels for gradients with the strides of their parameters.
                    alike = part.stride() == parameter.stride()
                    parameter.grad = part if alike else torch.empty_like(parameter).copy_(part).detach()
                else:
                    parameter.grad += part
        by_input = None if of_input is None else of_input.unbind(_input_dim(self._input))
        return [by_input[number] if by_input is not None and self._needs_input[number] else None for number in members]


def forward(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    inputs: Tensor,
    streams: Sequence[RandomState],
) -> Tensor:
    """Compute the logits of all members, ``[members, batch, classes]``.

    Args:
        network: network of any member; its layers are used, but not its parameters and buffers.
        parameters: parameters by name, ``[members, ...]``.
        buffers: buffers by name, ``[members, ...]``; updated in place.
        inputs: inputs as stacked by :func:`_stacked_inputs`.
        streams: random numbers of each member.
    """

    def member(number: Tensor, own: dict[str, Tensor], state: dict[str, Tensor], x: Tensor) -> Any:
        with MemberOps(number, streams).on():
            return functional_call(network, (own, state), (x,))

    numbers = torch.arange(len(streams), device=inputs.device)
    batched = torch.vmap(member, in_dims=(0, 0, 0, _input_dim(inputs)), randomness="error")
    logits: Tensor = batched(numbers, dict(parameters), dict(buffers), inputs)
    return logits


def stacked(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stack the tensors of several members by name, each to ``[members, ...]``."""
    return {name: torch.stack([own[name].detach() for own in members]) for name in members[0]}


def _stacked_inputs(inputs: Sequence[Tensor], *, channels_last: bool) -> Tensor:
    """Stack inputs ``[batch, channels, ...]`` to ``[batch, members, channels, ...]``.

    Grouped convolutions have the members as a part of the channels. Inputs without channels, ``[batch, values]``, are
    stacked to ``[members, batch, values]``.
    """
    parts = [value.detach() for value in inputs]
    if parts[0].dim() == 2:
        return torch.stack(parts)
    joint = torch.cat(parts, dim=1)
    if channels_last and joint.dim() == 4:  # strides of one channel do not tell the format
        joint = joint.contiguous(memory_format=torch.channels_last)
    return joint.unflatten(1, (len(parts), parts[0].shape[1]))


def _has_channels_last(network: nn.Module) -> bool:
    """Return whether convolutions of a network have weights in the memory format ``channels_last``."""
    return any(
        value.dim() == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last)
        for value in network.parameters()
    )


def _input_dim(inputs: Tensor) -> int:
    """Return the dimension of the members in inputs that :func:`_stacked_inputs` has stacked."""
    return 0 if inputs.dim() == 3 else 1
