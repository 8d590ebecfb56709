"""Buffers that training clips fill, whose sizes follow from the data rather than from the options of a network."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn


class TrainingMemory(nn.Module, ABC):
    """A head on the training clips themselves: buffers that are filled once, before the first step.

    Loading a state dict replaces the buffers, whatever number of clips either side has, so that a network that was
    just built takes the weights of a checkpoint.

    Attributes:
        stored: names of the buffers, all of which :meth:`fill` sets.
    """

    stored: ClassVar[tuple[str, ...]]

    @abstractmethod
    def fill(self, embeddings: Float[Tensor, "clips values"], targets: Tensor) -> None:
        """Set the buffers.

        Args:
            embeddings: of all training clips.
            targets: their classes, int64 ``[clips]``, or rows of 0 and 1, ``[clips, classes]``.
        """

    @abstractmethod
    def check(self, stored: Mapping[str, Tensor]) -> None:
        """Refuse buffers of a state dict with which :meth:`forward` could not compute.

        Args:
            stored: the buffers, by name.

        Raises:
            ValueError: a wrong shape, type or value.
        """

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        found = {name: state_dict[prefix + name] for name in self.stored if prefix + name in state_dict}
        if found:
            if missing := [name for name in self.stored if name not in found]:
                raise ValueError(f"{prefix}{missing[0]} is missing beside {prefix}{next(iter(found))}")
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


def memory_names(network: nn.Module) -> list[str]:
    """Names in the state dict of a network of what training clips fill."""
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in network.named_modules()
        if isinstance(module, TrainingMemory)
        for name in module.stored
    ]
