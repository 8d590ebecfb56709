"""Gathering of batches from the decoded samples by one indexing operation, on any device."""

import warnings

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from audio_lightning.core.task import Padding


class Gather:
    """Gathers clips of fixed length from all samples, and pads short ones.

    The samples are viewed as an overlapping matrix, whose row ``i`` begins at sample ``i``; a batch is a selection of
    its rows. No index of the size of the batch is created, and each row is one copy of contiguous memory.

    Args:
        samples: concatenated samples of all recordings; float32, or int16 in units of 1/32,768 of full scale.
        num_samples: length of a clip in samples.
        padding: how shorter clips are padded, see :func:`audio_lightning.audio.fit_length`.
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
        """Device of the samples, and of the batches."""
        return self.rows.device

    def __call__(
        self, start: Int64[Tensor, "batch"], length: Int64[Tensor, "batch"]
    ) -> Float[Tensor, "batch num_samples"]:
        """Gather clips into a new tensor.

        Args:
            start: index of each clip's first sample; on the CPU, which avoids a synchronization with the GPU.
            length: number of its samples; samples beyond ``num_samples`` are ignored; 0 gives silence.
        """
        # A clip at the very end of all samples is read from an earlier position, and shifted.
        shift = (start - self.last_start).clamp(min=0)
        taken = self.rows.index_select(0, (start - shift).to(self.device))
        batch = taken if taken.dtype == torch.float32 else torch.mul(taken, 1 / 32768)
        short, moved = length < self.num_samples, shift > 0
        in_place = self.padding == "zero" and self.device.type == "cpu"
        odd = torch.nonzero(moved if in_place else short | moved).flatten()
        if len(odd):
            batch[odd.to(self.device)] = self._fitted(batch, odd, shift[odd], length[odd])
        if in_place:  # only the ends are written; on a GPU that would take one operation per clip
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
    """View read-only memory as a tensor, which must not be written to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about an array that is not writable
        return torch.from_numpy(samples)
