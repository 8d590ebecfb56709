"""Detection of the padding at the end of short clips."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def sound_lengths(waveform: Float[Tensor, "batch samples"]) -> Int64[Tensor, "batch"]:
    """Length of each clip in samples, without its padding.

    Padding is the constant end of a clip, to the last bit: the zeros that fill up a short clip, even after a front end
    shifted or scaled them. A clip that is constant throughout has no padding. A clip whose padding was covered with
    sound, such as noise added by an augmentation, has none either.
    """
    count = waveform.shape[1]
    numbers = torch.arange(1, count + 1, device=waveform.device)
    lengths = ((waveform != waveform[:, -1:]) * numbers).amax(1)
    # The last sample always equals itself.
    return torch.where((lengths == 0) | (lengths == count - 1), count, lengths)


def sound_frames(waveform: Float[Tensor, "batch samples"], frames: int) -> Bool[Tensor, "batch frames"]:
    """Mask of ``frames`` equal parts of each clip: True for parts that start before its padding."""
    starts = torch.arange(frames, device=waveform.device) * waveform.shape[1]
    return starts < sound_lengths(waveform)[:, None] * frames
