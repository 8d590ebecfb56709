"""Who is trained on, who chooses the epoch and who is tested."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64

from audio_lightning.core.errors import DataError
from audio_lightning.core.settings import Settings
from audio_lightning.data.manifest import SPLITS, TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.splitting.few_clips import too_few
from audio_lightning.data.splitting.group_sampling import deal_groups, deal_singly, draw_groups, draw_singly

SplitMethod = Literal["auto", "official", "folds", "grouped", "speaker", "stratified", "random", "train_only", "all"]

DIVIDING = (
    "split",
    "folds",
    "test_fold",
    "validation_fold",
    "test_fraction",
    "validation_fraction",
    "train_on_validation",
    "seed",
)
"""Keys of the data that say which clips are tested, and which choose the epoch."""

MOST_NAMED = 5
"""Classes that an error message names."""


@dataclass(frozen=True)
class SplitPlan(Settings):
    """How clips are divided.

    Attributes:
        split: ``official``: as the data itself says; a part that it lacks is drawn from its training part.
            ``folds``: by the folds that come with the data. ``grouped`` (or ``speaker``, where speakers are the
            groups): by group, keeping the share of every class. ``stratified``: keeping the share of every class,
            whatever the groups. ``random``: at random, as some papers do. ``train_only``: everything trains but a
            validation part, drawn by group where there are groups. ``all``: everything is test, for evaluating on data
            of one's own. ``auto``: the first of official, folds, grouped and stratified that the data allows.
        test_fold: the fold to test on; by default the last one.
        validation_fold: the fold that chooses the epoch; by default the next one present after the test fold.
        test_fraction: share of the clips to test on, where the split is made here.
        validation_fraction: share of the clips that choose the epoch, where the split is made here; with 0 there are
            no such clips. Folds are parts of their own.
        seed: of a split made here, and of the order of the batches; another one draws other clips or groups.
        folds: number of folds to make, in place of those that come with the data; clips are then divided by them.
        train_on_validation: once the clips are divided, let those of the validation part train, too.
        train_share: share of the training part that is trained on, for learning curves: whole groups, with the share of
            every class, and one group of each class at least. The other parts are not changed.
    """

    split: SplitMethod = "auto"
    test_fold: int | None = None
    validation_fold: int | None = None
    test_fraction: float = 0.2
    validation_fraction: float = 0.1
    seed: int = 0
    folds: int | None = None
    train_on_validation: bool = False
    train_share: float = 1.0

    def parts(self, method: SplitMethod) -> tuple[str, ...]:
        """The parts that must not be empty when ``method``, chosen by this plan, has divided the clips."""
        if method == "all":
            return (TEST,)
        validated = (method == "folds" or self.validation_fraction > 0) and not self.train_on_validation
        parts = {TRAIN: True, VALIDATION: validated, TEST: method != "train_only"}
        return tuple(part for part in SPLITS if parts[part])


def assign_splits(manifest: Manifest, plan: SplitPlan) -> SplitMethod:
    """Fill the column ``split``, and ``fold`` where folds are made; clips that ``train_share`` leaves out have ``""``.

    Returns:
        The method: the plan's own, or what ``auto`` and a number of folds came to.

    Raises:
        DataError: folds that the data lacks, shares that cannot be, too little data to divide, or a setting of the
            plan that has no effect.
    """
    method = _method(manifest, plan)
    said = manifest.table["split"]
    _refuse_idle_settings(manifest, plan, method)
    _assign(manifest, plan, method)
    if plan.train_share != 1:
        _leave_out(manifest, plan, method)
    for split in plan.parts(method):
        if not len(manifest.rows(split)):
            remedy = f"{len(manifest)} clips cannot be divided by data.split={method}"
            if method == "official":
                remedy += "; choose data.split=grouped or data.folds=5"
            elif method in ("grouped", "speaker", "stratified", "random", "train_only"):
                asked = manifest.with_table(manifest.table.assign(split=said))
                remedy = too_few(asked, replace(plan, split=method), method, _divides)
            raise DataError(f"the {split} part has no clips: {remedy}")
    return method


def _assign(manifest: Manifest, plan: SplitPlan, method: SplitMethod) -> None:
    if method == "all":
        manifest.table["split"] = TEST
        return
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


def _leave_out(manifest: Manifest, plan: SplitPlan, method: SplitMethod) -> None:
    """Take clips out of the training part until a share of it is left."""
    if not 0 < plan.train_share <= 1:
        raise DataError(f"data.train_share={plan.train_share}: expected a share of more than 0 and at most 1")
    if method == "all":
        manifest.notes.append(f"data.train_share={plan.train_share} has no effect with data.split=all")
        return
    unit: SplitMethod = method if method in ("stratified", "random") else "grouped"
    rows, strata = manifest.rows(TRAIN), _strata(manifest)
    out = _draw(manifest, rows, 1 - plan.train_share, unit, plan.seed)
    source = manifest.table["path"].to_numpy(dtype=object) if unit == "stratified" else source_of(manifest)
    for lacking in np.setdiff1d(strata[rows], strata[np.setdiff1d(rows, out)]):
        out = out[source[out] != source[out[strata[out] == lacking][0]]]
    manifest.table.loc[out, "split"] = ""


def _divides(manifest: Manifest, plan: SplitPlan) -> bool:
    """Whether a plan gives every part a clip of every class; the manifest is left as it is."""
    trial = manifest.with_table(manifest.table.copy())
    method = _method(trial, plan)
    try:
        _assign(trial, plan, method)
    except DataError:
        return False
    present = {name for label in trial.table["label"].unique() for name in trial.labels(label)}
    counts = (zip(trial.classes, trial.class_counts(split)) for split in plan.parts(method))
    return all(count > 0 for part in counts for name, count in part if name in present)


def _refuse_idle_settings(manifest: Manifest, plan: SplitPlan, method: SplitMethod) -> None:
    """Stop at a fold that was asked for where clips are not divided by folds.

    A setting that has no effect otherwise is noted: a share where there are folds, any where all is trained or tested
    on.

    Raises:
        DataError: names the setting.
    """
    made = {"folds": plan.folds, "test_fold": plan.test_fold, "validation_fold": plan.validation_fold}
    if method == "folds":
        usual = SplitPlan(plan.split)
        fractions = ("test_fraction", "validation_fraction")
        made = {name: getattr(plan, name) for name in fractions if getattr(plan, name) != getattr(usual, name)}
    idle = [f"data.{name}={value}" for name, value in made.items() if value is not None]
    if not idle:
        return
    what = f"{' and '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect with data.split={method}"
    if method in ("folds", "train_only", "all"):
        manifest.notes.append(what)
        return
    raise DataError(f"{what}; leave {'it' if len(idle) == 1 else 'them'} out, or make folds with data.folds=5")


def make_folds(manifest: Manifest, folds: int, seed: int) -> Int64[np.ndarray, "clips"]:
    """A fold from 1 to ``folds`` for every clip: groups stay whole, classes keep their share.

    Raises:
        DataError: fewer than three folds, fewer groups than folds, or no class with as many groups.
    """
    if folds < 3:
        raise DataError(f"data.folds={folds}: expected at least 3, one each to train, to choose the epoch and to test")
    groups, names = pd.factorize(source_of(manifest))
    if len(names) < folds:
        raise DataError(f"{folds} parts of equal size need at least {folds} groups, the data has {len(names)}")
    strata = _strata(manifest)
    # How many groups each class is in. Where only some are in too few, that is reported by `check`.
    number = np.bincount(np.unique(groups * (strata.max() + 1) + strata) % (strata.max() + 1))
    if number.max() < folds:
        what = "clips" if len(names) == len(manifest) else "groups of clips"
        found = [f"{name} {count}" for name, count in zip((*manifest.classes, "no label"), number) if count]
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise DataError(
            f"data.folds={folds}: every class has fewer {what} than that ({', '.join(found[:MOST_NAMED])}{more}), so "
            "it would be lacking in some of the folds: "
            + (
                f"expected at most {number.max()}"
                if number.max() >= 3
                else "3 of a class at least are needed for folds"
            )
        )
    rng = np.random.RandomState(seed)
    if len(names) == len(manifest):
        return deal_singly(strata, folds, rng) + 1
    return deal_groups(_counts(groups, strata), folds, rng)[groups] + 1


def source_of(manifest: Manifest) -> np.ndarray:
    """What each clip must not be parted from: its group, or else the file that it is in."""
    group = manifest.table["group"].to_numpy(dtype=object)
    path = manifest.table["path"].to_numpy(dtype=object)
    return np.where(group == "", path, group)


def _method(manifest: Manifest, plan: SplitPlan) -> SplitMethod:
    if plan.folds is not None and plan.split not in ("train_only", "all"):
        return "folds"
    table = manifest.table
    said = bool((table["split"] != "").any())
    if plan.split == "official" and not said:
        raise DataError("data.split=official: this data does not say how it is divided; choose data.split=auto")
    if plan.split != "auto":
        return plan.split
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
            f"data.validation_fold={validation} is the test fold, on which the epoch must not be chosen; leave it "
            f"out for fold {following}"
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
            _check_share(name, fraction)
            split[_draw(manifest, np.flatnonzero(split == TRAIN), fraction, method, plan.seed)] = name
    manifest.table["split"] = split


def _by_fraction(manifest: Manifest, method: SplitMethod, plan: SplitPlan) -> None:
    """First the test part is taken off, then the validation part from what is left."""
    _check_share(TEST, plan.test_fraction)
    _check_share(VALIDATION, plan.validation_fraction)
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
    _check_share(VALIDATION, plan.validation_fraction)
    split = np.full(len(manifest), TRAIN, dtype=object)
    method: SplitMethod = "grouped" if manifest.knows_groups else "stratified"
    split[_draw(manifest, np.arange(len(manifest)), plan.validation_fraction, method, plan.seed)] = VALIDATION
    manifest.table["split"] = split


def _check_share(part: str, fraction: float) -> None:
    """Nothing may choose the epoch, but a test of nothing is none."""
    if part == TEST and not 0 < fraction < 1:
        raise DataError(
            f"data.test_fraction={fraction}: expected a share of more than 0 and less than 1; "
            "data.split=train_only keeps nothing for a test"
        )
    if not 0 <= fraction < 1:
        raise DataError(f"data.{part}_fraction={fraction}: expected a share of at least 0 and less than 1")


def _draw(manifest: Manifest, rows: np.ndarray, fraction: float, method: SplitMethod, seed: int) -> np.ndarray:
    """Some of ``rows``: about ``fraction`` of them, as the method divides; none where it is 0."""
    if not len(rows) or not fraction:
        return rows[:0]
    rng = np.random.RandomState(seed)
    if method == "random":
        return rng.permutation(rows)[: round(fraction * len(rows))]
    keys = manifest.table["path"].to_numpy() if method == "stratified" else source_of(manifest)
    strata = _strata(manifest)[rows]
    groups, names = pd.factorize(keys[rows])
    if len(names) == len(rows):
        return rows[draw_singly(strata, fraction, rng)]
    return rows[np.isin(groups, draw_groups(_counts(groups, strata), fraction, rng))]


def _counts(
    groups: Int64[np.ndarray, "clips"], strata: Int64[np.ndarray, "clips"]
) -> Int64[np.ndarray, "groups classes"]:
    """How many clips of every class each group has."""
    counts = np.zeros((groups.max() + 1, strata.max() + 1), dtype=np.int64)
    np.add.at(counts, (groups, strata), 1)
    return counts


def _strata(manifest: Manifest) -> Int64[np.ndarray, "clips"]:
    """The class of every clip; the rarest one of a clip with several labels, and a stratum for those without any."""
    targets = manifest.targets()
    if targets.ndim == 1:
        return targets
    rarest_first = np.argsort(targets.sum(axis=0))
    rarest = np.where(targets > 0, np.argsort(rarest_first), targets.shape[1]).min(axis=1)
    return np.append(rarest_first, targets.shape[1])[rarest].astype(np.int64)
