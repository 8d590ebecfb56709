"""Who is in which part, and what the guard lets pass."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audio_lightning.data.manifest import SPLITS, TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.splits import SplitPlan, assign_splits, guard_content, guard_groups
from audio_lightning.errors import DataError


def manifest(groups: int = 60, clips: int = 3, folds: int = 5, *, named: bool = True) -> Manifest:
    """Groups of clips, of which two thirds are of class a; fold by group."""
    group = np.repeat(np.arange(groups), clips)
    table = pd.DataFrame(
        {
            "path": [f"{row}.wav" for row in range(len(group))],
            "label": np.where(group % 3 == 0, "b", "a"),
            "group": [f"g{number}" if named else "" for number in group],
            "fold": group % folds + 1,
        }
    )
    return Manifest(Path("."), table, ("a", "b"))


def folds_of(data: Manifest, split: str) -> set[int]:
    return set(data.table["fold"][data.rows(split)])


@pytest.mark.parametrize(
    ("test", "validation", "expected"),
    [
        (None, None, ({2, 3, 4}, {1}, {5})),
        (3, None, ({1, 2, 5}, {4}, {3})),
        (5, None, ({2, 3, 4}, {1}, {5})),
        (3, 2, ({1, 4, 5}, {2}, {3})),
    ],
)
def test_folds(test: int | None, validation: int | None, expected: tuple[set[int], ...]) -> None:
    data = manifest()
    assign_splits(data, SplitPlan("folds", test, validation))
    assert tuple(folds_of(data, split) for split in SPLITS) == expected


def test_the_next_fold_is_the_next_one_present() -> None:
    data = manifest()
    data = data.select(np.flatnonzero(data.table["fold"] != 4))
    assign_splits(data, SplitPlan("folds", 3))
    assert folds_of(data, VALIDATION) == {5}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (SplitPlan("folds", 7), r"data\.test_fold=7: the data has the folds 1, 2, 3, 4, 5"),
        (SplitPlan("folds", 1, 8), r"data\.validation_fold=8: the data has the folds 1, 2, 3, 4, 5"),
        (SplitPlan("folds", 2, 2), r"data\.validation_fold=2 is the test fold"),
        (SplitPlan("grouped", test_fraction=0.6, validation_fraction=0.5), "leave nothing to train on"),
    ],
)
def test_splits_that_cannot_be_made(plan: SplitPlan, message: str) -> None:
    with pytest.raises(DataError, match=message):
        assign_splits(manifest(), plan)


def test_two_folds_are_too_few() -> None:
    with pytest.raises(DataError, match=r"needs three folds .* the data has \[1, 2\]"):
        assign_splits(manifest(folds=2), SplitPlan("folds"))


@pytest.mark.parametrize("method", ["grouped", "stratified", "random"])
@pytest.mark.parametrize("seed", [0, 1])
def test_shares(method: str, seed: int) -> None:
    data = manifest()
    assign_splits(data, SplitPlan(method, seed=seed))
    sizes = {split: len(data.rows(split)) for split in SPLITS}
    assert sizes[TEST] == pytest.approx(0.2 * len(data), abs=6)
    assert sizes[VALIDATION] == pytest.approx(0.1 * len(data), abs=6)
    if method != "random":
        for split in SPLITS:
            share = (data.table["label"][data.rows(split)] == "a").mean()
            assert share == pytest.approx(2 / 3, abs=0.12)


def test_grouped_keeps_groups_whole_and_others_do_not() -> None:
    for method in ("grouped", "stratified", "random"):
        data = manifest()
        assign_splits(data, SplitPlan(method))
        splits_a_group = data.table.groupby("group")["split"].nunique()
        assert (splits_a_group.max() == 1) == (method == "grouped")


@pytest.mark.parametrize("method", ["grouped", "stratified", "random"])
def test_the_seed_decides(method: str) -> None:
    def split(seed: int) -> list[str]:
        data = manifest()
        assign_splits(data, SplitPlan(method, seed=seed))
        return list(data.table["split"])

    assert split(0) == split(0)
    assert split(0) != split(1)


def test_all_is_test() -> None:
    data = manifest()
    assign_splits(data, SplitPlan("all"))
    assert set(data.table["split"]) == {TEST}


def test_grouped_needs_groups() -> None:
    with pytest.raises(DataError, match="needs groups"):
        assign_splits(manifest(named=False), SplitPlan("grouped"))


def leaking() -> Manifest:
    """Group g7 has a clip in fold 3 and others in fold 1."""
    data = manifest(groups=10)
    data.table.loc[data.table.index[data.table["group"] == "g7"][:1], "fold"] = 1
    assign_splits(data, SplitPlan("folds", 3, 4))
    return data


def test_a_group_in_two_splits_stops_the_run_by_name() -> None:
    with pytest.raises(DataError, match="group g7: in train and test"):
        guard_groups(leaking(), SplitPlan("folds"), allow=False)


def test_leakage_can_be_allowed_and_is_said() -> None:
    assert guard_groups(leaking(), SplitPlan("folds"), allow=True) == "present"
    data = manifest()
    assign_splits(data, SplitPlan("random"))
    assert guard_groups(data, SplitPlan("random"), allow=False) == "present"


def test_without_groups_nothing_can_be_excluded() -> None:
    data = manifest(named=False)
    assign_splits(data, SplitPlan("stratified"))
    assert guard_groups(data, SplitPlan("stratified"), allow=False) == "cannot be excluded"


def test_clean_splits_pass() -> None:
    data = manifest()
    assign_splits(data, SplitPlan("folds"))
    assert guard_groups(data, SplitPlan("folds"), allow=False) == "none found"


def test_the_same_audio_in_two_splits_stops_the_run_by_name() -> None:
    data = manifest(groups=5, clips=1)
    assign_splits(data, SplitPlan("folds"))
    hashes: list[str | None] = ["same", "b", "c", "d", "same"]
    with pytest.raises(DataError, match=r"content 0\.wav \(validation\) = 4\.wav \(test\): in validation and test"):
        guard_content(data, hashes, SplitPlan("folds"), allow=False)
    assert guard_content(data, hashes, SplitPlan("folds"), allow=True) == "present"


def test_silence_may_recur_and_copies_within_a_split_are_no_leak() -> None:
    data = manifest(groups=5, clips=1)
    assign_splits(data, SplitPlan("folds"))
    assert data.rows(TRAIN).tolist() == [1, 2, 3]
    assert guard_content(data, [None, "same", "same", "d", None], SplitPlan("folds"), allow=False) == "none found"
