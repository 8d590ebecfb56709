"""Who is trained on, who chooses the epoch and who is tested."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64

from audio_lightning.data.manifest import SPLITS, TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.errors import DataError

SplitMethod = Literal["auto", "official", "folds", "grouped", "speaker", "stratified", "random", "train_only", "all"]

CANDIDATES = 256
"""Groups that are compared for each one that is drawn."""

MOST_FRUITLESS = 16
"""How often so many groups are compared without finding a good one before no more is drawn."""


@dataclass(frozen=True)
class SplitPlan:
    """How clips are divided.

    Attributes:
        method: ``official``: as the data itself says; a part that it lacks is drawn from its training part.
            ``folds``: by the folds that come with the data. ``grouped`` (or ``speaker``, where speakers are the
            groups): by group, keeping the share of every class. ``stratified``: keeping the share of every class,
            whatever the groups. ``random``: at random, as some papers do. ``train_only``: everything trains but a
            validation part, drawn by group where there are groups; with a ``validation_fraction`` of 0 really
            everything. ``all``: everything is test, for evaluating on data of one's own. ``auto``: the first of
            official, folds, grouped and stratified that the data allows.
        test_fold: the fold to test on; by default the last one.
        validation_fold: the fold that chooses the epoch; by default the next one present after the test fold.
        test_fraction: share of the clips to test on, where the split is made here.
        validation_fraction: share of the clips that choose the epoch, where the split is made here.
        seed: of a split made here.
        folds: number of folds to make, in place of those that come with the data; clips are then divided by them.
        train_on_validation: once the clips are divided, let those of the validation part train, too.
    """

    method: SplitMethod
    test_fold: int | None = None
    validation_fold: int | None = None
    test_fraction: float = 0.2
    validation_fraction: float = 0.1
    seed: int = 0
    folds: int | None = None
    train_on_validation: bool = False

    def parts(self, method: SplitMethod) -> tuple[str, ...]:
        """The parts that must not be empty when ``method``, chosen by this plan, has divided the clips."""
        if method == "all":
            return (TEST,)
        parts: tuple[str, ...] = SPLITS
        if method == "train_only":
            parts = (TRAIN, VALIDATION) if self.validation_fraction else (TRAIN,)
        return tuple(part for part in parts if part != VALIDATION or not self.train_on_validation)


def assign_splits(manifest: Manifest, plan: SplitPlan) -> SplitMethod:
    """Fill the column ``split``, and ``fold`` where folds are made.

    Returns:
        The method: the plan's own, or what ``auto`` and a number of folds came to.

    Raises:
        DataError: folds that the data lacks, or too little data to divide.
    """
    method = _method(manifest, plan)
    if method == "all":
        manifest.table["split"] = TEST
        return method
    if method == "folds" and plan.folds is not None:
        manifest.table["fold"] = make_folds(manifest, plan.folds, plan.seed)
    if method == "folds":
        _by_fold(manifest, plan)
    elif method == "official":
        _complete_official(manifest, plan)
    elif method == "train_only":
        _without_test(manifest, plan)
    else:
        _by_fraction(manifest, method, plan)
    if plan.train_on_validation:
        manifest.table["split"] = manifest.table["split"].replace(VALIDATION, TRAIN)
    for split in plan.parts(method):
        if not len(manifest.rows(split)):
            remedy = "; choose data.split=grouped or data.folds=5" if method == "official" else ""
            raise DataError(
                f"the {split} part has no clips: {len(manifest)} clips cannot be divided by data.split={method}{remedy}"
            )
    return method


def make_folds(manifest: Manifest, folds: int, seed: int) -> Int64[np.ndarray, "clips"]:
    """A fold from 1 to ``folds`` for every clip: groups stay whole, classes keep their share.

    Raises:
        DataError: fewer groups than folds, or fewer than three folds.
    """
    if folds < 3:
        raise DataError(f"data.folds={folds}: expected at least 3, one each to train, to choose the epoch and to test")
    parts = _parts(manifest, np.arange(len(manifest)), folds, np.random.RandomState(seed), grouped=True)
    fold = np.empty(len(manifest), dtype=np.int64)
    for number, part in enumerate(parts, 1):
        fold[part] = number
    return fold


def source_of(manifest: Manifest) -> np.ndarray:
    """What each clip must not be parted from: its group, or else the file that it is in."""
    group = manifest.table["group"].to_numpy(dtype=object)
    path = manifest.table["path"].to_numpy(dtype=object)
    return np.where(group == "", path, group)


def _method(manifest: Manifest, plan: SplitPlan) -> SplitMethod:
    if plan.folds is not None and plan.method not in ("train_only", "all"):
        return "folds"
    table = manifest.table
    said = bool((table["split"] != "").any())
    if plan.method == "official" and not said:
        raise DataError("data.split=official: this data does not say how it is divided; choose data.split=auto")
    if plan.method != "auto":
        return plan.method
    if said:
        return "official"
    if table["fold"][table["fold"] >= 0].nunique() >= 3:
        return "folds"
    return "grouped" if manifest.knows_groups else "stratified"


def _by_fold(manifest: Manifest, plan: SplitPlan) -> None:
    folds = manifest.table["fold"].to_numpy()
    present = [int(fold) for fold in np.unique(folds) if fold >= 0]
    if len(present) < 3:
        raise DataError(
            f"data.split=folds needs three folds (training, validation, test), the data has {present or 'none'}; "
            "choose data.folds=5, data.split=grouped or data.split=stratified"
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
    manifest.table["split"] = np.select([folds == test, folds == validation], [TEST, VALIDATION], TRAIN)


def _complete_official(manifest: Manifest, plan: SplitPlan) -> None:
    split = manifest.table["split"].to_numpy(dtype=object)
    if (unsaid := int((split == "").sum())) > 0:
        raise DataError(
            f"data.split=official: {unsaid} of {len(split)} clips do not say to which split they belong; "
            "choose data.split=grouped or data.split=stratified"
        )
    method: SplitMethod = "grouped" if manifest.knows_groups else "stratified"
    for name, fraction in ((TEST, plan.test_fraction), (VALIDATION, plan.validation_fraction)):
        if not (split == name).any():
            split[_draw(manifest, np.flatnonzero(split == TRAIN), fraction, method, plan.seed)] = name
    manifest.table["split"] = split


def _by_fraction(manifest: Manifest, method: SplitMethod, plan: SplitPlan) -> None:
    """First the test part is taken off, then the validation part from what is left."""
    if plan.test_fraction + plan.validation_fraction >= 1:
        raise DataError(
            f"data.test_fraction={plan.test_fraction} and data.validation_fraction={plan.validation_fraction} "
            "leave nothing to train on: expected less than 1 together"
        )
    if method in ("grouped", "speaker") and not manifest.knows_groups:
        raise DataError(
            f"data.split={method} needs groups, which this data set does not have: use data.split=stratified"
        )
    split = np.full(len(manifest), TRAIN, dtype=object)
    rows = np.arange(len(manifest))
    test = _draw(manifest, rows, plan.test_fraction, method, plan.seed)
    split[test] = TEST
    rows = np.setdiff1d(rows, test)
    rest = plan.validation_fraction / (1 - plan.test_fraction)
    split[_draw(manifest, rows, rest, method, plan.seed)] = VALIDATION
    manifest.table["split"] = split


def _without_test(manifest: Manifest, plan: SplitPlan) -> None:
    """All is trained on but the validation part, whatever the data says."""
    if not 0 <= plan.validation_fraction < 1:
        raise DataError(
            f"data.validation_fraction={plan.validation_fraction}: expected a share of at least 0 and less than 1"
        )
    split = np.full(len(manifest), TRAIN, dtype=object)
    if plan.validation_fraction:
        method: SplitMethod = "grouped" if manifest.knows_groups else "stratified"
        split[_draw(manifest, np.arange(len(manifest)), plan.validation_fraction, method, plan.seed)] = VALIDATION
    manifest.table["split"] = split


def _draw(manifest: Manifest, rows: np.ndarray, fraction: float, method: SplitMethod, seed: int) -> np.ndarray:
    """Some of ``rows``: about ``fraction`` of them, as the method divides."""
    if not len(rows):
        return rows
    rng = np.random.RandomState(seed)
    if method == "random":
        return rng.permutation(rows)[: round(fraction * len(rows))]
    keys = manifest.table["path"].to_numpy() if method == "stratified" else source_of(manifest)
    groups, names = pd.factorize(keys[rows])
    strata = _strata(manifest)[rows]
    if len(names) == len(rows):
        return rows[_draw_singly(strata, fraction, rng)]
    counts = np.zeros((len(names), len(manifest.classes) + 1), dtype=np.int64)
    np.add.at(counts, (groups, strata), 1)
    return rows[np.isin(groups, draw_groups(counts, fraction, rng))]


def _draw_singly(strata: Int64[np.ndarray, "clips"], fraction: float, rng: np.random.RandomState) -> np.ndarray:
    """Positions of some of the clips: the same share of every class, at least one of each that has three."""
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    counts = np.bincount(strata)
    wanted = np.maximum(np.rint(fraction * counts), counts >= 3).astype(np.int64)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[rank < wanted[strata[order]]])


def draw_groups(
    counts: Int64[np.ndarray, "groups classes"], fraction: float, rng: np.random.RandomState
) -> Int64[np.ndarray, "drawn"]:
    """Some of the groups, with about the same share of every class.

    Groups are added one by one, each the one that brings the shares of the classes nearest to ``fraction``, until none
    does any more. A class that then has no group drawn gets its smallest one, if two are left for the other parts of
    a split.

    Args:
        counts: clips of every class in every group.
        fraction: share to draw.
        rng: decides between groups that are alike.
    """
    total = counts.sum(axis=0)
    counts, share = counts[:, total > 0], 1.0 / total[total > 0]
    lacking = np.full(len(share), fraction)
    left, drawn = rng.permutation(len(counts)), list[int]()

    def best(some: np.ndarray) -> tuple[int, bool]:
        after = ((lacking - counts[some] * share) ** 2).sum(axis=1)
        place = int(after.argmin())
        return place, bool(after[place] < (lacking**2).sum())

    fruitless = 0
    while len(left) and fruitless < MOST_FRUITLESS and fruitless * CANDIDATES < len(left):
        # Among many groups there are good ones in any few of them.
        place, better = best(left[:CANDIDATES])
        if not better:
            left = np.roll(left, -CANDIDATES)
            fruitless += 1
            continue
        fruitless = 0
        drawn.append(int(left[place]))
        lacking = lacking - counts[left[place]] * share
        left[place] = left[-1]
        left = left[:-1]
    for column in np.flatnonzero(counts[drawn].sum(axis=0) == 0):
        holding = left[counts[left, column] > 0]
        if len(holding) > 2:
            chosen = holding[counts[holding].sum(axis=1).argmin()]
            drawn.append(int(chosen))
            left = left[left != chosen]
    return np.array(drawn, dtype=np.int64)


def _parts(
    manifest: Manifest, rows: np.ndarray, parts: int, rng: np.random.RandomState, *, grouped: bool
) -> list[np.ndarray]:
    """Positions within ``rows`` of parts of about equal size, in which classes have their share of clips."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    keys = source_of(manifest) if grouped else manifest.table["path"].to_numpy()
    groups, names = pd.factorize(keys[rows])
    if len(names) < parts:
        raise DataError(f"{parts} parts of equal size need at least {parts} groups, the data has {len(names)}")
    # The plain one is the same division where every clip stands for itself, and takes no time for each of them.
    kind = StratifiedGroupKFold if len(names) < len(rows) else StratifiedKFold
    divide = kind(parts, shuffle=True, random_state=rng)
    with warnings.catch_warnings():  # a class with fewer clips than parts is reported by `check`, not here
        warnings.simplefilter("ignore", UserWarning)
        return [part for _, part in divide.split(rows, _strata(manifest)[rows], groups)]


def _strata(manifest: Manifest) -> Int64[np.ndarray, "clips"]:
    """The class of every clip; the rarest one of a clip with several labels, and a stratum for those without any."""
    targets = manifest.targets()
    if targets.ndim == 1:
        return targets
    rarity = np.argsort(np.argsort(targets.sum(axis=0)))
    return np.where(targets > 0, rarity, targets.shape[1]).min(axis=1).astype(np.int64)
