"""Content fingerprints of clips and data sets, independent of file names and folders."""

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
"""A segment of a recording: half of the hash of its samples, start and end in milliseconds."""

CLIP = ("label", "start_seconds", "stop_seconds")
"""Columns of a manifest that define a clip."""

TO_THE_END = np.iinfo(np.int32).max


def fingerprints(datamodule: AudioDataModule) -> tuple[str, str]:
    """Fingerprints of a data set: of its content, and of its splits.

    The first covers all recordings of the source: their content, labels and groups, and the noise recordings. It
    depends neither on file names and folders, nor on the seed, nor on the settings for drawing, resampling or storing
    clips, so that trials with different settings can be compared. The second also covers the drawn clips and their
    splits. Both depend on the order of the clips, which determines the batches.

    Args:
        datamodule: data module after its :meth:`setup`.
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
    """Describe the data of a training in plain values for its checkpoints, to detect changes later.

    Args:
        datamodule: data module after its :meth:`setup`.
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
    """Describe how the data differs from its saved description; None if it is the same, wherever it is stored.

    Args:
        known: description from :func:`describe`; older checkpoints have fewer entries, and fingerprints of other
            versions are not comparable.
        datamodule: data module after its :meth:`setup`.
    """
    now = describe(datamodule)
    before, after = known["classes"], now["classes"]
    if before != after:
        gone = [name for name in before if name not in after]
        new = [name for name in after if name not in before]
        differences = [f"{what}: {', '.join(names)}" for what, names in (("without", gone), ("new", new)) if names]
        return f"the classes differ ({'; '.join(differences) or 'the same in another order'})"
    changed = [
        f"{now['clips'][split]:,} {split} clips instead of {count:,}"
        for split, count in known.get("clips", {}).items()
        if now["clips"][split] != count
    ] or [
        f"{count:,} training clips of {name} instead of {known['clips_of_classes'][number]:,}"
        for number, (name, count) in enumerate(zip(after, now["clips_of_classes"]))
        if count != known["clips_of_classes"][number]
    ]
    if changed:
        return f"there are {', '.join(changed)}"
    if known.get("version") != now["version"]:
        return None
    if known["content"] != now["content"]:
        return "recordings, labels or groups differ, for the same number of clips"
    return None if known["division"] == now["division"] else "the same clips have other splits"


def segments(datamodule: AudioDataModule, rows: Int64[np.ndarray, "rows"]) -> Shaped[np.ndarray, "segments"]:
    """Segments of recordings for the given rows of a manifest.

    The leakage checks have computed the hashes already, so that nothing is read or hashed again. They are equal for
    identical recordings, independent of ``data.sample_rate`` and ``data.cache_dtype``. Among a million different
    recordings, the probability of a collision is 3e-8.

    Args:
        datamodule: data module after its setup.
        rows: rows of its manifest.

    Returns:
        Array of type :data:`SEGMENT`, one entry per row, without silence and background noise, which may recur.
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
    """Mask of the segments that have samples in common with any of the others; both of type :data:`SEGMENT`."""
    numbers, _ = pd.factorize(np.concatenate([segments["recording"], others["recording"]]))
    own, other = (number << 32 for number in np.split(numbers.astype(np.int64), [len(segments)]))
    # Overlaps of a segment: the others that start before its end, minus the others that end before its start.
    # Segments of recordings with a lower number are counted in both.
    begun = np.searchsorted(np.sort(other + others["start"]), own + segments["stop"], side="left")
    over = np.searchsorted(np.sort(other + others["stop"]), own + segments["start"], side="right")
    return begun > over


def _columns(table: pd.DataFrame, names: Iterable[str]) -> list[list[Any]]:
    return [table[name].tolist() for name in names]


def _codes(values: list[Any]) -> list[int]:
    """Number groups by their first appearance, because their names do not matter."""
    seen: dict[Any, int] = {}
    return [seen.setdefault(value, len(seen)) for value in values]
