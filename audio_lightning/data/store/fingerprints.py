"""What clips are known again by, wherever their files lie and whatever these are called."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64, Shaped

from audio_lightning import __version__
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import SPLITS, TRAIN

SEGMENT = np.dtype([("recording", "<i8"), ("start", "<i4"), ("stop", "<i4")])
"""A stretch of a recording: half of the hash of its samples, and where it begins and ends in milliseconds."""

CLIP = ("label", "start_seconds", "stop_seconds")
"""Columns of a manifest that say what a clip is."""

TO_THE_END = np.iinfo(np.int32).max


def fingerprints(datamodule: AudioDataModule) -> tuple[str, str]:
    """What the labelled recordings are, and which of them are used for what.

    The first is of everything that the data source holds: content, labels and groups of its recordings, and the noise
    that comes with them. It depends neither on names and places of files, nor on the seed, nor on the settings by which
    clips are drawn, resampled or stored, so that trials that differ in these can be compared. The second also tells the
    drawn clips and their splits. The order counts, since that of the batches follows from it.

    Args:
        datamodule: after its :meth:`setup`.
    """
    pool, clips = datamodule.pool, datamodule.manifest.table
    groups = _codes(pool.manifest.table["group"].tolist())
    described = [pool.manifest.classes, _columns(pool.manifest.table, CLIP), groups, len(pool.noise)]
    content = hashlib.sha256(json.dumps(described).encode())
    for digests in (pool.content, pool.noise):
        content.update(np.ascontiguousarray(digests).tobytes())
    division = hashlib.sha256(content.digest())
    division.update(json.dumps(_columns(clips, (*CLIP, "background", "split", "fold"))).encode())
    division.update(np.ascontiguousarray(datamodule.content).tobytes())
    return content.hexdigest(), division.hexdigest()


def describe(datamodule: AudioDataModule) -> dict[str, Any]:
    """The data of a training as its checkpoints keep it, in plain values, to tell later whether it is still the same.

    Args:
        datamodule: after its :meth:`setup`.
    """
    content, division = fingerprints(datamodule)
    return {
        "version": __version__,
        "classes": list(datamodule.manifest.classes),
        "clips": {split: len(datamodule.numbers(split)) for split in SPLITS},
        "clips_of_classes": datamodule.class_counts(TRAIN),
        "content": content,
        "division": division,
        **({"clips_chosen": reasons} if (reasons := dict(datamodule.clip_choice.reasons)) else {}),
    }


def difference(known: Mapping[str, Any], datamodule: AudioDataModule) -> str | None:
    """What of the data is not as it was described; None where it is the same, wherever it lies now.

    Args:
        known: see :func:`describe`; older checkpoints know less, and fingerprints of other versions are others.
        datamodule: after its :meth:`setup`.
    """
    now = describe(datamodule)
    before, after = known["classes"], now["classes"]
    if before != after:
        gone = [name for name in before if name not in after]
        new = [name for name in after if name not in before]
        said = [f"{what}: {', '.join(names)}" for what, names in (("without", gone), ("new", new)) if names]
        return f"the classes are others ({'; '.join(said) or 'the same in another order'})"
    changed = [
        f"{now['clips'][split]:,} {split} clips in place of {count:,}"
        for split, count in known.get("clips", {}).items()
        if now["clips"][split] != count
    ] or [
        f"{count:,} training clips of {name} in place of {known['clips_of_classes'][number]:,}"
        for number, (name, count) in enumerate(zip(after, now["clips_of_classes"]))
        if count != known["clips_of_classes"][number]
    ]
    if changed:
        return f"there are {', '.join(changed)}"
    if known.get("version") != now["version"]:
        return None
    if known["content"] != now["content"]:
        return "recordings, labels or groups are others, in as many clips"
    return None if known["division"] == now["division"] else "the same clips are divided into other splits"


def segments(datamodule: AudioDataModule, rows: Int64[np.ndarray, "rows"]) -> Shaped[np.ndarray, "segments"]:
    """What some clips are segments of.

    The hashes are those that the leakage guard compares, so that nothing is read or hashed for them. They are equal
    where the recordings are, whatever ``data.sample_rate`` and ``data.cache_dtype``; that those of different recordings
    are has a probability of 3e-8 among a million.

    Args:
        datamodule: after its setup.
        rows: of its manifest.

    Returns:
        Of type :data:`SEGMENT`, one a row, but none for what may recur: silence and background noise.
    """
    table, hashes = datamodule.manifest.table.iloc[rows], datamodule.hashes[rows]
    recurs = ~hashes.any(axis=1) | table["background"].to_numpy(dtype=bool)
    found = np.empty(len(rows), SEGMENT)
    found["recording"] = np.ascontiguousarray(hashes[:, :8]).view("<i8")[:, 0]
    for name in ("start", "stop"):
        milliseconds = 1000 * table[f"{name}_seconds"].fillna(np.inf).to_numpy(dtype=np.float64)
        found[name] = np.rint(np.minimum(milliseconds, TO_THE_END))
    return found[~recurs]


def overlapping(
    segments: Shaped[np.ndarray, "segments"], others: Shaped[np.ndarray, "others"]
) -> Bool[np.ndarray, "segments"]:
    """Which segments have samples in common with any of the others; both of type :data:`SEGMENT`."""
    numbers, _ = pd.factorize(np.concatenate([segments["recording"], others["recording"]]))
    own, other = (number << 32 for number in np.split(numbers.astype(np.int64), [len(segments)]))
    # Those begun before the end of a stretch, less those over before it begins. What is in recordings with a lower
    # number counts as both.
    begun = np.searchsorted(np.sort(other + others["start"]), own + segments["stop"], side="left")
    over = np.searchsorted(np.sort(other + others["stop"]), own + segments["start"], side="right")
    return begun > over


def _columns(table: pd.DataFrame, names: Iterable[str]) -> list[list[Any]]:
    return [table[name].tolist() for name in names]


def _codes(values: list[Any]) -> list[int]:
    """Groups by the order in which they appear: what they are called does not count."""
    seen: dict[Any, int] = {}
    return [seen.setdefault(value, len(seen)) for value in values]
