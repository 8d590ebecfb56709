"""A data set small enough to train on within a test: tones whose rhythm and pitch define the class."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

CLASSES = ("high_tone", "low_tone", "noise")
RATE = 8000

TRAIN_OVERRIDES = [
    "data.sample_rate=8000",
    "data.clip_seconds=0.25",
    "data.batch_size=8",
    "feature.n_mels=16",
    "model.channels=[4,8,8]",
    "model.hidden_dim=16",
    "trainer=cpu",
    "trainer.max_epochs=4",
    "optimizer.lr=0.01",
]
"""Settings for the default feature and model that fit the tiny data."""


FROZEN_OVERRIDES = [
    "feature=embedding",
    "feature.pretrained=false",
    "model=linear",
    "data.sample_rate=8000",
    "data.clip_seconds=0.25",
    "data.batch_size=8",
    "trainer=cpu",
    "trainer.max_epochs=4",
    "optimizer.lr=0.01",
]
"""Settings of a linear classifier on a published network, with weights at random, that fit the tiny data."""


def sound(label: str, rng: np.random.Generator, seconds: float = 0.25, rate: int = RATE) -> np.ndarray:
    """A clip of a class, float32 of shape [samples]."""
    time = np.arange(round(seconds * rate)) / rate
    frequency = {"high_tone": 2000, "low_tone": 300, "noise": 0}[label] * rng.uniform(0.8, 1.25)
    tone = np.sin(2 * np.pi * frequency * time + rng.uniform(0, 6)) if frequency else rng.normal(size=time.size) / 3
    return (0.4 * rng.uniform(0.3, 1) * tone + 0.01 * rng.normal(size=time.size)).astype(np.float32)


def write_urbansound8k(root: Path, *, folds: int = 4, clips: int = 3, seed: int = 0) -> Path:
    """Write a folder in the layout of UrbanSound8K: ``clips`` of every class in every fold, two per source."""
    rng = np.random.default_rng(seed)
    rows = []
    for fold in range(1, folds + 1):
        (root / f"audio/fold{fold}").mkdir(parents=True, exist_ok=True)
        for number, label in enumerate(CLASSES):
            for clip in range(clips):
                source = 1000 * fold + 100 * number + clip // 2
                name = f"{source}-{number}-0-{clip}.wav"
                samples = sound(label, rng, seconds=rng.uniform(0.15, 0.25))
                soundfile.write(root / f"audio/fold{fold}/{name}", samples, RATE)
                rows.append((name, source, 0, 0.25, 1, fold, number, label))
    (root / "metadata").mkdir(exist_ok=True)
    with (root / "metadata/UrbanSound8K.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"))
        writer.writerows(rows)
    return root


def write_urbansound(root: Path, *, clips: int = 10, seed: int = 0) -> Path:
    """Write a folder in the layout of the competition: train.csv and Train/<ID>.wav."""
    rng = np.random.default_rng(seed)
    (root / "Train").mkdir(parents=True, exist_ok=True)
    with (root / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("ID", "Class"))
        for number in range(clips * len(CLASSES)):
            label = CLASSES[number % len(CLASSES)]
            soundfile.write(root / f"Train/{number}.wav", sound(label, rng), RATE)
            writer.writerow((number, label))
    return root


def write_esc50(root: Path, *, folds: int = 5, clips: int = 2, seed: int = 0) -> Path:
    """Write a folder in the layout of ESC-50, its classes numbered backwards: ``clips`` of every class in every fold.

    All clips of a class and a fold are of one source; all classes but the last belong to ESC-10.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for fold in range(1, folds + 1):
        for number, label in enumerate(reversed(CLASSES)):
            source = 100 * fold + number
            for clip in range(clips):
                take = "ABCDEF"[clip]
                name = f"{fold}-{source}-{take}-{number}.wav"
                _write_sound(root / "audio" / name, label, rng)
                rows.append((name, fold, number, label, number < len(CLASSES) - 1, source, take))
    (root / "meta").mkdir(exist_ok=True)
    _write_csv(root / "meta/esc50.csv", ("filename", "fold", "target", "category", "esc10", "src_file", "take"), rows)
    return root


def write_folder(root: Path, *, clips: int = 10, splits: Sequence[str] = ("",), seed: int = 0) -> Path:
    """Write class folders with ``clips`` recordings each, below the folders ``splits`` if given."""
    rng = np.random.default_rng(seed)
    for split in splits:
        for label in CLASSES:
            for clip in range(clips):
                _write_sound(root / split / label / f"{clip}.wav", label, rng)
    return root


def write_named(root: Path, *, groups: int = 6, seed: int = 0) -> Path:
    """Write recordings in one folder, with class and group in their names: ``noise_3_0.wav``."""
    rng = np.random.default_rng(seed)
    for label in CLASSES:
        for group in range(groups):
            _write_sound(root / f"{label.replace('_', '-')}_{group}_0.wav", label, rng)
    return root


def write_table(root: Path, *, clips: int = 10, seed: int = 0) -> Path:
    """Write clips.csv (path, label) and ``clips`` recordings of every class in sounds/."""
    rng = np.random.default_rng(seed)
    rows = [(f"sounds/{number}.wav", CLASSES[number % len(CLASSES)]) for number in range(clips * len(CLASSES))]
    for path, label in rows:
        _write_sound(root / path, label, rng)
    _write_csv(root / "clips.csv", ("path", "label"), rows)
    return root


def write_hot_table(root: Path, *, clips: int = 10, seed: int = 0) -> Path:
    """Write the same recordings and clips.csv with a column of 0 and 1 for each class; a tenth have no label."""
    write_table(root, clips=clips, seed=seed)
    rows = [
        (
            f"sounds/{number}.wav",
            *(int(number % len(CLASSES) == place and number % 10 > 0) for place in range(len(CLASSES))),
        )
        for number in range(clips * len(CLASSES))
    ]
    _write_csv(root / "clips.csv", ("path", *CLASSES), rows)
    return root


def write_instruments(root: Path, *, notes: int = 6, takes: int = 2, seed: int = 0) -> Path:
    """Write folders of instruments, with recordings of 0.1 to 1.2 s: ``takes`` of each of ``notes`` notes."""
    rng = np.random.default_rng(seed)
    for label in CLASSES:
        for note in range(notes):
            for take in range(takes):
                name = f"{label.replace('_', '-')}_{'ABCDEFG'[note % 7]}s{note // 7 + 3}_{take}_forte_normal.wav"
                _write_sound(root / label / name, label, rng, seconds=rng.uniform(0.1, 1.2))
    return root


def write_annotated(root: Path, *, recordings: int = 8, seed: int = 0) -> Path:
    """Write recordings with two sounds of each class between pauses, and beside each a Raven table or a label track.

    The table all.csv names all of them.
    """
    rng = np.random.default_rng(seed)
    every = list[tuple[str, float, float, str]]()
    root.mkdir(parents=True, exist_ok=True)
    for number in range(recordings):
        parts, annotations, time = list[np.ndarray](), list[tuple[float, float, str]](), 0.0
        for label in (*CLASSES, *CLASSES):
            parts += [0.001 * rng.normal(size=RATE // 2), sound(label, rng)]
            annotations.append((time + 0.5, time + 0.75, label))
            time += 0.75
        every += [(f"rec{number}.wav", *annotation) for annotation in annotations]
        soundfile.write(root / f"rec{number}.wav", np.concatenate(parts), RATE)
        if number % 2:
            lines = ["Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tAnnotation"]
            for row, (start, stop, label) in enumerate(annotations, 1):
                lines += [f"{row}\t{view} 1\t1\t{start}\t{stop}\t{label}" for view in ("Waveform", "Spectrogram")]
            (root / f"rec{number}.Table.1.selections.txt").write_text("\n".join(lines) + "\n")
        else:
            lines = [f"{start}\t{stop}\t{label}\n\\\t100.0\t3000.0" for start, stop, label in annotations]
            (root / f"rec{number}.txt").write_text("\n".join(lines) + "\n")
    _write_csv(root / "all.csv", ("path", "start", "stop", "label"), every)
    return root


def _write_sound(path: Path, label: str, rng: np.random.Generator, seconds: float = 0.25) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(label, rng, seconds=seconds), RATE)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
