"""Typical durations of the sounds of the classes in checkpoints, from which the durations of short events follow.

They are measured on the validation clips (:func:`audio_lightning.data.durations.typical_seconds`);
:mod:`audio_lightning.inference.events` explains their use.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.core.task import AudioTask

SOUNDING = "sounding_seconds"
"""Key of a checkpoint's entry for them."""


def check_sounding_seconds(values: Any, task: AudioTask) -> Float[Tensor, "classes"] | None:
    """Validate the entry of a checkpoint: for each class, seconds up to the clip length, or NaN if they are not known.

    Returns:
        A copy; None if a checkpoint has none.

    Raises:
        ValueError: a tensor of another shape or type, or durations that no clip can have.
    """
    if values is None:
        return None
    known = isinstance(values, Tensor) and values.dtype == torch.float32 and values.layout == torch.strided
    if not known or values.shape != (task.num_classes,):
        raise ValueError(f"sounding seconds: expected float32 numbers for {task.num_classes} classes")
    longest = task.clip_seconds * (1 + 1e-6)  # float32 is rounded
    if not bool((values.isnan() | ((values > 0) & (values <= longest))).all()):
        raise ValueError(f"sounding seconds: expected NaN, or above 0 and up to the clip length of {longest:g} s")
    return values.detach().clone()


def mean_sounding_seconds(each: Sequence[Float[Tensor, "classes"] | None]) -> Float[Tensor, "classes"] | None:
    """Average durations over the members of an ensemble that know them; None if no member has any."""
    known = [values for values in each if values is not None]
    return torch.stack(known).nanmean(dim=0) if known else None
