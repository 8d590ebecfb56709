"""A tiny data set for every choice of ``data``, in its layout."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tiny
import tiny_speech


def write_labels(root: Path) -> Path:
    """A table whose clips have one or two labels, separated by semicolons."""
    tiny.write_table(root)
    with (root / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["label"] += ";even" if number % 2 else ""
    with (root / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return root


def write_speech(root: Path) -> Path:
    """The ten words, two others, and noise, in all three official splits."""
    clips = {"train": 8, "validation": 2, "test": 2}
    tiny_speech.write_words(root, (*tiny_speech.COMMANDS, "bed", "cat", "happy"), clips, sound=True)
    tiny_speech.write_noise(root, sound=True)
    return root


def write_speech_npz(root: Path) -> Path:
    """Thirty clips in one file."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    labels = np.array([tiny.CLASSES[number % 3] for number in range(30)])
    waves = np.stack([tiny.sound(label, rng) for label in labels])
    np.savez(root / "speech.npz", wav_vals=waves[..., None], label_vals=labels[:, None])
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    "annotations": tiny.write_annotated,
    "demo": tiny.write_urbansound8k,
    "esc10": tiny.write_esc50,
    "esc50": tiny.write_esc50,
    "folder": tiny.write_folder,
    "instruments": tiny.write_instruments,
    "speech_commands": write_speech,
    "speech_commands_npz": write_speech_npz,
    "table": write_labels,
    "urbansound": tiny.write_urbansound,
    "urbansound8k": tiny.write_urbansound8k,
}


def write(name: str, root: Path) -> Path:
    """The tiny data set for ``data=name``."""
    shutil.rmtree(root, ignore_errors=True)
    return WRITERS[name](root)
