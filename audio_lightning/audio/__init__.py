"""One recording: open, seek, decode, resample, describe, and say what is wrong with it."""

from audio_lightning.audio.decode import MAX_SECONDS, decode, load, read, resample, resampled_length, to_mono
from audio_lightning.audio.find import find_recordings
from audio_lightning.audio.recording import AUDIO_SUFFIXES, AudioInfo, describe
from audio_lightning.audio.window import Window, fit_length, windows

__all__ = [
    "AUDIO_SUFFIXES",
    "MAX_SECONDS",
    "AudioInfo",
    "Window",
    "decode",
    "describe",
    "find_recordings",
    "fit_length",
    "load",
    "read",
    "resample",
    "resampled_length",
    "to_mono",
    "windows",
]
