"""Train, validation and test splits."""

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
"""Keys of ``data`` that determine the test and validation clips."""

MOST_NAMED = 5
"""Maximum number of classes that an error message lists."""


@dataclass(frozen=True)
class SplitPlan(Settings):
    """How clips are split.

    Attributes:
        split: ``official``: the split of the data set; a missing part is drawn from its training part. ``folds``: the
            folds of the data set. ``grouped`` (or ``speaker``, if the groups are speakers): by group, with the same
            share of every class. ``stratified``: with the same share of every class, ignoring groups. ``random``: at
            random, as in some papers. ``train_only``: all clips for training except a validation part, drawn by group
            if groups are known. ``all``: all clips for testing, to evaluate on other data. ``auto``: the first of
            official, folds, grouped and stratified that the data allows.
        test_fold: fold for testing; by default the last one.
        validation_fold: fold that selects the epoch; by default the next existing fold after the test fold (after the
            last fold, the first one).
        test_fraction: share of the clips for testing in a randomly drawn split.
        validation_fraction: share of the clips that select the epoch in a randomly drawn split; 0 for no such clips.
            Splits by folds ignore it.
        seed: seed of a randomly drawn split and of the batch order.
        folds: number of folds to draw, instead of the folds of the data set. Clips are then split by folds, unless
            ``split`` is ``train_only`` or ``all``.
        train_on_validation: also train on the clips of the validation part.
        train_share: share of the training part to train on, for learning curves: whole groups, with the same share of
            every class, and at least one group of each class. The other parts are not changed.
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
        """Parts that must not be empty after a split by ``method``, which this plan selected."""
        if method == "all":
            return (TEST,)
        validated = (method == "folds" or self.validation_fraction > 0) and not self.train_on_validation
        parts = {TRAIN: True, VALIDATION: validated, TEST: method != "train_only"}
        return tuple(part for part in SPLITS if parts[part])


def assign_splits(manifest: Manifest, plan: SplitPlan) -> SplitMethod:
    """Fill the column ``split``, and ``fold`` if folds are drawn; clips that ``train_share`` leaves out have ``""``.

    Returns:
        The method: the plan's own, or the one that ``auto`` and a number of folds select.

    Raises:
        DataError: a fold that the data lacks, an invalid share, too little data, or a setting of the plan without
            effect.
    """
    method = _method(manifest, plan)
    given = manifest.table["split"]
    _refuse_idle_settings(manifest, plan, method)
    _assign(manifest, plan, method)
    if plan.train_share != 1:
        _leave_out(manifest, plan, method)
    for split in plan.parts(method):
        if not len(manifest.rows(split)):
            remedy = f"{len(manifest)} clips cannot be split by data.split={method}"
            if method == "official":
                remedy += "; choose data.split=grouped or data.folds=5"
            elif method in ("grouped", "speaker", "stratified", "random", "train_only"):
                asked = manifest.with_table(manifest.table.assign(split=given))
                remedy = too_few(asked, replace(plan, split=method), method, _divides)
            raise DataError(f"the {split} split has no clips: {remedy}")
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
    """Remove clips from the training part until a share of it is left."""
    if not 0 < plan.train_share <= 1:
        raise DataError(f"data.train_share={plan.train_share}: expected a number greater than 0 and at most 1")
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
    """Whether a plan gives every part a clip of every class; the manifest is not changed."""
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
    """Refuse a fold setting if clips are not split by folds.

    Other settings without effect are only noted: a fraction with folds, or a fold setting if all clips are for training
    or for testing.

    Raises:
        DataError: a setting without effect; the message names it.
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
    """Assign a fold from 1 to ``folds`` to every clip: groups stay whole, and classes keep their share.

    Raises:
        DataError: fewer than three folds, fewer groups than folds, or no class with as many groups.
    """
    if folds < 3:
        raise DataError(f"data.folds={folds}: expected at least 3, one each for training, validation and test")
    groups, names = pd.factorize(source_of(manifest))
    if len(names) < folds:
        raise DataError(
            f"data.folds={folds}: needs at least {folds} groups, the data has {len(names)}; choose fewer folds"
        )
    strata = _strata(manifest)
    # Number of groups of each class. `check` reports single classes with too few groups.
    number = np.bincount(np.unique(groups * (strata.max() + 1) + strata) % (strata.max() + 1))
    if number.max() < folds:
        what = "clips" if len(names) == len(manifest) else "groups of clips"
        found = [f"{name} {count}" for name, count in zip((*manifest.classes, "no label"), number) if count]
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise DataError(
            f"data.folds={folds}: every class has fewer {what} ({', '.join(found[:MOST_NAMED])}{more}), so "
            "it would be missing in some folds; "
            + (f"expected at most {number.max()}" if number.max() >= 3 else "folds need at least 3 of a class")
        )
    rng = np.random.RandomState(seed)
    if len(names) == len(manifest):
        return deal_singly(strata, folds, rng) + 1
    return deal_groups(_counts(groups, strata), folds, rng)[groups] + 1


def source_of(manifest: Manifest) -> np.ndarray:
    """Identifier of the clips that must stay in one split: the group, or else the file."""
    group = manifest.table["group"].to_numpy(dtype=object)
    path = manifest.table["path"].to_numpy(dtype=object)
    return np.where(group == "", path, group)


def _method(manifest: Manifest, plan: SplitPlan) -> SplitMethod:
    if plan.folds is not None and plan.split not in ("train_only", "all"):
        return "folds"
    table = manifest.table
    given = bool((table["split"] != "").any())
    if plan.split == "official" and not given:
        raise DataError("data.split=official: this data has no official split; choose data.split=auto")
    if plan.split != "auto":
        return plan.split
    if given:
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
            f"data.validation_fold={validation} is the test fold, which must not select the epoch; leave it "
            f"out to use fold {following}"
        )
    manifest.table["split"] = np.select([folds == test, folds == validation], [TEST, VALIDATION], TRAIN)


def _complete_official(manifest: Manifest, plan: SplitPlan) -> None:
    split = manifest.table["split"].to_numpy(dtype=object)
    if (unsaid := int((split == "").sum())) > 0:
        raise DataError(
            f"data.split=official: {unsaid} of {len(split)} clips have no split; "
            "choose data.split=grouped or data.split=stratified"
        )
    method: SplitMethod = "grouped" if manifest.knows_groups else "stratified"
    for name, fraction in ((TEST, plan.test_fraction), (VALIDATION, plan.validation_fraction)):
        if not (split == name).any():
            _check_share(name, fraction)
            split[_draw(manifest, np.flatnonzero(split == TRAIN), fraction, method, plan.seed)] = name
    manifest.table["split"] = split


def _by_fraction(manifest: Manifest, method: SplitMethod, plan: SplitPlan) -> None:
    """Draw the test part first, then the validation part from the rest."""
    _check_share(TEST, plan.test_fraction)
    _check_share(VALIDATION, plan.validation_fraction)
    if plan.test_fraction + plan.validation_fraction >= 1:
        raise DataError(
            f"data.test_fraction={plan.test_fraction} and data.validation_fraction={plan.validation_fraction} "
            "leave nothing to train on; expected a sum below 1"
        )
    if method in ("grouped", "speaker") and not manifest.knows_groups:
        raise DataError(
            f"data.split={method} needs groups, which this data set does not have; use data.split=stratified"
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
    """Use all clips for training except a validation part, even if the data has a split."""
    _check_share(VALIDATION, plan.validation_fraction)
    split = np.full(len(manifest), TRAIN, dtype=object)
    method: SplitMethod = "grouped" if manifest.knows_groups else "stratified"
    split[_draw(manifest, np.arange(len(manifest)), plan.validation_fraction, method, plan.seed)] = VALIDATION
    manifest.table["split"] = split


def _check_share(part: str, fraction: float) -> None:
    """Check a fraction; the validation part may be empty, the test part may not."""
    if part == TEST and not 0 < fraction < 1:
        raise DataError(
            f"data.test_fraction={fraction}: expected a number greater than 0 and less than 1; "
            "data.split=train_only has no test part"
        )
    if not 0 <= fraction < 1:
        raise DataError(f"data.{part}_fraction={fraction}: expected a number of at least 0 and less than 1")


def _draw(manifest: Manifest, rows: np.ndarray, fraction: float, method: SplitMethod, seed: int) -> np.ndarray:
    """Draw about ``fraction`` of ``rows`` by the given method; none for a fraction of 0."""
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
    """Number of clips of every class in each group."""
    counts = np.zeros((groups.max() + 1, strata.max() + 1), dtype=np.int64)
    np.add.at(counts, (groups, strata), 1)
    return counts


def _strata(manifest: Manifest) -> Int64[np.ndarray, "clips"]:
    """Stratum of every clip: its class, the rarest of several, or a stratum of its own for clips without labels."""
    targets = manifest.targets()
    if targets.ndim == 1:
        return targets
    rarest_first = np.argsort(targets.sum(axis=0))
    rarest = np.where(targets > 0, np.argsort(rarest_first), targets.shape[1]).min(axis=1)
    return np.append(rarest_first, targets.shape[1])[rarest].astype(np.int64)
