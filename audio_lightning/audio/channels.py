"""Selection of channels, and detection of channels that cancel in their mean."""

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from audio_lightning.core.errors import AudioError, ConfigError
from audio_lightning.core.files import shortened

Channel = Literal["mean", "left", "right", "each"] | int
"""``mean``: the mean of all channels. ``left``, ``right``: the first, the second; a mono recording is used as it is.
A number: that channel, counted from 1. ``each``: all channels, one by one."""

SILENCE = 1e-4
"""Peak amplitude below which a recording is silent, 3 steps of 16-bit audio; silent recordings are not duplicates."""

CANCELLING = 0.1
"""Threshold for cancelling channels: RMS of their mean relative to that of independent channels, -20 dB."""


def check_channel(channel: object) -> None:
    """Check a value of ``data.channel``, which may come from a checkpoint.

    Raises:
        ConfigError: the value is not a channel.
    """
    number = isinstance(channel, int) and not isinstance(channel, bool) and channel > 0
    if not number and channel not in ("mean", "left", "right", "each"):
        raise ConfigError(
            f"data.channel={shortened(channel)}: no such channel; expected mean, left, right, each, or a number from 1"
        )


def select_channels(
    samples: Float[np.ndarray, "frames channels"], channel: Channel, path: str | os.PathLike[str]
) -> Float[np.ndarray, "frames used"]:
    """Select a channel, the mean of all channels, or all of them (``each``).

    Args:
        samples: samples of all channels.
        channel: the channel to select.
        path: path of the recording, for the message.

    Raises:
        AudioError: the recording has fewer channels.
    """
    count = samples.shape[1]
    if channel == "each" or (count == 1 and isinstance(channel, str)):
        return samples
    if channel == "mean":
        return samples.mean(axis=1, dtype=np.float32, keepdims=True)
    number = {"left": 1, "right": 2}.get(channel, 0) if isinstance(channel, str) else channel
    if number > count:
        raise AudioError(
            f"{path}: has {count} channel{'s' * (count > 1)}, but data.channel={channel} needs number {number}; choose "
            "mean, left or right, or leave the recording out"
        )
    return samples[:, number - 1 : number]


def cancel(channels: Any, peak: Any, rms: Any, mean_rms: Any) -> Any:
    """Whether channels cancel in their mean, as channels of opposite polarity do; accepts numbers and arrays.

    Args:
        channels: number of channels.
        peak: largest absolute value of a sample.
        rms: root mean square of the samples of all channels.
        mean_rms: root mean square of the mean of the channels.
    """
    loud = (channels > 1) & (peak >= SILENCE)
    return loud & (mean_rms < CANCELLING * rms / np.sqrt(np.maximum(1, channels)))


def say_cancelling(count: int, example: str) -> str:
    """Sentence about recordings whose channels cancel, with one of them as an example."""
    s, have = ("", "has") if count == 1 else ("s", "have")
    return (
        f"{count:,} recording{s} {have} channels that cancel, so that their mean is nearly silent (such as {example})"
    )


@dataclass
class Levels:
    """Levels of the channels of a recording and of their mean, accumulated over blocks."""

    _channels: int = 1
    _frames: int = 0
    _peak: float = 0.0
    _energy: float = 0.0
    _mean_energy: float = 0.0

    def add(self, samples: Float[np.ndarray, "frames channels"], mean: Float[np.ndarray, "frames 1"]) -> None:
        """Add the next block of samples, and the mean of its channels."""
        if not samples.size:
            return
        self._frames, self._channels = self._frames + len(samples), samples.shape[1]
        self._peak = max(self._peak, float(samples.max()), -float(samples.min()))
        flat, column = samples.reshape(-1), mean.reshape(-1)
        self._energy += float(np.dot(flat, flat))
        self._mean_energy += float(np.dot(column, column))

    @property
    def cancel(self) -> bool:
        """Whether the channels cancel in their mean (:func:`cancel`)."""
        frames = max(1, self._frames)
        rms, mean_rms = (self._energy / frames / self._channels) ** 0.5, (self._mean_energy / frames) ** 0.5
        return bool(cancel(self._channels, self._peak, rms, mean_rms))
