"""Training clips that are kept on the device of the network."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from audio_lightning.data.loading.clips import Clips
from audio_lightning.data.store.decoded import DecodedAudio

LARGEST_SHARE = 0.4
"""Maximum share of a GPU's free memory for clips; the rest is for the network and its activations."""


def fits(bytes_needed: int, device: torch.device) -> bool:
    """Whether clips should be kept on a device: only on a GPU, and if they fit."""
    return device.type == "cuda" and bytes_needed <= LARGEST_SHARE * torch.cuda.mem_get_info(device)[0]


def resident_clips(
    clips: Clips, audio: DecodedAudio, recording: Int64[np.ndarray, "rows"]
) -> tuple[Clips, Shaped[Tensor, "samples"]]:
    """Copy the recordings that some clips need into one tensor, with the clips' positions in it.

    Args:
        clips: clips of one split.
        audio: recordings of all splits.
        recording: index of each row's recording.

    Returns:
        The clips with new positions, and the concatenated samples.
    """
    needed, place = np.unique(recording[clips.row], return_inverse=True)
    length = audio.stops[needed] - audio.starts[needed]
    stops = np.cumsum(length)
    samples = np.empty(int(stops[-1]) if len(stops) else 0, dtype=audio.samples.dtype)
    for index, start, stop in zip(needed.tolist(), (stops - length).tolist(), stops.tolist()):
        samples[start:stop] = audio.samples[audio.starts[index] : audio.stops[index]]
    start = (stops - length)[place] + clips.offset
    return replace(clips, start=start), torch.from_numpy(samples)
