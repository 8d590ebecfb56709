"""A guard that no two splits have anything in common."""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt8

from audio_lightning.core.errors import DataError
from audio_lightning.data.manifest import SPLITS, Manifest
from audio_lightning.data.splitting.splits import SplitMethod, source_of

Leakage = Literal["none found", "cannot be excluded", "present"]

MOST_SHOWN = 10

ROUNDING = 1e-6
"""Seconds by which stretches that only touch may overlap, as computed numbers do: less than a sample at any rate."""

IGNORING_SOURCES = ("random", "stratified")
"""Methods that say by their name that groups may be parted."""


class LeakageError(DataError):
    """Splits that have a source or a recording in common.

    Attributes:
        leaks: one line each.
    """

    def __init__(self, kind: str, leaks: dict[str, list[str]]) -> None:
        self.leaks = [f"{kind} {key}: in {' and '.join(splits)}" for key, splits in leaks.items()]
        lines = [f"  {leak}" for leak in self.leaks[:MOST_SHOWN]]
        if (rest := len(leaks) - MOST_SHOWN) > 0:
            lines.append(f"  ... and {rest} more")
        what = "the same source" if kind == "group" else "the same audio"
        found = (
            f"the splits leak: {what} is in more than one of them ({len(leaks)} found), so test metrics would be too "
            "good; mend the data, or accept it with data.allow_leakage=true, which is written into the results:"
        )
        super().__init__("\n".join([found, *lines]))


def guard_sources(manifest: Manifest, method: SplitMethod, *, allow: bool) -> Leakage:
    """Check that no group (source recording, speaker, note) and no file is in two splits.

    Returns:
        What can be said about leakage.

    Raises:
        LeakageError: groups in two splits, each named, unless ``allow`` or a method that ignores groups by its name.
    """
    codes, names = pd.factorize(source_of(manifest))
    leaks = _in_several_splits(codes, manifest)
    if leaks and not allow and method not in IGNORING_SOURCES:
        raise LeakageError("group", {str(names[code]): splits for code, splits in leaks.items()})
    if leaks:
        return "present"
    return "none found" if manifest.knows_groups else "cannot be excluded"


def guard_content(
    manifest: Manifest,
    recording: Int64[np.ndarray, "rows"],
    hashes: UInt8[np.ndarray, "recordings 16"],
    method: SplitMethod,
    *,
    allow: bool,
) -> Leakage:
    """Check that no two clips in different splits have samples in common.

    Clips share samples where their stretches of one recording overlap, or those of two recordings with equal content.
    Stretches that do not overlap are different audio, whatever else is in the recording.

    Args:
        manifest: with splits assigned.
        recording: position of each row's recording.
        hashes: of every recording's content; all zeros for silence, which may recur.
        method: how the splits came about.
        allow: let it pass.

    Raises:
        LeakageError: clips in two splits with audio in common, each named, unless ``allow`` or ``data.split=random``.
    """
    content = pd.factorize(np.ascontiguousarray(hashes).view("S16").reshape(-1))[0][recording]
    content = np.where(np.any(hashes, axis=1)[recording], content, -1)
    # Few recordings are in several splits, and only their stretches have to be compared.
    suspicious = np.isin(content, list(_in_several_splits(content, manifest)))
    suspicious &= ~manifest.table["background"].to_numpy(dtype=bool)
    codes = np.full(len(manifest), -1)
    codes[suspicious] = _shared(manifest.table[suspicious], content[suspicious])
    leaks = _in_several_splits(codes, manifest)
    if leaks and not allow and method != "random":
        raise LeakageError("content", {_clips(manifest.table[codes == code]): splits for code, splits in leaks.items()})
    return "present" if leaks else "none found"


STEM_PATTERNS = ("^[^_]+", "^[^-]+", "^.+(?=_)", "^.+(?=-)")
"""What recordings of one source often have in common: the name up to the first, or the last, underscore or hyphen."""

FEWEST_STEMS = 3
"""Stems in every class, one for each part of a split; where there are fewer, they are rather names of the class."""

LARGEST_SHARE = 0.5
"""Share of a class above which one stem is a prefix of all names, such as ``rec_01``, and not a source."""


@dataclass(frozen=True)
class SharedStem:
    """File names that begin alike, as those of parts of one recording do.

    Attributes:
        pattern: regular expression of the beginning.
        examples: two paths with the same one.
    """

    pattern: str
    examples: tuple[str, str]


def shared_stem(manifest: Manifest) -> SharedStem | None:
    """The first of :data:`STEM_PATTERNS` by which half of the recordings begin like another one of their class."""
    rows = manifest.table[["path", "label"]].drop_duplicates("path")
    names = rows["path"].str.rpartition("/")[2]
    for pattern in map(re.compile, STEM_PATTERNS):
        stems = [match[0] if (match := pattern.search(name)) else name for name in names]
        found = rows.assign(stem=stems)
        alike = found.duplicated(["label", "stem"], keep=False)
        counts = found.groupby(["label", "stem"]).size()
        several = counts.groupby("label").size().min() >= FEWEST_STEMS
        if alike.mean() >= 0.5 and several and (counts / counts.groupby("label").sum()).max() <= LARGEST_SHARE:
            first = found[alike].iloc[0]
            same = found["path"][(found["label"] == first["label"]) & (found["stem"] == first["stem"])]
            return SharedStem(pattern.pattern, (same.iloc[0], same.iloc[1]))
    return None


def _shared(clips: pd.DataFrame, content: Int64[np.ndarray, "clips"]) -> Int64[np.ndarray, "clips"]:
    """A number for all clips that overlap, directly or through others, and -1 for those that no other split overlaps.

    Args:
        clips: rows of a manifest.
        content: number of what each is a stretch of.
    """
    table = pd.DataFrame(
        {
            "content": content,
            "start": clips["start_seconds"].to_numpy(),
            "stop": clips["stop_seconds"].fillna(np.inf).to_numpy(),
            "split": clips["split"].to_numpy(),
        }
    ).sort_values(["content", "start"], kind="stable")
    crossing = pd.Series(False, table.index)
    for split in SPLITS:
        own = table["split"] == split
        # Of what this split has begun up to here, when the last ends; and when what it begins from here on does so.
        ends = table["stop"].where(own, -np.inf).groupby(table["content"]).cummax()
        begins = table["start"].where(own, np.inf)[::-1].groupby(table["content"]).cummin()[::-1]
        crossing |= ~own & ((table["start"] < ends - ROUNDING) | (begins < table["stop"] - ROUNDING))
    table = table[crossing]
    reached = table.groupby("content")["stop"].cummax().groupby(table["content"]).shift()
    apart = ~(table["start"] < reached - ROUNDING)  # also the first, before which nothing is reached
    codes = np.full(len(clips), -1)
    codes[table.index] = apart.cumsum()
    return codes


def _in_several_splits(codes: Int64[np.ndarray, "rows"], manifest: Manifest) -> dict[int, list[str]]:
    """The codes that occur in more than one split, with their splits; -1 and background noise do not count."""
    counted = (codes >= 0) & ~manifest.table["background"].to_numpy(dtype=bool)
    pairs = pd.DataFrame({"code": codes[counted], "split": manifest.table["split"].to_numpy()[counted]})
    pairs = pairs.drop_duplicates()
    several = pairs[pairs["code"].duplicated(keep=False)]
    found: dict[int, set[str]] = defaultdict(set)
    for code, split in zip(several["code"].tolist(), several["split"]):
        found[code].add(split)
    return {code: [split for split in SPLITS if split in splits] for code, splits in found.items()}


def _clips(rows: pd.DataFrame) -> str:
    """Clips with audio in common, each with its split, and with its stretch where that is not the whole recording."""
    rows = rows.sort_values("start_seconds", kind="stable")
    equal = len(rows[["start_seconds", "stop_seconds"]].drop_duplicates()) == 1
    named = []
    for path, split, start, stop in rows[["path", "split", "start_seconds", "stop_seconds"]].itertuples(index=False):
        end = "its end" if np.isnan(stop) else f"{stop:g} s"
        part = "" if start == 0 and np.isnan(stop) else f" from {start:g} s to {end}"
        named.append(f"{path}{part} ({split})")
    if (rest := len(named) - MOST_SHOWN) > 0:
        named[MOST_SHOWN:] = [f"{rest} more"]
    return (" = " if equal else " overlaps ").join(named)
