"""Batches out of the decoded samples, by one indexing operation on whatever device they lie."""

import warnings

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from audio_lightning.core.task import Padding


class Gather:
    """Takes clips of one length out of all samples, and fills up the short ones.

    The samples are seen as an overlapping matrix, of which row ``i`` is what begins at sample ``i``; a batch is a
    selection of its rows. No index of the size of the batch is made, and each row is one copy of contiguous memory.

    Args:
        samples: of all recordings, one behind the other; float32, or int16 for 1/32,768 of full scale.
        num_samples: length of a clip.
        padding: how a shorter clip is filled up, as :func:`audio_lightning.audio.fit_length` does.
    """

    def __init__(self, samples: Shaped[Tensor, "all"], num_samples: int, padding: Padding) -> None:
        if len(samples) < num_samples:
            samples = torch.nn.functional.pad(samples, (0, num_samples - len(samples)))
        self.last_start = len(samples) - num_samples
        self.rows = samples.as_strided((self.last_start + 1, num_samples), (1, 1))
        self.num_samples = num_samples
        self.padding = padding

    @property
    def device(self) -> torch.device:
        """Where the samples lie, and so the batches."""
        return self.rows.device

    def __call__(
        self, start: Int64[Tensor, "batch"], length: Int64[Tensor, "batch"]
    ) -> Float[Tensor, "batch num_samples"]:
        """Clips in a tensor of their own.

        Args:
            start: position of each clip's first sample; on the CPU, so that no device has to be waited for.
            length: number of its samples, of which those behind ``num_samples`` are left out; silence where it is 0.
        """
        # A clip at the very end of all samples is taken from a little before, and moved.
        shift = (start - self.last_start).clamp(min=0)
        taken = self.rows.index_select(0, (start - shift).to(self.device))
        batch = taken if taken.dtype == torch.float32 else torch.mul(taken, 1 / 32768)
        short, moved = length < self.num_samples, shift > 0
        in_place = self.padding == "zero" and self.device.type == "cpu"
        odd = torch.nonzero(moved if in_place else short | moved).flatten()
        if len(odd):
            batch[odd.to(self.device)] = self._fitted(batch, odd, shift[odd], length[odd])
        if in_place:  # the ends alone are written to; elsewhere that would be an operation a clip
            ends = torch.nonzero(short).flatten()
            for row, end in zip(ends.tolist(), length[ends].tolist()):
                batch[row, end:] = 0
        return batch

    def _fitted(
        self,
        batch: Float[Tensor, "batch num_samples"],
        odd: Int64[Tensor, "odd"],
        shift: Int64[Tensor, "odd"],
        length: Int64[Tensor, "odd"],
    ) -> Float[Tensor, "odd num_samples"]:
        odd, shift, length = (value.to(self.device) for value in (odd, shift, length))
        shift, length = shift[:, None], length[:, None]
        index = torch.arange(self.num_samples, device=self.device)[None]
        is_sound = (index < length) if self.padding == "zero" else (length > 0)
        if self.padding == "repeat":
            index = index % length.clamp(min=1)
        elif self.padding == "reflect":
            period = (2 * (length - 1)).clamp(min=1)
            index = index % period
            index = torch.minimum(index, period - index)
            index = torch.minimum(index, (length - 1).clamp(min=0))
        index = (index + shift).clamp(max=self.num_samples - 1)
        return torch.where(is_sound, batch[odd].gather(1, index.expand(len(odd), -1)), 0.0)


def as_tensor(samples: Shaped[np.ndarray, "all"]) -> Shaped[Tensor, "all"]:
    """The same memory as a tensor, which nobody may write to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a mapped file cannot be written to
        return torch.from_numpy(samples)
