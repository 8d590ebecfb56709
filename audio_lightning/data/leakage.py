"""A guard that no two splits have anything in common."""

from collections import defaultdict
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt8

from audio_lightning.data.manifest import SPLITS, Manifest
from audio_lightning.data.splits import SplitMethod, source_of
from audio_lightning.errors import DataError

Leakage = Literal["none found", "cannot be excluded", "present"]

MOST_SHOWN = 10

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
            f"the splits leak: {what} is in more than one of them ({len(leaks)} found), so the test would flatter; "
            "mend the data, or accept it with data.allow_leakage=true, which is written into the results:"
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
    """Check that no two clips in different splits have the same samples.

    Args:
        manifest: with splits assigned.
        recording: position of each row's recording.
        hashes: of every recording's decoded samples; all zeros for silence, which may recur.
        method: how the splits came about.
        allow: let it pass.

    Raises:
        LeakageError: equal clips in two splits, each pair named, unless ``allow`` or ``data.split=random``.
    """
    content = pd.DataFrame(
        {
            "hash": pd.factorize(np.ascontiguousarray(hashes).view("S16").reshape(-1))[0][recording],
            "start": manifest.table["start_seconds"].to_numpy(),
            "stop": manifest.table["stop_seconds"].to_numpy(),
        }
    )
    codes = content.groupby(["hash", "start", "stop"], dropna=False, sort=False).ngroup().to_numpy()
    has_sound = np.any(hashes, axis=1)
    leaks = _in_several_splits(np.where(has_sound[recording], codes, -1), manifest)
    if leaks and not allow and method != "random":
        raise LeakageError("content", {_clips(manifest, codes == code): splits for code, splits in leaks.items()})
    return "present" if leaks else "none found"


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


def _clips(manifest: Manifest, chosen: np.ndarray) -> str:
    rows = manifest.table[chosen]
    return " = ".join(f"{path} ({split})" for path, split in zip(rows["path"], rows["split"]))
