"""Recordings in files and folders that somebody names."""

from collections.abc import Iterable
from pathlib import Path

from audio_lightning.audio.recording import AUDIO_SUFFIXES
from audio_lightning.errors import DataError


def find_recordings(paths: Iterable[Path]) -> list[Path]:
    """Files as they are named, and every recording below the folders that are named, sorted.

    Raises:
        DataError: a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
        if not below:
            raise DataError(f"{path} holds no recordings: expected files such as {', '.join(sorted(AUDIO_SUFFIXES))}")
        found += below
    return found
