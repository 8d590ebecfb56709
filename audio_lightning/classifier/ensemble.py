"""Several networks of one architecture that learn side by side and answer together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel


class Ensemble(AudioModel):
    """A deep ensemble (Lakshminarayanan et al. 2017, arXiv 1612.01474): the same network from several beginnings.

    In training, every member gets an equal part of the batch, one after the other, and knows nothing of the others.
    In evaluation, each gets all clips, and the logits are the mean of theirs: probabilities are their geometric mean,
    scaled to sum to one. The embedding is that of all members, side by side; no layer of the ensemble's own leads from
    it to the logits, so ``head`` holds the heads of the members and is not to be called.

    Members may also be apart: each gets one channel of the input, in turn. Networks that see a clip in different
    features err on different clips. In training, those that share out the channels among them get the same clips.

    Args:
        make: makes a member for a shape of the input; called once for each, so that each draws initial weights of its
            own.
        num_members: number of members, at least 1.
        input_shape: of the ensemble.
        apart: whether members get single channels.

    Attributes:
        copies: number of equal parts of a batch in training.

    Raises:
        ConfigError: ``apart``, with a number of members that is no multiple of the number of channels.
    """

    def __init__(
        self,
        make: Callable[[FeatureShape], AudioModel],
        num_members: int,
        input_shape: FeatureShape,
        *,
        apart: bool = False,
    ) -> None:
        nn.Module.__init__(self)  # the members check the shape of the input themselves
        channels = input_shape.channels
        if apart and num_members % channels:
            raise ConfigError(
                f"ensemble.num_members={num_members} with ensemble.inputs=channel: the feature has {channels} "
                f"channels; use ensemble.num_members={channels}, or a multiple of it"
            )
        self.apart = apart
        self.copies = num_members // channels if apart else num_members
        seen = replace(input_shape, dims=(1, *input_shape.dims[1:])) if apart else input_shape
        networks = [make(seen) for _ in range(num_members)]
        self.members = nn.ModuleList(networks)
        first = networks[0]
        # What is otherwise true of a class is true here of what the members are.
        self.input_kind, self.accepts_variable_length = first.input_kind, first.accepts_variable_length  # type: ignore[misc]
        self.memorizes = first.memorizes  # type: ignore[misc]
        self.input_shape, self.num_classes = input_shape, first.num_classes
        self.minimum_input = first.minimum_input
        self.inferred_options = dict(first.inferred_options)  # of an attribute, copies must be possible
        self.embedding_dim = sum(network.embedding_dim for network in networks)

    @property
    def title(self) -> str:
        """How many of what."""
        each = ", a channel each," if self.apart else ""
        return f"{len(self.members)} x {self._networks()[0].title}{each}"

    @property
    def head(self) -> nn.Module:  # type: ignore[override]
        """The heads of the members."""
        return nn.ModuleList(network.head for network in self._networks())

    def memorize(self, features: Float[Tensor, "clips channels ..."], targets: Tensor) -> None:
        """Give every member all training clips, each what it gets of them."""
        for network, part in self._parts([features] * self.copies):
            network.memorize(part, targets)

    def macs(self) -> int:
        """Multiply-accumulates of one clip: members are equal, so that one is counted."""
        return len(self.members) * self._networks()[0].macs()

    def embed(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch embedding"]:
        """The embeddings of all members, side by side."""
        embeddings = [network.embed(part) for network, part in self._parts([x] * self.copies)]
        return torch.cat(embeddings, dim=1)

    def forward(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "answers classes"]:
        """In training, the logits of each part of the batch by the members that have it, one after the other.

        In evaluation, the mean logits of all members.

        Raises:
            ValueError: a batch to train on that can't be divided equally.
        """
        if self.training and len(x) % self.copies:
            raise ValueError(f"{len(x)} clips can't be divided into {self.copies} equal parts")
        parts = x.chunk(self.copies) if self.training else [x] * self.copies
        logits = [network(part) for network, part in self._parts(parts)]
        return torch.cat(logits) if self.training else torch.stack(logits).mean(0)

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """The stages of the architecture, each with the parameters that all members have in it."""
        of_members = [network.stages() for network in self._networks()]
        return {name: [parameter for stages in of_members for parameter in stages[name]] for name in of_members[0]}

    def _parts(self, copies: Sequence[Float[Tensor, "batch channels ..."]]) -> Iterator[tuple[AudioModel, Tensor]]:
        """Each member, with what it gets."""
        if self.apart:
            copies = [copy[:, channel, None] for copy in copies for channel in range(self.input_shape.channels)]
        return zip(self._networks(), copies, strict=True)

    def _networks(self) -> list[AudioModel]:
        return cast(list[AudioModel], list(self.members))
