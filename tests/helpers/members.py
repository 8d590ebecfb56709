"""Networks that train together, and the same ones alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import choices
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.training.fusion.joint_network import JointPass
from audio_lightning.training.fusion.random_states import RandomState

CLASSES, CLIPS = 3, 4


@dataclass
class Member:
    """A network, its optimizer, and its streams of inputs and of random numbers."""

    network: nn.Module
    seed: int
    label_smoothing: float
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        rate = 0.01 / (1 + self.seed)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=rate, momentum=0.9, weight_decay=0.1 * self.seed)
        self.data = torch.Generator().manual_seed(self.seed)
        torch.manual_seed(100 + self.seed)
        self.stream = RandomState()

    def batch(self, dims: Sequence[int]) -> Tensor:
        return torch.randn(CLIPS, *dims, generator=self.data, dtype=torch.float64)

    def loss(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, torch.arange(CLIPS) % CLASSES, label_smoothing=self.label_smoothing)


def members(name: str, shape: FeatureShape, count: int = 3) -> list[Member]:
    """Networks of conf/model/``name``.yaml in float64 that differ in all that may differ."""
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = choices.model(name, shape, num_classes=CLASSES).double().train()
        made.append(Member(network.to(memory_format=torch.channels_last), seed, 0.1 * seed))
    return made


def train_alone(given: Sequence[Member], dims: Sequence[int], steps: int) -> None:
    """Train one after the other."""
    for member in given:
        for _ in range(steps):
            member.optimizer.zero_grad()
            with member.stream.used():
                logits = member.network(arranged(member.batch(dims)))
            member.loss(logits).backward()
            member.optimizer.step()


def train_together(given: Sequence[Member], dims: Sequence[int], steps: int) -> None:
    """Train in joint passes."""
    for _ in range(steps):
        for member in given:
            member.optimizer.zero_grad()
        inputs = [arranged(member.batch(dims)) for member in given]
        joint = JointPass([member.network for member in given], inputs, [member.stream for member in given])
        for member, logits in zip(given, joint.logits):
            member.loss(logits).backward()
        joint.backward(range(len(given)))
        for member in given:
            member.optimizer.step()


def arranged(x: Tensor) -> Tensor:
    """In the memory format that a classifier gives its network."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def largest_difference(name: str, shape: FeatureShape, steps: int) -> float:
    """Between the states of networks that trained alone and together, relative to the largest value of each tensor."""
    alone, together = members(name, shape), members(name, shape)
    train_alone(alone, shape.dims, steps)
    train_together(together, shape.dims, steps)
    found = 0.0
    for one, other in zip(alone, together):
        for key, value in one.network.state_dict().items():
            difference = (value - other.network.state_dict()[key]).abs().max()
            found = max(found, float(difference / value.abs().max().clamp(min=1e-3)))
    return found
