"""The folds that a fit makes."""

from pathlib import Path

import pandas as pd
import pytest

from audio_lightning.config import compose
from audio_lightning.data.manifest import Manifest
from audio_lightning.fit.surveying import _folds, is_embedding


def manifest(**groups: int) -> Manifest:
    """As many groups of two clips of each class."""
    rows = [
        {"path": f"{name}/{number}-{take}.wav", "label": name, "group": f"{name}{number}"}
        for name, count in groups.items()
        for number in range(count)
        for take in range(2)
    ]
    return Manifest(Path(), pd.DataFrame(rows), tuple(groups))


@pytest.mark.parametrize(
    ("groups", "folds", "said"),
    [
        ({"a": 20, "b": 30}, 8, None),
        ({"a": 20, "b": 5}, 5, None),
        ({"a": 20, "b": 4, "rare": 1}, 4, "1 of 3 classes have fewer than 4 groups"),
        ({"a": 40, "b": 40, "rare": 3}, 8, "1 of 3 classes have fewer than 8 groups"),
        ({"a": 2, "b": 1}, 1, "no class has 3 groups"),
    ],
)
def test_there_are_as_many_folds_as_classes_have_groups(groups: dict[str, int], folds: int, said: str | None) -> None:
    found, _, notes = _folds(manifest(**groups), [])
    assert len(found) == folds
    assert [note for note in notes if said and said in note] == notes
    assert bool(notes) == bool(said)


def test_a_classifier_on_a_published_network_is_known_by_its_feature() -> None:
    assert is_embedding(compose(["experiment=frozen"]))
    assert not is_embedding(compose(["experiment=auto"]))
