"""Several networks of one architecture that learn side by side and answer together."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.models.base import AudioModel


class Ensemble(AudioModel):
    """A deep ensemble (Lakshminarayanan et al. 2017, arXiv 1612.01474): the same network from several beginnings.

    In training, every member gets an equal part of the batch, one after the other, and knows nothing of the others.
    In evaluation, each gets all clips, and the logits are the mean of theirs: probabilities are their geometric mean,
    scaled to sum to one. The embedding is that of all members, side by side; no layer of the ensemble's own leads from
    it to the logits, so ``head`` holds the heads of the members and is not to be called.

    Args:
        make: makes a member; called once for each, so that each draws initial weights of its own.
        members: number of members, at least 1.
    """

    def __init__(self, make: Callable[[], AudioModel], members: int) -> None:
        nn.Module.__init__(self)  # the members check the shape of the input themselves
        networks = [make() for _ in range(members)]
        self.members = nn.ModuleList(networks)
        first = networks[0]
        # What is otherwise true of a class is true here of what the members are.
        self.input_kind, self.accepts_variable_length = first.input_kind, first.accepts_variable_length  # type: ignore[misc]
        self.input_shape, self.num_classes = first.input_shape, first.num_classes
        self.minimum_input = first.minimum_input
        self.worked_out = dict(first.worked_out)  # of an attribute, copies must be possible
        self.embedding_dim = sum(network.embedding_dim for network in networks)

    @property
    def title(self) -> str:
        """How many of what."""
        return f"{len(self.members)} x {self._networks()[0].title}"

    @property
    def head(self) -> nn.Module:  # type: ignore[override]
        """The heads of the members."""
        return nn.ModuleList(network.head for network in self._networks())

    def embed(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch embedding"]:
        """The embeddings of all members, side by side."""
        return torch.cat([network.embed(x) for network in self._networks()], dim=1)

    def forward(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch classes"]:
        """In training, the logits of each clip by the member that has it; in evaluation, the mean logits of all.

        Raises:
            ValueError: a batch to train on that can't be divided equally.
        """
        if not self.training:
            return torch.stack([network(x) for network in self._networks()]).mean(0)
        if len(x) % len(self.members):
            raise ValueError(f"{len(x)} clips can't be divided equally among {len(self.members)} members")
        parts = x.chunk(len(self.members))
        return torch.cat([network(part) for network, part in zip(self._networks(), parts, strict=True)])

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """The stages of the architecture, each with the parameters that all members have in it."""
        of_members = [network.stages() for network in self._networks()]
        return {name: [parameter for stages in of_members for parameter in stages[name]] for name in of_members[0]}

    def _networks(self) -> list[AudioModel]:
        return cast(list[AudioModel], list(self.members))
