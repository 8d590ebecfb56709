"""Features that were computed in an earlier epoch."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Compute = Callable[[Float[Tensor, "some time"]], Float[Tensor, "some channels ..."]]
"""A front end."""

Memory = Callable[[Int64[Tensor, "batch"], Float[Tensor, "batch time"], Compute], Float[Tensor, "batch channels ..."]]
"""Gives the features of the clips of a batch, by their numbers, and computes those that it does not know."""

Views = Callable[[Int64[Tensor, "batch"], Float[Tensor, "batch time"]], Float[Tensor, "batch channels ..."] | None]
"""Gives the features of the clips of a batch as they are changed in training, where it knows those of all of them."""


class FeatureMemory:
    """Keeps the features of clips that are the same in every epoch, so that they are computed once.

    A front end treats every clip for itself, so what is kept is bit for bit what would be computed again, in whatever
    batch. Clips for which there is no room are computed each time.

    Args:
        fixed: of every clip whether it is the same each time.
        max_gb: most gigabytes (10^9 bytes) of features.
    """

    def __init__(self, fixed: Bool[Tensor, "clips"], max_gb: float) -> None:
        self._fixed = fixed
        self._max_bytes = int(max_gb * 10**9)
        self._slot = torch.full((len(fixed),), -1)
        self._kept: Tensor | None = None
        self._used = 0

    def __call__(
        self,
        clip: Int64[Tensor, "batch"],
        waveform: Float[Tensor, "batch time"],
        compute: Callable[[Float[Tensor, "some time"]], Float[Tensor, "some channels ..."]],
    ) -> Float[Tensor, "batch channels ..."]:
        """The features of a batch, computed where they are not known.

        Args:
            clip: number of each clip.
            waveform: of each.
            compute: the front end.
        """
        slot = self._slot[clip]
        unknown = torch.nonzero(slot < 0).flatten()
        if self._kept is not None and not len(unknown):
            return self._kept.index_select(0, slot)
        if len(unknown) == len(clip):
            features = compute(waveform)
            self._keep(clip, features)
            return features
        fresh = compute(waveform[unknown])
        known = torch.nonzero(slot >= 0).flatten()
        assert self._kept is not None
        features = fresh.new_empty((len(clip), *fresh.shape[1:]))
        features[unknown] = fresh
        features[known] = self._kept[slot[known]]
        self._keep(clip[unknown], fresh)
        return features

    def _keep(self, clip: Int64[Tensor, "some"], features: Float[Tensor, "some channels ..."]) -> None:
        if self._kept is None:
            room = self._max_bytes // (features[0].numel() * features.element_size())
            # Memory that was asked for and not written to takes no room.
            self._kept = features.new_empty((min(room, int(self._fixed.sum())), *features.shape[1:]))
        place = {number: index for index, number in enumerate(clip.tolist()) if self._fixed[number]}
        chosen = list(place.items())[: len(self._kept) - self._used]
        if chosen:
            numbers, indices = (torch.tensor(column) for column in zip(*chosen))
            slots = torch.arange(self._used, self._used + len(chosen))
            self._kept[slots] = features[indices].detach()
            self._slot[numbers] = slots
            self._used += len(chosen)
