"""Who is trained on, who chooses the epoch and who is tested; and a guard that they have nothing in common."""

import warnings
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np

from audio_lightning.data.manifest import SPLITS, TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.errors import DataError

SplitMethod = Literal["folds", "grouped", "stratified", "random", "all"]
Leakage = Literal["none found", "cannot be excluded", "present"]

MOST_SHOWN = 10


@dataclass(frozen=True)
class SplitPlan:
    """How clips are divided.

    Attributes:
        method: ``folds``: by the folds that come with the data. ``grouped``: by group, keeping the share of every
            class. ``stratified``: keeping the share of every class, whatever the groups. ``random``: at random, as
            some papers do. ``all``: everything is test, for evaluating on data of one's own.
        test_fold: the fold to test on; by default the last one.
        validation_fold: the fold that chooses the epoch; by default the next one present after the test fold.
        test_fraction: share of the clips to test on, where the split is made here.
        validation_fraction: share of the clips that choose the epoch, where the split is made here.
        seed: of a split made here.
    """

    method: SplitMethod
    test_fold: int | None = None
    validation_fold: int | None = None
    test_fraction: float = 0.2
    validation_fraction: float = 0.1
    seed: int = 0


def assign_splits(manifest: Manifest, plan: SplitPlan) -> None:
    """Fill the column ``split``.

    Raises:
        DataError: folds that the data lacks, or too little data to divide.
    """
    if plan.method == "all":
        manifest.table["split"] = TEST
        return
    if plan.method == "folds":
        _by_fold(manifest, plan)
    else:
        _by_fraction(manifest, plan)
    for split in SPLITS:
        if not len(manifest.rows(split)):
            raise DataError(
                f"the {split} part has no clips: {len(manifest)} clips cannot be divided by data.split={plan.method}"
            )


def guard_groups(manifest: Manifest, plan: SplitPlan, *, allow: bool) -> Leakage:
    """Check that no group (source recording, speaker, note) is in two splits.

    Returns:
        What can be said about leakage.

    Raises:
        DataError: groups in two splits, each named, unless ``allow`` or a method that ignores groups by its name.
    """
    if not manifest.knows_groups:
        return "cannot be excluded"
    leaks = _in_several_splits(manifest.table["group"].to_numpy(), manifest)
    if leaks and not allow and plan.method not in ("random", "stratified"):
        raise DataError(_leak_message("group", leaks))
    return "present" if leaks else "none found"


def guard_content(manifest: Manifest, hashes: list[str | None], plan: SplitPlan, *, allow: bool) -> Leakage:
    """Check that no two clips in different splits have the same samples.

    Args:
        manifest: with splits assigned.
        hashes: of every clip's decoded samples; None for silence, which may recur.
        plan: how the splits came about.
        allow: let it pass.

    Raises:
        DataError: equal clips in two splits, each pair named, unless ``allow`` or ``data.split=random``.
    """
    contents = np.array([digest or f"silence {row}" for row, digest in enumerate(hashes)], dtype=object)
    leaks = _in_several_splits(contents, manifest)
    if leaks and not allow and plan.method != "random":
        named = {_clips_with(contents, content, manifest): splits for content, splits in leaks.items()}
        raise DataError(_leak_message("content", named))
    return "present" if leaks else "none found"


def _by_fold(manifest: Manifest, plan: SplitPlan) -> None:
    folds = manifest.table["fold"].to_numpy()
    present = [int(fold) for fold in np.unique(folds) if fold >= 0]
    if len(present) < 3:
        raise DataError(
            f"data.split=folds needs three folds (training, validation, test), the data has {present or 'none'}; "
            "choose data.split=grouped or data.split=stratified"
        )
    test = present[-1] if plan.test_fold is None else plan.test_fold
    following = present[(present.index(test) + 1) % len(present)] if test in present else None
    validation = following if plan.validation_fold is None else plan.validation_fold
    for name, fold in (("test_fold", test), ("validation_fold", validation)):
        if fold not in present:
            raise DataError(f"data.{name}={fold}: the data has the folds {', '.join(map(str, present))}")
    if test == validation:
        raise DataError(
            f"data.validation_fold={validation} is the test fold, and choosing the epoch on it would be testing on "
            f"what was chosen; leave it out for fold {following}"
        )
    split = np.full(len(manifest), TRAIN, dtype=object)
    split[folds == validation] = VALIDATION
    split[folds == test] = TEST
    manifest.table["split"] = split


def _by_fraction(manifest: Manifest, plan: SplitPlan) -> None:
    """First the test part is taken off, then the validation part from what is left."""
    if plan.test_fraction + plan.validation_fraction >= 1:
        raise DataError(
            f"data.test_fraction={plan.test_fraction} and data.validation_fraction={plan.validation_fraction} "
            "leave nothing to train on: expected less than 1 together"
        )
    if plan.method == "grouped" and not manifest.knows_groups:
        raise DataError("data.split=grouped needs groups, which this data set does not have: use data.split=stratified")
    split = np.full(len(manifest), TRAIN, dtype=object)
    rows = np.arange(len(manifest))
    test = _draw(manifest, rows, plan.test_fraction, plan)
    split[test] = TEST
    rows = np.setdiff1d(rows, test)
    rest = plan.validation_fraction / (1 - plan.test_fraction)
    split[_draw(manifest, rows, rest, plan)] = VALIDATION
    manifest.table["split"] = split


def _draw(manifest: Manifest, rows: np.ndarray, fraction: float, plan: SplitPlan) -> np.ndarray:
    """Some of ``rows``: about ``fraction`` of them, as the plan's method divides."""
    rng = np.random.RandomState(plan.seed)
    if plan.method == "random":
        return rng.permutation(rows)[: round(fraction * len(rows))]
    from sklearn.model_selection import StratifiedGroupKFold

    groups = manifest.table["group"].to_numpy() if plan.method == "grouped" else np.arange(len(manifest))
    # A share of 1/n is one of n parts of equal size; sklearn has no stratified and grouped split by share.
    parts = max(2, round(1 / fraction))
    if len(np.unique(groups[rows])) < parts:
        raise DataError(
            f"a share of {fraction:.2f} needs at least {parts} groups, the data has {len(np.unique(groups[rows]))}"
        )
    divide = StratifiedGroupKFold(parts, shuffle=True, random_state=rng)
    with warnings.catch_warnings():  # a class with fewer clips than parts is reported by `check`, not here
        warnings.simplefilter("ignore", UserWarning)
        _, drawn = next(divide.split(rows, manifest.targets()[rows], groups[rows]))
    return rows[drawn]


def _in_several_splits(keys: np.ndarray, manifest: Manifest) -> dict[str, list[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for key, split in zip(keys, manifest.table["split"]):
        found[key].add(split)
    return {
        str(key): [split for split in SPLITS if split in splits] for key, splits in found.items() if len(splits) > 1
    }


def _clips_with(contents: np.ndarray, content: str, manifest: Manifest) -> str:
    rows = manifest.table.iloc[np.flatnonzero(contents == content)]
    return " = ".join(f"{path} ({split})" for path, split in zip(rows["path"], rows["split"]))


def _leak_message(kind: str, leaks: dict[str, list[str]]) -> str:
    lines = [f"  {kind} {key}: in {' and '.join(splits)}" for key, splits in list(leaks.items())[:MOST_SHOWN]]
    if (rest := len(leaks) - MOST_SHOWN) > 0:
        lines.append(f"  ... and {rest} more")
    what = "the same source" if kind == "group" else "the same audio"
    return "\n".join(
        [
            f"the splits leak: {what} is in more than one of them {len(leaks)} times, so the test would flatter; "
            "mend the data, or accept it with data.allow_leakage=true, which is written into the results:",
            *lines,
        ]
    )
