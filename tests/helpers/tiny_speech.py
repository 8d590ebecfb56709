"""Tiny Speech Commands: folders of words, and the hash that assigns speakers to splits."""

import functools
import hashlib
import itertools
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import soundfile
from omegaconf import DictConfig

from audio_lightning.config import build, change, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
RATE = 8000


def speech(root: Path, *overrides: str, name: str = "speech_commands") -> AudioDataModule:
    """The data module as built from the configuration."""
    line = [f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=0.1", *overrides]
    return build(change(_composed(name), quote_paths(line)).data, AudioDataModule, where="data")


@functools.cache
def _composed(name: str) -> DictConfig:
    return compose([f"data={name}", "data.root=."])


def split_by_hash(name: str) -> str:
    """The official split of a file name, by the published formula."""
    base = re.sub(r"_nohash_.*$", "", name)
    percent = int(hashlib.sha1(base.encode()).hexdigest(), 16) % (2**27) * (100.0 / (2**27 - 1))
    return "validation" if percent < 10 else "test" if percent < 20 else "train"


def speakers(split: str, count: int) -> list[str]:
    """Names of speakers in a split."""
    names = (f"{number:08x}" for number in itertools.count())
    return list(itertools.islice((name for name in names if split_by_hash(name) == split), count))


def write_words(root: Path, words: Iterable[str], clips: Mapping[str, int], *, sound: bool = False) -> Path:
    """Write clips of every word for each split, each by another speaker; files are empty unless ``sound``."""
    for word in words:
        for split, count in clips.items():
            for speaker in speakers(split, count):
                write_clip(root / word / f"{speaker}_nohash_0.wav", sound=sound)
    return root


def write_noise(root: Path, count: int = 2, *, sound: bool = False) -> None:
    """Write background recordings, five times as long as a clip."""
    for number in range(count):
        write_clip(root / f"_background_noise_/noise {number}.wav", sound=sound, seconds=0.5)


def write_clip(file: Path, *, sound: bool = False, seconds: float = 0.1) -> None:
    """Write noise that differs between files, or an empty file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if sound:
        seed = int.from_bytes(hashlib.sha1(str(file).encode()).digest()[:4], "big")
        soundfile.write(file, 0.1 * np.random.default_rng(seed).normal(size=round(seconds * RATE)), RATE)
    else:
        file.touch()


def pack(folder: Path, archive: Path) -> str:
    """Pack a folder into a .tar.gz like the published archives; returns its sha256."""
    with tarfile.open(archive, "w:gz") as entries:
        for entry in sorted(folder.iterdir()):
            entries.add(entry, f"./{entry.name}")
    return hashlib.sha256(archive.read_bytes()).hexdigest()
