"""How large front ends and networks may become, found out on the meta device before they take memory.

What a checkpoint describes was written by anybody: a clip of hours, or a network that the file holds no weights of.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask

LONGEST_CLIP = 2**24
"""Samples of a clip: 17 minutes at 16 kHz. A batch of one has gigabytes of activations then."""

HIGHEST_RATE = 10**6
"""Hertz; recordings of bats have half as many."""

LARGEST_TENSOR = 2**28
"""Bytes that any step of computing the features of one clip may take; a minute at 48 kHz takes 5 % of them."""

SPARE = 2**22
"""Elements beyond those of the file that a network may have, such as tables that are not stored."""


class TooLargeError(ConfigError):
    """More memory would be taken than there is a reason for."""


def check_clip(task: AudioTask) -> None:
    """Refuse clips that no network is trained on.

    Raises:
        TooLargeError: a clip of too many samples, or too high a sample rate.
    """
    if task.sample_rate > HIGHEST_RATE:
        raise TooLargeError(f"data.sample_rate={task.sample_rate}: expected at most {HIGHEST_RATE:,} Hz")
    if task.num_samples > LONGEST_CLIP:
        raise TooLargeError(
            f"data.clip_seconds={task.clip_seconds:g}: a clip of {task.num_samples:,} samples, expected at most "
            f"{LONGEST_CLIP:,}; give shorter clips, and data.hop_seconds to cut recordings into windows"
        )


class limited_features(TorchDispatchMode):  # noqa: N801 - a context, named as torch names its own
    """Refuse operations with results of more than :data:`LARGEST_TENSOR` bytes; on the meta device they take none."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)  # named in full, and typed here: torch gives its own no types

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run an operation and look at its result."""
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().nbytes() > LARGEST_TENSOR:
                raise TooLargeError(
                    f"feature: to compute that of one clip takes {tensor.untyped_storage().nbytes() / 1e9:.1f} GB at "
                    "once; use shorter clips (data.clip_seconds, data.hop_seconds), a longer hop, or fewer bands"
                )
        return found


@contextlib.contextmanager
def limited_network(state: Mapping[str, Tensor], *, times: int = 2) -> Iterator[None]:
    """Build a network within this: it may not become much larger than the weights that are to be loaded into it.

    Args:
        state: a state dict.
        times: how often a weight may be counted, as a network may register a layer and then another in its place.

    Raises:
        TooLargeError: at the first layer that is too much.
    """
    tensors, elements = times * len(state), times * sum(value.numel() for value in state.values()) + SPARE

    def count(_: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal tensors, elements
        if tensor is not None:
            tensors, elements = tensors - isinstance(tensor, nn.Parameter), elements - tensor.numel()
        if tensors < 0 or elements < 0:
            raise TooLargeError("the network that it describes is larger than the weights that it holds")

    hooks = (
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    )
    try:
        with torch.device("meta"):
            yield
    finally:
        for hook in hooks:
            hook.remove()
