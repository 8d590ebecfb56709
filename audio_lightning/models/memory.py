"""Buffers filled from training clips; their sizes depend on the data, not on the options of the network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn


class TrainingMemory(nn.Module, ABC):
    """Base class of heads that store training clips: buffers that are filled once, before the first step.

    Loading a state dict replaces the buffers, even if the numbers of clips differ, so that a newly built network can
    load the weights of a checkpoint.

    Attributes:
        stored: names of the buffers; :meth:`fill` sets all of them.
    """

    stored: ClassVar[tuple[str, ...]]

    @property
    def macs_per_stored_clip(self) -> int:
        """Multiply-accumulates of a prediction for each stored training clip; 0 if they do not depend on its number."""
        return 0

    @abstractmethod
    def fill(self, embeddings: Float[Tensor, "clips values"], targets: Tensor) -> None:
        """Fill the buffers.

        Args:
            embeddings: embeddings of all training clips.
            targets: their classes, int64 ``[clips]``, or rows of 0 and 1, ``[clips, classes]``.
        """

    @abstractmethod
    def check(self, stored: Mapping[str, Tensor]) -> None:
        """Validate the buffers of a state dict before they are loaded.

        Args:
            stored: the buffers by name.

        Raises:
            ValueError: a wrong shape, type or value.
        """

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        found = {name: state_dict[prefix + name] for name in self.stored if prefix + name in state_dict}
        if found:
            if missing := [name for name in self.stored if name not in found]:
                raise ValueError(
                    f"{prefix}{missing[0]} is missing, unlike {prefix}{next(iter(found))}; use another checkpoint"
                )
            try:
                self.check(found)
            except ValueError as error:
                raise ValueError(f"{prefix}{error}; use another checkpoint") from error
        for name, value in found.items():
            own = getattr(self, name)
            dtype = own.dtype if own.is_floating_point() else value.dtype
            if (own.shape, own.dtype) != (value.shape, dtype):
                setattr(self, name, own.new_empty(value.shape, dtype=dtype))
        super()._load_from_state_dict(state_dict, prefix, *args)


def resize_memory(network: nn.Module, like: nn.Module) -> None:
    """Give the buffers of ``network`` the sizes of those of ``like``, on their own device and without their values."""
    pairs = zip(network.modules(), like.modules())
    for module, other in pairs:
        if isinstance(module, TrainingMemory):
            for name in module.stored:
                setattr(module, name, torch.empty_like(getattr(other, name), device=getattr(module, name).device))


def memory_names(network: nn.Module) -> list[str]:
    """Names in the state dict of ``network`` of the buffers that are filled from training clips."""
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in network.named_modules()
        if isinstance(module, TrainingMemory)
        for name in module.stored
    ]
