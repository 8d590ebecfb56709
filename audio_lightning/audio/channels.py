"""Which channels of a recording are used."""

import os
from typing import Literal

import numpy as np
from jaxtyping import Float

from audio_lightning.errors import AudioError, ConfigError
from audio_lightning.files import shortened

Channel = Literal["mean", "left", "right", "each"] | int
"""``mean``: of all channels. ``left``, ``right``: the first, the second; a recording of one channel is taken as it is.
A number: that channel, counted from 1. ``each``: all of them, one by one."""


def check_channel(channel: object) -> None:
    """Check a choice of channel, which may come from a checkpoint.

    Raises:
        ConfigError: it is none.
    """
    number = isinstance(channel, int) and not isinstance(channel, bool) and channel > 0
    if not number and channel not in ("mean", "left", "right", "each"):
        raise ConfigError(f"data.channel={shortened(channel)}: channels are counted from 1; or mean, left, right, each")


def select_channels(
    samples: Float[np.ndarray, "frames channels"], channel: Channel, path: str | os.PathLike[str]
) -> Float[np.ndarray, "frames used"]:
    """The channel that is asked for, or their mean; all of them for ``each``.

    Args:
        samples: of all channels.
        channel: which is wanted.
        path: of the recording, for the message.

    Raises:
        AudioError: a number that the recording has no channel for.
    """
    count = samples.shape[1]
    if channel == "each" or (count == 1 and isinstance(channel, str)):
        return samples
    if channel == "mean":
        return samples.mean(axis=1, dtype=np.float32, keepdims=True)
    number = {"left": 1, "right": 2}.get(channel, 0) if isinstance(channel, str) else channel
    if number > count:
        raise AudioError(
            f"{path}: has {count} channel{'s' * (count > 1)}, data.channel={channel} asks for number {number}; choose "
            "mean, left or right, or leave the recording out"
        )
    return samples[:, number - 1 : number]
