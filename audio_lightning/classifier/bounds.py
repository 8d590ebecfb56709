"""Size limits of front ends and networks, checked on the meta device before memory is allocated.

Checkpoints from other authors may describe a clip of hours, or a network far larger than the weights in the file.
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
"""Maximum length of a clip in samples: 17 minutes at 16 kHz. Larger batches need gigabytes for activations."""

HIGHEST_RATE = 10**6
"""Maximum sample rate in hertz; twice that of recordings of bats."""

LARGEST_TENSOR = 2**28
"""Maximum bytes of any tensor in the computation of one clip's features; 20 times those of a minute at 48 kHz."""

SPARE = 2**22
"""Number of elements by which a network may exceed the file, for tables that are not stored, for example."""


class TooLargeError(ConfigError):
    """The configuration would need an unreasonable amount of memory."""


def check_clip(task: AudioTask) -> None:
    """Check that the length and sample rate of clips are reasonable.

    Raises:
        TooLargeError: too many samples, or too high a sample rate.
    """
    if task.sample_rate > HIGHEST_RATE:
        raise TooLargeError(f"data.sample_rate={task.sample_rate}: too high; use at most {HIGHEST_RATE:,} Hz")
    if task.num_samples > LONGEST_CLIP:
        raise TooLargeError(
            f"data.clip_seconds={task.clip_seconds:g}: a clip of {task.num_samples:,} samples, expected at most "
            f"{LONGEST_CLIP:,}; use shorter clips, and data.hop_seconds to cut recordings into windows"
        )


class limited_features(TorchDispatchMode):  # noqa: N801 - a context manager, named like torch's
    """Context that raises if a result has more than :data:`LARGEST_TENSOR` bytes; meta tensors allocate nothing."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)  # called on the class, because torch's has no type annotations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run an operation and check the size of its result."""
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().nbytes() > LARGEST_TENSOR:
                raise TooLargeError(
                    f"feature: the computation for one clip takes {tensor.untyped_storage().nbytes() / 1e9:.1f} GB at "
                    "once; use shorter clips (data.clip_seconds, data.hop_seconds), a longer hop, or fewer bands"
                )
        return found


@contextlib.contextmanager
def limited_network(state: Mapping[str, Tensor], *, times: int = 2) -> Iterator[None]:
    """Context in which a built network must not be much larger than the weights that will be loaded into it.

    Args:
        state: the state dict with the weights.
        times: factor for layers that are registered and then replaced.

    Raises:
        TooLargeError: at the first layer beyond the limit.
    """
    tensors, elements = times * len(state), times * sum(value.numel() for value in state.values()) + SPARE

    def count(_: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal tensors, elements
        if tensor is not None:
            tensors, elements = tensors - isinstance(tensor, nn.Parameter), elements - tensor.numel()
        if tensors < 0 or elements < 0:
            raise TooLargeError("the network that it describes is larger than its weights; use another checkpoint")

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
