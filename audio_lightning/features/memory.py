"""Memory of features across epochs."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Compute = Callable[[Float[Tensor, "some time"]], Float[Tensor, "some channels ..."]]
"""Front end, as a function."""

Memory = Callable[[Int64[Tensor, "batch"], Float[Tensor, "batch time"], Compute], Float[Tensor, "batch channels ..."]]
"""Returns the features of a batch, given the clips' indices; computes features that are not cached."""

Views = Callable[[Int64[Tensor, "batch"], Float[Tensor, "batch time"]], Float[Tensor, "batch channels ..."] | None]
"""Returns the features of augmented versions of a batch, given the clips' indices; None unless it holds all."""


class FeatureMemory:
    """Cache of the features of clips that are the same in every epoch.

    A front end processes every clip independently, so cached features equal newly computed ones to the last bit,
    in any batch. Clips that do not fit are computed each time.

    Args:
        fixed: for every clip, whether it is the same in every epoch.
        max_gb: size limit of the features in gigabytes (10^9 bytes).
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
        """Return the features of a batch; compute and cache the missing ones.

        Args:
            clip: index of each clip.
            waveform: waveform of each clip.
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
            # The operating system provides memory only when it is written to.
            self._kept = features.new_empty((min(room, int(self._fixed.sum())), *features.shape[1:]))
        place = {number: index for index, number in enumerate(clip.tolist()) if self._fixed[number]}
        chosen = list(place.items())[: len(self._kept) - self._used]
        if chosen:
            numbers, indices = (torch.tensor(column) for column in zip(*chosen))
            slots = torch.arange(self._used, self._used + len(chosen))
            self._kept[slots] = features[indices].detach()
            self._slot[numbers] = slots
            self._used += len(chosen)
