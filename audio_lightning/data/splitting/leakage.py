"""Leakage checks: no group and no audio may be in two splits."""

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
"""Tolerance in seconds for adjacent segments, whose computed limits may overlap; less than a sample at any rate."""

IGNORING_SOURCES = ("random", "stratified")
"""Methods that ignore groups."""


class LeakageError(DataError):
    """Error about splits with a source or a recording in common.

    Attributes:
        leaks: one line per source or recording that is in several splits.
    """

    def __init__(self, kind: str, leaks: dict[str, list[str]]) -> None:
        self.leaks = [f"{kind} {key}: in {' and '.join(splits)}" for key, splits in leaks.items()]
        lines = [f"  {leak}" for leak in self.leaks[:MOST_SHOWN]]
        if (rest := len(leaks) - MOST_SHOWN) > 0:
            lines.append(f"  ... and {rest} more")
        what = "the same source" if kind == "group" else "the same audio"
        found = (
            f"the splits leak: {what} is in more than one of them ({len(leaks)} found), so test metrics would be too "
            "high; correct the data, or set data.allow_leakage=true, which is recorded in the results:"
        )
        super().__init__("\n".join([found, *lines]))


def guard_sources(manifest: Manifest, method: SplitMethod, *, allow: bool) -> Leakage:
    """Check that no group (source recording, speaker, note) and no file is in two splits.

    Returns:
        Result of the check.

    Raises:
        LeakageError: groups in two splits, each named, unless ``allow`` or the method ignores groups.
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

    Clips share samples if their segments of one recording overlap, or of two recordings with identical content.
    Segments that do not overlap are different audio, even if they are in one recording.

    Args:
        manifest: manifest with splits.
        recording: index of each row's recording.
        hashes: hash of every recording's content; all zeros for silence, which may recur.
        method: method of the split.
        allow: tolerate leakage.

    Raises:
        LeakageError: clips in two splits with audio in common, each named, unless ``allow`` or ``data.split=random``.
    """
    content = pd.factorize(np.ascontiguousarray(hashes).view("S16").reshape(-1))[0][recording]
    content = np.where(np.any(hashes, axis=1)[recording], content, -1)
    # Few recordings are in several splits; only their segments have to be compared.
    suspicious = np.isin(content, list(_in_several_splits(content, manifest)))
    suspicious &= ~manifest.table["background"].to_numpy(dtype=bool)
    codes = np.full(len(manifest), -1)
    codes[suspicious] = _shared(manifest.table[suspicious], content[suspicious])
    leaks = _in_several_splits(codes, manifest)
    if leaks and not allow and method != "random":
        raise LeakageError("content", {_clips(manifest.table[codes == code]): splits for code, splits in leaks.items()})
    return "present" if leaks else "none found"


STEM_PATTERNS = ("^[^_]+", "^[^-]+", "^.+(?=_)", "^.+(?=-)")
"""Common parts of file names of one source: the name up to the first, or the last, underscore or hyphen."""

FEWEST_STEMS = 3
"""Minimum number of stems in every class, one for each split; fewer stems are more likely names of the class."""

LARGEST_SHARE = 0.5
"""Share of a class above which a stem is a common prefix, such as ``rec_01``, and not a source."""


@dataclass(frozen=True)
class SharedStem:
    """Common stem of file names, as of parts of one recording.

    Attributes:
        pattern: regular expression of the stem.
        examples: two paths with the same stem.
    """

    pattern: str
    examples: tuple[str, str]


def shared_stem(manifest: Manifest) -> SharedStem | None:
    """Find the first of :data:`STEM_PATTERNS` that gives half of the recordings a stem in common with another one.

    Both recordings must be of one class. Patterns whose stems are probably names of classes or common prefixes are
    skipped. The result is None if no pattern remains.
    """
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
    """Number the sets of clips that overlap across splits, directly or through others; -1 for all other clips.

    Args:
        clips: rows of a manifest.
        content: number of each clip's recording content.
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
        # Latest end of this split's segments that start up to here, and earliest start of the segments that start
        # from here on.
        ends = table["stop"].where(own, -np.inf).groupby(table["content"]).cummax()
        begins = table["start"].where(own, np.inf)[::-1].groupby(table["content"]).cummin()[::-1]
        crossing |= ~own & ((table["start"] < ends - ROUNDING) | (begins < table["stop"] - ROUNDING))
    table = table[crossing]
    reached = table.groupby("content")["stop"].cummax().groupby(table["content"]).shift()
    apart = ~(table["start"] < reached - ROUNDING)  # True for the first row, where `reached` is missing
    codes = np.full(len(clips), -1)
    codes[table.index] = apart.cumsum()
    return codes


def _in_several_splits(codes: Int64[np.ndarray, "rows"], manifest: Manifest) -> dict[int, list[str]]:
    """Codes that occur in more than one split, with their splits; -1 and background noise are ignored."""
    counted = (codes >= 0) & ~manifest.table["background"].to_numpy(dtype=bool)
    pairs = pd.DataFrame({"code": codes[counted], "split": manifest.table["split"].to_numpy()[counted]})
    pairs = pairs.drop_duplicates()
    several = pairs[pairs["code"].duplicated(keep=False)]
    found: dict[int, set[str]] = defaultdict(set)
    for code, split in zip(several["code"].tolist(), several["split"]):
        found[code].add(split)
    return {code: [split for split in SPLITS if split in splits] for code, splits in found.items()}


def _clips(rows: pd.DataFrame) -> str:
    """Describe clips with audio in common: path, split, and segment unless it is the whole recording."""
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
