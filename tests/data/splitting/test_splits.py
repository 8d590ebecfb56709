"""Train, validation and test splits."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audio_lightning.core.errors import DataError
from audio_lightning.data.manifest import SPLITS, TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.splitting.splits import SplitPlan, assign_splits, make_folds


def manifest(groups: int = 60, clips: int = 3, folds: int = 5, *, named: bool = True) -> Manifest:
    """Groups of clips, two thirds of class a; folds by group."""
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
def test_impossible_splits(plan: SplitPlan, message: str) -> None:
    with pytest.raises(DataError, match=message):
        assign_splits(manifest(), plan)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            SplitPlan("stratified", test_fold=1),
            r"data\.test_fold=1 has no effect with data\.split=stratified; leave it",
        ),
        (
            SplitPlan("grouped", 1, 2),
            r"data\.test_fold=1 and data\.validation_fold=2 have no effect .*; leave them out",
        ),
        (SplitPlan("random", validation_fold=2), r"data\.validation_fold=2 .* out, or make folds with data\.folds=5"),
    ],
)
def test_fold_setting_without_effect_is_refused(plan: SplitPlan, message: str) -> None:
    with pytest.raises(DataError, match=message):
        assign_splits(manifest(), plan)


@pytest.mark.parametrize(
    ("plan", "note"),
    [
        (SplitPlan("train_only", test_fold=1, folds=5), "data.folds=5 and data.test_fold=1 have no effect with data."),
        (SplitPlan("all", validation_fold=1), "data.validation_fold=1 has no effect with data.split=all"),
        (SplitPlan("auto", folds=4, test_fraction=0.3), "data.test_fraction=0.3 has no effect with data.split=folds"),
    ],
)
def test_other_settings_without_effect_are_noted(plan: SplitPlan, note: str) -> None:
    data = manifest()
    assign_splits(data, plan)
    assert len(data.notes) == 1
    assert data.notes[0].startswith(note)


def few(clips: int, classes: int = 3, *, named: bool = False) -> Manifest:
    labels = np.repeat([f"c{number}" for number in range(classes)], clips)
    table = pd.DataFrame({"path": [f"{row}.wav" for row in range(len(labels))], "label": labels})
    table["group"] = table["path"] if named else ""
    return Manifest(Path("."), table, tuple(sorted(set(labels))))


@pytest.mark.parametrize(
    ("data", "plan", "message"),
    [
        (few(3), SplitPlan("auto"),
         "the validation split has no clips: 3 clips per class are too few for data.split=stratified in shares of "
         "70/10/20 %; record at least 4 clips of every class, or data.test_fraction=0.25 "
         "data.validation_fraction=0.25, or data.folds=3"),
        (few(3, named=True), SplitPlan("auto"),
         "3 groups per class are too few for data.split=grouped in shares of 70/10/20 %; record at least 4 groups of "
         "every class, or data.test_fraction=0.25 data.validation_fraction=0.25, or data.folds=3"),
        (few(2), SplitPlan("auto"), "2 clips per class are too few for data.split=stratified in shares of 70/10/20 %; "
         "record at least 4 clips of every class, or data.test_fraction=0.5 data.validation_fraction=0.0"),
        (few(1), SplitPlan("auto"), "1 clip per class is too few for data.split=stratified in shares of 70/10/20 %; "
         "record at least 4 clips of every class"),
        (few(2), SplitPlan("train_only"),
         "2 clips per class are too few for data.split=train_only in shares of 90/10 %; "
         "record at least 3 clips of every class, or data.validation_fraction=0.0"),
        (few(2, classes=1), SplitPlan("random"), "2 clips per class are too few for data.split=random"),
    ],
)  # fmt: skip
def test_too_few_clips_suggest_working_settings(data: Manifest, plan: SplitPlan, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        assign_splits(data, plan)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("named", [False, True])
def test_suggested_settings_work(named: bool) -> None:
    """The suggestions of the message above are tried."""
    for data, plan in (
        (few(3, named=named), SplitPlan("auto", test_fraction=0.25, validation_fraction=0.25)),
        (few(3, named=named), SplitPlan("auto", folds=3)),
        (few(4, named=named), SplitPlan("auto")),
    ):
        assign_splits(data, plan)
        assert all(min(data.class_counts(split)) > 0 for split in SPLITS)


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


def test_split_all_is_for_testing() -> None:
    data = manifest()
    assign_splits(data, SplitPlan("all"))
    assert set(data.table["split"]) == {TEST}


@pytest.mark.parametrize("named", [True, False])
def test_train_only_keeps_a_validation_part(named: bool) -> None:
    data = manifest(named=named)
    data.table["split"] = TEST
    assert assign_splits(data, SplitPlan("train_only", folds=5)) == "train_only"
    assert set(data.table["split"]) == {TRAIN, VALIDATION}
    assert len(data.rows(VALIDATION)) == pytest.approx(0.1 * len(data), abs=3)
    if named:
        assert data.table.groupby("group")["split"].nunique().max() == 1
    assign_splits(data, SplitPlan("train_only", validation_fraction=0.0))
    assert set(data.table["split"]) == {TRAIN}


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_train_only_needs_a_share_to_validate_on(fraction: float) -> None:
    with pytest.raises(DataError, match=rf"data\.validation_fraction={fraction}: expected a number of at least 0"):
        assign_splits(manifest(), SplitPlan("train_only", validation_fraction=fraction))


def test_train_only_with_too_few_clips_to_validate_on() -> None:
    with pytest.raises(DataError, match=r"the validation split has no clips: 1 group per class is too few"):
        assign_splits(manifest(groups=1), SplitPlan("train_only"))


def test_grouped_needs_groups() -> None:
    with pytest.raises(DataError, match="needs groups"):
        assign_splits(manifest(named=False), SplitPlan("grouped"))


@pytest.mark.parametrize(
    ("official", "folds", "named", "method"),
    [
        (True, 5, True, "official"),
        (False, 5, True, "folds"),
        (False, 2, True, "grouped"),
        (False, 1, False, "stratified"),
    ],
)
def test_auto_takes_the_first_that_the_data_allows(official: bool, folds: int, named: bool, method: str) -> None:
    data = manifest(folds=folds, named=named)
    if official:
        data.table["split"] = [SPLITS[row % 3] for row in range(len(data))]
    assert assign_splits(data, SplitPlan("auto")) == method


def test_the_official_split_is_kept() -> None:
    data = manifest()
    said = [SPLITS[row % 3] for row in range(len(data))]
    data.table["split"] = said
    assert assign_splits(data, SplitPlan("official")) == "official"
    assert list(data.table["split"]) == said


@pytest.mark.parametrize("lacking", [VALIDATION, TEST])
def test_a_part_that_the_official_split_lacks_is_drawn_from_training(lacking: str) -> None:
    data = manifest(groups=90)
    other = {VALIDATION: TEST, TEST: VALIDATION}[lacking]
    data.table["split"] = np.where(data.table["fold"] == 1, other, TRAIN)
    assign_splits(data, SplitPlan("official", test_fraction=0.25, validation_fraction=0.25))
    assert folds_of(data, other) == {1}
    assert 1 not in folds_of(data, lacking)
    assert len(data.rows(lacking)) == pytest.approx(0.25 * 0.8 * len(data), abs=9)
    assert not set(data.table["group"][data.rows(lacking)]) & set(data.table["group"][data.rows(TRAIN)])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([""] * 180, "has no official split"),
        ([TEST] * 179 + [""], "1 of 180 clips have no split"),
        (
            [TEST] * 180,
            r"the train split has no clips.*data\.split=official; choose data\.split=grouped or data\.folds=5",
        ),
    ],
)
def test_incomplete_official_split(said: list[str], message: str) -> None:
    data = manifest()
    data.table["split"] = said
    with pytest.raises(DataError, match=message):
        assign_splits(data, SplitPlan("official"))


@pytest.mark.parametrize("named", [True, False])
def test_folds_can_be_drawn_for_any_data(named: bool) -> None:
    data = manifest(groups=62, named=named)
    fold = make_folds(data, 4, seed=0)
    assert sorted(set(fold)) == [1, 2, 3, 4]
    share = [(data.table["label"][fold == number] == "a").mean() for number in (1, 2, 3, 4)]
    assert share == pytest.approx([2 / 3] * 4, abs=0.1)
    assert np.bincount(fold)[1:] == pytest.approx([len(data) / 4] * 4, abs=4)
    if named:
        assert data.table.assign(made=fold).groupby("group")["made"].nunique().max() == 1


@pytest.mark.parametrize("method", ["auto", "official", "grouped", "random"])
def test_number_of_folds_takes_precedence_over_the_method(method: str) -> None:
    data = manifest()
    assert assign_splits(data, SplitPlan(method, test_fold=2, folds=6)) == "folds"
    assert folds_of(data, TEST) == {2}
    assert folds_of(data, VALIDATION) == {3}
    seen = [make_folds(data, 6, seed) for seed in (0, 0, 1)]
    assert (seen[0] == seen[1]).all()
    assert (seen[0] != seen[2]).any()


def test_too_few_folds_or_groups_are_errors() -> None:
    with pytest.raises(DataError, match=r"data\.folds=2: expected at least 3"):
        make_folds(manifest(), 2, 0)
    with pytest.raises(DataError, match=r"data\.folds=8: needs at least 8 groups, the data has 5"):
        make_folds(manifest(groups=5), 8, 0)


def test_parts_of_one_file_stay_together() -> None:
    data = manifest(named=False)
    data.table["path"] = [f"{row // 6}.wav" for row in range(len(data))]
    assign_splits(data, SplitPlan("stratified"))
    assert data.table.groupby("path")["split"].nunique().max() == 1


def test_multilabel_clips_are_stratified_by_their_rarest_label() -> None:
    labels = ["a;b", "a", "", "a;c"] * 30
    table = pd.DataFrame({"path": [f"{row}.wav" for row in range(120)], "label": labels})
    data = Manifest(Path("."), table, ("a", "b", "c"), label_separator=";")
    fold = make_folds(data, 3, 0)
    for label in ("a;b", "a", "", "a;c"):
        assert np.bincount(fold[np.array(labels) == label])[1:].tolist() == [10, 10, 10]
    np.testing.assert_array_equal(data.targets()[:4], [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1]])


def drawn(data: Manifest, plan: SplitPlan) -> list[set[int]]:
    assign_splits(data, plan)
    return [set(data.rows(split).tolist()) for split in SPLITS]


@pytest.mark.parametrize("method", ["official", "grouped", "stratified", "random", "train_only"])
def test_validation_fraction_zero_keeps_no_clips(method: str) -> None:
    data, plan = manifest(), SplitPlan(method, validation_fraction=0.0)
    data.table["split"] = TRAIN
    train, validation, test = drawn(data, plan)
    assert not validation
    assert len(test) == (0 if method == "train_only" else pytest.approx(0.2 * len(data), abs=6))
    assert len(train) + len(test) == len(data)
    assert VALIDATION not in plan.parts(method)


def test_a_fold_validates_whatever_the_share_of_a_drawn_split() -> None:
    data, plan = manifest(), SplitPlan("folds", validation_fraction=0.0)
    assert drawn(data, plan)[1]
    assert plan.parts("folds") == SPLITS


@pytest.mark.parametrize("method", ["official", "grouped", "stratified", "random"])
@pytest.mark.parametrize(
    ("test", "validation", "message"),
    [
        (
            0.0,
            0.1,
            r"data\.test_fraction=0\.0: expected a number greater than 0 and less than 1; data\.split=train_only",
        ),
        (-0.5, 0.1, r"data\.test_fraction=-0\.5: expected"),
        (1.0, 0.0, r"data\.test_fraction=1\.0: expected"),
        (float("nan"), 0.1, r"data\.test_fraction=nan: expected"),
        (0.2, -0.1, r"data\.validation_fraction=-0\.1: expected a number of at least 0 and less than 1"),
        (0.2, 1.0, r"data\.validation_fraction=1\.0: expected"),
    ],
)
def test_invalid_fractions(method: str, test: float, validation: float, message: str) -> None:
    data = manifest()
    data.table["split"] = TRAIN
    with pytest.raises(DataError, match=f"^{message}"):
        assign_splits(data, SplitPlan(method, test_fraction=test, validation_fraction=validation))


def test_unused_fractions_are_not_checked() -> None:
    data, other = manifest(), {"test_fraction": 0.0, "validation_fraction": -1.0}
    assign_splits(data, SplitPlan("folds", **other))
    said = list(data.table["split"])
    assign_splits(data, SplitPlan("official", **other))
    assert list(data.table["split"]) == said
    assign_splits(data, SplitPlan("train_only", test_fraction=0.0))


@pytest.mark.parametrize(
    ("named", "folds", "message"),
    [
        (True, 41, r"data\.folds=41: every class has fewer groups of clips \(a 40, b 20\).* at most 40$"),
        (False, 121, r"data\.folds=121: every class has fewer clips \(a 120, b 60\).* at most 120$"),
    ],
)
def test_more_folds_than_a_class_has_groups_or_clips(named: bool, folds: int, message: str) -> None:
    data = manifest(named=named)
    with pytest.raises(DataError, match=message):
        make_folds(data, folds, 0)
    assert set(make_folds(data, folds - 1, 0)) == set(range(1, folds))


def test_the_first_classes_are_named_where_all_have_too_few_clips_for_the_folds() -> None:
    names = [f"c{number:02}" for number in range(9)]
    table = pd.DataFrame({"path": [f"{row}.wav" for row in range(36)], "label": names * 4})
    with pytest.raises(DataError, match=r"\(c00 4, c01 4, c02 4, c03 4, c04 4 and 4 more\)"):
        make_folds(Manifest(Path("."), table, tuple(names)), 5, 0)


def test_classes_of_clips_with_several_labels_are_named_by_the_rarest() -> None:
    table = pd.DataFrame({"path": [f"{row}.wav" for row in range(10)], "label": ["a;b", "a", "a", "", ""] * 2})
    data = Manifest(Path("."), table, ("a", "b"), label_separator=";")
    with pytest.raises(DataError, match=r"\(a 4, b 2, no label 4\)"):
        make_folds(data, 5, 0)


def common(parts: list[np.ndarray]) -> float:
    """Mean overlap of two parts."""
    pairs = [(one, other) for number, one in enumerate(parts) for other in parts[:number]]
    return float(np.mean([2 * len(np.intersect1d(*pair)) / (len(pair[0]) + len(pair[1])) for pair in pairs]))


def speakers(number: int, classes: int, seed: int = 0) -> Manifest:
    """Speakers with some words, and a few speakers with many."""
    rng = np.random.RandomState(seed)
    group = np.repeat(np.arange(number), np.minimum(30, rng.geometric(0.15, number)))
    label = [f"c{word}" for word in rng.randint(classes, size=len(group))]
    paths = [f"{row}.wav" for row in range(len(group))]
    table = pd.DataFrame({"path": paths, "label": label, "group": [f"g{name}" for name in group]})
    return Manifest(Path("."), table, tuple(f"c{word}" for word in range(classes)))


@pytest.mark.parametrize(("number", "classes"), [(35, 4), (240, 13)])
def test_another_seed_draws_other_groups(number: int, classes: int) -> None:
    data = speakers(number, classes)
    target, tested, share, size = data.targets(), [], [], []
    for seed in range(10):
        assign_splits(data, SplitPlan("grouped", seed=seed))
        tested.append(data.rows(TEST))
        share.append(np.bincount(target[tested[-1]]) / np.bincount(target))
        size.append(len(tested[-1]) / data.table["group"][tested[-1]].nunique())
    assert common(tested) == pytest.approx(0.2, abs=0.07)
    assert np.array(share) == pytest.approx(0.2, abs=0.08)
    assert np.mean(size) == pytest.approx(len(data) / number, rel=0.15)  # large groups are as likely as small ones


@pytest.mark.parametrize(("number", "classes", "most"), [(35, 4, 0.018), (240, 13, 0.006)])
def test_another_seed_makes_other_folds(number: int, classes: int, most: float) -> None:
    data = speakers(number, classes)
    target, made = data.targets(), [make_folds(data, 5, seed) for seed in range(10)]
    assert common([np.flatnonzero(fold == 1) for fold in made]) == pytest.approx(0.2, abs=0.07)
    # The parts differ, not only their numbers.
    first = [fold[np.unique(data.table["group"], return_index=True)[1]] for fold in made]
    together = [np.flatnonzero(np.equal.outer(fold, fold)[np.triu_indices(number, 1)]) for fold in first]
    assert common(together) == pytest.approx(0.2, abs=0.05)
    for fold in made:
        share = [np.bincount(target[fold == part]) / np.bincount(target) for part in range(1, 6)]
        assert np.sqrt(np.mean((np.array(share) - 0.2) ** 2)) < most
        assert np.bincount(fold)[1:] / len(data) == pytest.approx(0.2, abs=0.02)
