"""Ensembles of networks of one architecture that are trained side by side."""

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
    """Deep ensemble (Lakshminarayanan et al. 2017, arXiv 1612.01474): networks that differ in their initial weights.

    In training, the batch is divided into equal parts, one for each member, and members are independent. In evaluation,
    each member gets all clips, and the logits are the mean of the members' logits: probabilities are the normalized
    geometric mean. The embedding is the concatenation of the members' embeddings. No layer of the ensemble maps it to
    the logits, so ``head`` only holds the members' heads and cannot be called.

    With ``apart``, each member gets a single channel of the input, in turn. Networks with different features make
    errors on different clips. In training, the members that share the channels of an input get the same clips.

    Args:
        make: builds a member for an input shape; called once for each, so that their initial weights differ.
        num_members: number of members, at least 1.
        input_shape: input shape of the ensemble.
        apart: whether members get single channels.

    Attributes:
        copies: number of equal parts of a batch in training.

    Raises:
        ConfigError: with ``apart``, the number of members is not a multiple of the number of channels.
    """

    def __init__(
        self,
        make: Callable[[FeatureShape], AudioModel],
        num_members: int,
        input_shape: FeatureShape,
        *,
        apart: bool = False,
    ) -> None:
        nn.Module.__init__(self)  # not AudioModel's: the members check the input shape themselves
        channels = input_shape.channels
        if apart and num_members % channels:
            raise ConfigError(
                f"ensemble.num_members={num_members} with ensemble.inputs=channel: the feature has {channels} "
                f"channels; use ensemble.num_members={channels}, or a multiple of it"
            )
        self.apart = apart
        self.copies = num_members // channels if apart else num_members
        member_shape = replace(input_shape, dims=(1, *input_shape.dims[1:])) if apart else input_shape
        networks = [make(member_shape) for _ in range(num_members)]
        self.members = nn.ModuleList(networks)
        first = networks[0]
        # Class attributes of other models are instance attributes here: they depend on the members.
        self.input_kind, self.accepts_variable_length = first.input_kind, first.accepts_variable_length  # type: ignore[misc]
        self.memorizes = first.memorizes  # type: ignore[misc]
        self.input_shape, self.num_classes = input_shape, first.num_classes
        self.minimum_input = first.minimum_input
        self.inferred_options = dict(first.inferred_options)  # a mapping proxy cannot be copied
        self.embedding_dim = sum(network.embedding_dim for network in networks)

    @property
    def title(self) -> str:
        """Display name: number of members and architecture."""
        each = ", a channel each," if self.apart else ""
        return f"{len(self.members)} x {self._networks()[0].title}{each}"

    @property
    def head(self) -> nn.Module:  # type: ignore[override]
        """Heads of the members."""
        return nn.ModuleList(network.head for network in self._networks())

    def memorize(self, features: Float[Tensor, "clips channels ..."], targets: Tensor) -> None:
        """Let every member memorize its part of the features of all training clips."""
        for network, part in self._parts([features] * self.copies):
            network.memorize(part, targets)

    def macs(self) -> int:
        """Multiply-accumulates for one clip; one member is counted, because all are equal."""
        return len(self.members) * self._networks()[0].macs()

    def embed(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch embedding"]:
        """Concatenate the embeddings of all members."""
        embeddings = [network.embed(part) for network, part in self._parts([x] * self.copies)]
        return torch.cat(embeddings, dim=1)

    def forward(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "outputs classes"]:
        """Compute logits: in training, of each part of the batch by its members, in order; otherwise their mean.

        Raises:
            ValueError: a training batch cannot be divided into equal parts.
        """
        if self.training and len(x) % self.copies:
            raise ValueError(f"{len(x)} clips can't be divided into {self.copies} equal parts; change the batch size")
        parts = x.chunk(self.copies) if self.training else [x] * self.copies
        logits = [network(part) for network, part in self._parts(parts)]
        return torch.cat(logits) if self.training else torch.stack(logits).mean(0)

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Group the parameters of all members by the stages of the architecture."""
        of_members = [network.stages() for network in self._networks()]
        return {name: [parameter for stages in of_members for parameter in stages[name]] for name in of_members[0]}

    def _parts(self, copies: Sequence[Float[Tensor, "batch channels ..."]]) -> Iterator[tuple[AudioModel, Tensor]]:
        """Pair each member with its input."""
        if self.apart:
            copies = [copy[:, channel, None] for copy in copies for channel in range(self.input_shape.channels)]
        return zip(self._networks(), copies, strict=True)

    def _networks(self) -> list[AudioModel]:
        return cast(list[AudioModel], list(self.members))
