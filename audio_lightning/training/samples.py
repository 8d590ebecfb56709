"""Warnings about splits that are too small for what their figures are used for."""

from collections.abc import Sequence

from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import SPLITS, TEST, VALIDATION

FEWEST_VALIDATION_CLIPS = 50
"""Below, accuracy moves by 2 points or more with a single clip, and the best epoch is a matter of chance."""

FEWEST_CLIPS = 5
"""Clips of a class below which its share in a figure is a matter of chance."""

MOST_NAMED = 10


def small_samples(datamodule: AudioDataModule, splits: Sequence[str] = SPLITS) -> list[str]:
    """A sentence for each way in which splits are too small.

    Args:
        datamodule: after its setup.
        splits: those to look at; one without any clip is not meant to be there.
    """
    counts = {split: datamodule.class_counts(split) for split in splits if len(datamodule.numbers(split))}
    found = []
    if VALIDATION in counts and (clips := len(datamodule.numbers(VALIDATION))) < FEWEST_VALIDATION_CLIPS:
        found.append(f"{clips} validation clips, fewer than {FEWEST_VALIDATION_CLIPS}: the best epoch is uncertain")
    few: dict[str, list[str]] = {}
    for split, numbers in counts.items():
        for name, number in zip(datamodule.manifest.classes, numbers):
            if 0 < number < FEWEST_CLIPS:
                few.setdefault(name, []).append(f"{split} {number}")
    if few:
        named = _listed(", ", [f"{name} ({', '.join(splits)})" for name, splits in few.items()])
        found.append(f"classes with fewer than {FEWEST_CLIPS} clips: {named}")
    for split, numbers in counts.items():
        if none := [name for name, number in zip(datamodule.manifest.classes, numbers) if not number]:
            never = ": never tested" if split == TEST else ""
            found.append(f"{split} has no clip of {_listed(', of ', none)}{never}")
    return found


def _listed(separator: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return separator.join(names[:MOST_NAMED]) + more
