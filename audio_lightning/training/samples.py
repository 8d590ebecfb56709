"""Warnings about data that makes metrics uncertain: small splits, and channels that cancel each other."""

from collections.abc import Sequence

from audio_lightning.audio import cancel, say_cancelling
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import SPLITS, TEST, VALIDATION
from audio_lightning.data.problems import printable
from audio_lightning.data.splitting.few_clips import FEWEST_A_SPLIT

FEWEST_VALIDATION_CLIPS = 50
"""With fewer clips, one clip changes the accuracy by 2 points or more, and chance decides the best epoch."""

MOST_NAMED = 10


def data_warnings(datamodule: AudioDataModule, splits: Sequence[str] = SPLITS) -> list[str]:
    """Return all warnings of this module, one sentence each; see :func:`small_samples`."""
    return small_samples(datamodule, splits) + cancelling_channels(datamodule, splits)


def cancelling_channels(datamodule: AudioDataModule, splits: Sequence[str] = SPLITS) -> list[str]:
    """Warn about recordings whose channels cancel in the mono mixdown, judged by their levels at decoding.

    Args:
        datamodule: data module that has been set up.
        splits: splits to check.

    Returns:
        One sentence, or an empty list.
    """
    facts, table = datamodule.facts, datamodule.manifest.table
    odd = cancel(facts["channels"], facts["peak"], facts["rms"], facts["mean_rms"])
    paths = table["path"][odd & table["split"].isin(splits).to_numpy()].unique()
    if not len(paths):
        return []
    return [f"{say_cancelling(len(paths), printable(paths[0]))}; use one channel by data.channel=left, right or each"]


def small_samples(datamodule: AudioDataModule, splits: Sequence[str] = SPLITS) -> list[str]:
    """Warn about splits that are too small.

    Args:
        datamodule: data module that has been set up.
        splits: splits to check; a split without clips is skipped, because it is intended to be empty.

    Returns:
        One sentence per problem.
    """
    counts = {split: datamodule.class_counts(split) for split in splits if len(datamodule.numbers(split))}
    found = []
    if VALIDATION in counts and (clips := len(datamodule.numbers(VALIDATION))) < FEWEST_VALIDATION_CLIPS:
        found.append(f"{clips} validation clips, fewer than {FEWEST_VALIDATION_CLIPS}: the best epoch is uncertain")
    few: dict[str, list[str]] = {}
    for split, numbers in counts.items():
        for name, number in zip(datamodule.manifest.classes, numbers):
            if 0 < number < FEWEST_A_SPLIT:
                few.setdefault(name, []).append(f"{split} {number}")
    if few:
        named = _listed(", ", [f"{name} ({', '.join(splits)})" for name, splits in few.items()])
        found.append(f"classes with fewer than {FEWEST_A_SPLIT} clips: {named}")
    for split, numbers in counts.items():
        if none := [name for name, number in zip(datamodule.manifest.classes, numbers) if not number]:
            never = ": never tested" if split == TEST else ""
            found.append(f"{split} has no clip of {_listed(', of ', none)}{never}")
    return found


def _listed(separator: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return separator.join(names[:MOST_NAMED]) + more
