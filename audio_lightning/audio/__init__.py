"""Single recordings: open, seek, decode, resample, cut into windows, describe and check."""

from audio_lightning.audio.channels import (
    SILENCE,
    Channel,
    Levels,
    cancel,
    check_channel,
    say_cancelling,
    select_channels,
)
from audio_lightning.audio.decode import MAX_SECONDS, decode, load, read, resample, resampled_length, to_mono
from audio_lightning.audio.find import Finder, find_recordings
from audio_lightning.audio.formats import AUDIO_SUFFIXES
from audio_lightning.audio.recording import AudioInfo, describe
from audio_lightning.audio.window import Window, fit_length, windows

__all__ = [
    "AUDIO_SUFFIXES",
    "MAX_SECONDS",
    "SILENCE",
    "AudioInfo",
    "Channel",
    "Finder",
    "Levels",
    "Window",
    "cancel",
    "check_channel",
    "decode",
    "describe",
    "find_recordings",
    "fit_length",
    "load",
    "read",
    "resample",
    "resampled_length",
    "say_cancelling",
    "select_channels",
    "to_mono",
    "windows",
]
