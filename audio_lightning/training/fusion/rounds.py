"""Joint training steps: requests of members for forward and backward passes, and their results."""

import time
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from audio_lightning.training.fusion.joint_network import JointPass
from audio_lightning.training.fusion.random_states import RandomState
from audio_lightning.training.fusion.turns import Member

RELATIVE_ERROR = 1e-2
"""Maximum difference between joint logits and those of a single network, relative to its largest absolute logit.

Another order of summation makes a difference of 1e-5 in float32. A larger one is evidence for a layer that computes
something else under ``vmap``.
"""


@dataclass(frozen=True)
class Alone:
    """Reply to a member that must compute its step alone.

    Attributes:
        reason: why the networks cannot be fused; None if the member is only alone in this step.
    """

    reason: str | None = None


class Round:
    """Joint forward pass whose backward pass has not run yet."""

    def __init__(self, members: Sequence[Member], joint: JointPass) -> None:
        self.members, self._joint = list(members), joint

    def logits(self, member: Member) -> Tensor:
        """Return the logits of a member, ``[batch, classes]``: a leaf tensor, from which it computes its loss."""
        return self._joint.logits[self.members.index(member)]

    def backward(self, members: Sequence[Member]) -> list[Tensor | None]:
        """See :meth:`JointPass.backward`."""
        return self._joint.backward([self.members.index(member) for member in members])


@dataclass(frozen=True)
class Forward:
    """Request for the logits of a network.

    Attributes:
        network: network of the member.
        features: input of the network, ``[batch, ...]``.
    """

    network: nn.Module
    features: Tensor

    def signature(self) -> tuple[Any, ...]:
        """Return a key that is equal for requests that can be computed together."""
        features, channels_last = self.features, torch.channels_last
        return (
            type(self.network),
            features.shape,
            features.dtype,
            features.device,
            features.dim() == 4 and features.is_contiguous(memory_format=channels_last),
            tuple((name, value.shape, value.requires_grad) for name, value in self.network.named_parameters()),
            tuple(module.training for module in self.network.modules()),
        )


@dataclass(frozen=True)
class Backward:
    """Request for a backward pass: the logits of a member in ``round`` have gradients."""

    round: Round


class Rounds:
    """Server of the requests of all members.

    The reply to :class:`Forward` is a :class:`Round` or :class:`Alone`, the reply to :class:`Backward` is the gradient
    of the input. The first joint forward pass of each signature is compared with that of a single network. If one fails
    or differs, requests of this signature are computed alone from then on.

    Attributes:
        joint_steps: number of joint forward passes.
    """

    def __init__(self) -> None:
        self.joint_steps = 0
        self._checked: set[tuple[Any, ...]] = set()
        self._unfit: dict[tuple[Any, ...], str] = {}
        # Operations without a batching rule are computed for one member after another, as in separate trainings.
        warnings.filterwarnings("ignore", message=".*There is a performance drop because.*")

    def serve(self, waiting: Mapping[Member, Any]) -> dict[Member, tuple[Any, float]]:
        """See :data:`audio_lightning.training.fusion.turns.Serve`."""
        began = time.perf_counter()
        rounds = defaultdict[int, list[Member]](list)
        for member, request in waiting.items():
            if isinstance(request, Backward):
                rounds[id(request.round)].append(member)
        if rounds:
            members = next(iter(rounds.values()))
            gradients = waiting[members[0]].round.backward(members)
            share = (time.perf_counter() - began) / len(members)
            return {member: (gradient, share) for member, gradient in zip(members, gradients)}
        signature, members = _oldest(waiting)
        joint = None
        if len(members) > 1 and signature not in self._unfit:
            joint = self._compute(signature, members, [waiting[member] for member in members])
        share = (time.perf_counter() - began) / len(members)
        return dict.fromkeys(members, (joint or Alone(self._unfit.get(signature)), share))

    def _compute(
        self, signature: tuple[Any, ...], members: Sequence[Member], requests: Sequence[Forward]
    ) -> Round | None:
        networks, features = [one.network for one in requests], [one.features for one in requests]
        streams = [member.state.random for member in members]
        before = [stream.copy() for stream in streams]
        try:
            wanted = None if signature in self._checked else _alone(networks[0], features[0], before[0].copy())
            joint = JointPass(networks, features, streams)
            if wanted is not None and not _agree(joint.logits[0], wanted):
                raise RuntimeError("joint logits differ from those of a network alone")
        except Exception as error:  # from vmap, or because the device is out of memory
            self._unfit[signature] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            for member, stream in zip(members, before):
                member.state.random = stream
            return None
        self._checked.add(signature)
        self.joint_steps += 1
        return Round(members, joint)


def _oldest(waiting: Mapping[Member, Forward]) -> tuple[tuple[Any, ...], list[Member]]:
    """Return the members that can compute together with the longest waiting one, and their signature.

    The others are served later, when the members served now may have reached a request with the same signature.
    """
    first, *others = waiting
    signature = waiting[first].signature()
    return signature, [first, *(member for member in others if waiting[member].signature() == signature)]


def _alone(network: nn.Module, features: Tensor, stream: RandomState) -> Tensor:
    """Compute the logits of a single network, whose buffers stay unchanged."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with torch.no_grad(), stream.used():
        logits: Tensor = functional_call(network, buffers, (features,))
    return logits


def _agree(joint: Tensor, alone: Tensor) -> bool:
    difference = (joint.detach() - alone).abs().max()
    return bool(difference <= RELATIVE_ERROR * alone.abs().max().clamp(min=1e-3)) or not bool(alone.isfinite().all())
