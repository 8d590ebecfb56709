"""Typical durations of the sounds of the classes, measured on clips."""

import numpy as np
from jaxtyping import Float32

from audio_lightning.audio.sounding import sounding_seconds
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.store.decoded import as_float

MOST_CLIPS = 200
"""Maximum number of measured clips of a class, spread evenly over all of them; a median needs no more."""


def typical_seconds(datamodule: AudioDataModule, split: str) -> Float32[np.ndarray, "classes"] | None:
    """Measure the median duration of the sounding part of the clips of every class.

    The padding of a clip does not count, and silent clips and background clips, which are drawn from longer recordings,
    are left out. A clip with several labels counts for each of them. In a window of a longer recording, the sound may
    reach from one end to the other; the result is then close to the length of a window.

    Args:
        datamodule: data after :meth:`AudioDataModule.setup`.
        split: split of the clips.

    Returns:
        Seconds up to the length of a clip; NaN for a class without clips. None if no class has clips.
    """
    number = datamodule.numbers(split)
    clips = datamodule.clips.select(number[~datamodule.clips.background[number]])
    targets, samples = datamodule.manifest.targets()[clips.row], datamodule.audio.samples
    classes = np.arange(len(datamodule.manifest.classes))
    present = targets > 0.5 if targets.ndim == 2 else targets[:, None] == classes
    measured = np.full(len(clips), np.nan)

    def sounding(clip: int) -> float:
        if np.isnan(measured[clip]):
            start, length = clips.start[clip], min(clips.length[clip], datamodule.num_samples)
            measured[clip] = sounding_seconds(as_float(samples[start : start + length]), datamodule.sample_rate)
        return float(measured[clip])

    found = np.full(len(classes), np.nan, np.float32)
    for place in classes:
        of_class = np.flatnonzero(present[:, place])
        seconds = [sounding(clip) for clip in of_class[:: -(-len(of_class) // MOST_CLIPS) or 1]]
        if any(seconds):
            found[place] = np.median([value for value in seconds if value])
    return None if np.isnan(found).all() else found
