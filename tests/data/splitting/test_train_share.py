"""``train_share``: a part of the training clips, for learning curves."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny

from audio_lightning.core.errors import DataError
from audio_lightning.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.sources.folder import Folder
from audio_lightning.data.splitting.splits import SplitPlan, assign_splits


def manifest(groups: int = 60, clips: int = 3, *, named: bool = True) -> Manifest:
    """Groups of clips: two thirds of class a; class c has one group."""
    group = np.repeat(np.arange(groups), clips)
    label = np.where(group == 1, "c", np.where(group % 3 == 0, "b", "a"))
    table = pd.DataFrame(
        {
            "path": [f"{row}.wav" for row in range(len(group))],
            "label": label,
            "group": [f"g{number}" if named else "" for number in group],
            "fold": group % 5 + 1,
        }
    )
    return Manifest(Path("."), table, ("a", "b", "c"))


def divided(share: float, **options: Any) -> Manifest:
    data = manifest(named=options.pop("named", True))
    assign_splits(data, SplitPlan(train_share=share, **options))
    return data


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("split", ["folds", "grouped", "stratified", "random", "train_only"])
def test_a_share_of_the_training_part_trains_and_other_parts_stay(share: float, split: Any) -> None:
    whole, part = divided(1.0, split=split), divided(share, split=split)
    for other in (VALIDATION, TEST):
        assert part.rows(other).tolist() == whole.rows(other).tolist()
    assert set(part.rows(TRAIN)) < set(whole.rows(TRAIN))
    assert len(part.rows(TRAIN)) == pytest.approx(share * len(whole.rows(TRAIN)), abs=6)
    counts = np.array(part.class_counts(TRAIN)[:2]) / whole.class_counts(TRAIN)[:2]
    assert counts == pytest.approx([share, share], abs=0.1)


@pytest.mark.parametrize("split", ["folds", "grouped"])
def test_groups_stay_whole(split: Any) -> None:
    part = divided(0.5, split=split)
    kept = set(part.table["group"].iloc[part.rows(TRAIN)])
    out = set(part.table["group"].iloc[part.rows("")])
    assert kept
    assert out
    assert kept.isdisjoint(out)


@pytest.mark.parametrize("named", [True, False])
def test_every_class_keeps_something_to_learn(named: bool) -> None:
    whole, part = divided(1.0, split="folds", named=named), divided(0.01, split="folds", named=named)
    assert all(count > 0 for count in whole.class_counts(TRAIN))
    assert all(count > 0 for count in part.class_counts(TRAIN))
    assert len(part.rows(TRAIN)) < 20


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_invalid_train_share(share: float) -> None:
    with pytest.raises(DataError, match=r"data\.train_share=.*: expected a number greater than 0 and at most 1"):
        divided(share)


def test_train_share_without_a_training_part_is_noted() -> None:
    data = divided(0.5, split="all")
    assert len(data.rows(TEST)) == len(data)
    assert "data.train_share=0.5 has no effect with data.split=all" in data.notes


def test_clips_that_are_left_out_are_not_among_the_clips(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path, clips=8)
    for number in range(8):  # the same sounds again
        (tmp_path / f"noise/again {number}.wav").write_bytes((tmp_path / f"noise/{number}.wav").read_bytes())
    settings = {"split": "random", "folds": None}
    whole, part = (
        Folder(root=str(tmp_path), splits=SplitPlan(**settings, train_share=share))  # type: ignore[arg-type]  # a dict of mixed types
        for share in (1.0, 0.5)
    )
    for data in (whole, part):
        data.setup()
    assert len(part.numbers(TRAIN)) < 0.7 * len(whole.numbers(TRAIN))
    assert len(part.manifest) == sum(len(part.numbers(split)) for split in (TRAIN, VALIDATION, TEST))
    assert len(part.pool.manifest) == len(whole.pool.manifest), "the data is the same, whatever is trained on"
