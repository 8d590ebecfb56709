"""Padding behind short clips, found in the clips themselves."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def sound_lengths(waveform: Float[Tensor, "batch samples"]) -> Int64[Tensor, "batch"]:
    """Samples of each clip before its padding.

    Padding is the constant end of a clip, equal to the bit: the zeros that fill a short clip, wherever a front end
    moved or scaled them to. A clip that is constant throughout has no padding. Neither has a clip that ends in sound,
    such as noise that an augmentation added behind it.
    """
    count = waveform.shape[1]
    numbers = torch.arange(1, count + 1, device=waveform.device)
    lengths = ((waveform != waveform[:, -1:]) * numbers).amax(1)
    # One sample is always equal to the last one.
    return torch.where((lengths == 0) | (lengths == count - 1), count, lengths)


def sound_frames(waveform: Float[Tensor, "batch samples"], frames: int) -> Bool[Tensor, "batch frames"]:
    """Whether each of ``frames`` equal shares of a clip begins before its padding."""
    starts = torch.arange(frames, device=waveform.device) * waveform.shape[1]
    return starts < sound_lengths(waveform)[:, None] * frames
