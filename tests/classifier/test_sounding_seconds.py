"""Durations of the classes in checkpoints and ensembles."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from untrained import CNN, write_member

from audio_lightning.classifier.checkpoint import read_checkpoint, read_contents, write_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.ensemble_file import add_decisions, write_ensemble
from audio_lightning.classifier.sounding_seconds import mean_sounding_seconds
from audio_lightning.core.errors import CheckpointError

NAN = math.nan


def member(path: Path, seconds: tuple[float, ...] | None) -> Path:
    """A checkpoint of three classes and clips of 0.25 s."""
    write_member(path, *CNN)
    classifier = AudioClassifier.load_from_checkpoint(path)
    assert isinstance(classifier, AudioClassifier)
    assert classifier.sounding_seconds is None
    if seconds is not None:
        classifier.sounding_seconds = torch.tensor(seconds)
        classifier.store_decisions(path)
    return path


def known(path: Path) -> Tensor | None:
    return AudioClassifier.load_from_checkpoint(path).sounding_seconds


def same(found: Tensor | None, expected: list[float]) -> None:
    assert found is not None
    torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True)


def test_a_checkpoint_keeps_them(tmp_path: Path) -> None:
    path = member(tmp_path / "one.ckpt", (0.1, NAN, 0.25))
    same(known(path), [0.1, NAN, 0.25])
    classifier = AudioClassifier.load_from_checkpoint(path)
    checkpoint: dict[str, object] = {}
    classifier.on_save_checkpoint(checkpoint)
    assert "sounding_seconds" in checkpoint["audio_lightning"]  # type: ignore[operator]


def test_a_checkpoint_without_them_loads(tmp_path: Path) -> None:
    path = member(tmp_path / "old.ckpt", None)
    assert "sounding_seconds" not in read_checkpoint(path)["audio_lightning"]
    assert known(path) is None


def test_those_of_an_ensemble_are_the_mean_over_the_members_that_know(tmp_path: Path) -> None:
    given = [(0.1, NAN, NAN), None, (0.2, 0.2, NAN)]
    members = [member(tmp_path / f"{place}.ckpt", seconds) for place, seconds in enumerate(given)]
    path = tmp_path / "model.ckpt"
    write_ensemble(path, members, [8, 1, 1])
    same(known(path), [0.15, 0.2, NAN])
    write_ensemble(path, members[1:2], [1])
    assert known(path) is None
    assert mean_sounding_seconds([]) is None


def test_an_ensemble_file_may_have_its_own(tmp_path: Path) -> None:
    """As that of a fit whose members were trained on all recordings."""
    members = [member(tmp_path / "one.ckpt", None), member(tmp_path / "two.ckpt", (0.1, 0.1, 0.1))]
    path = tmp_path / "model.ckpt"
    write_ensemble(path, members, [1, 1], sounding_seconds=torch.tensor([0.2, NAN, 0.05]))
    add_decisions(path, calibration=(torch.ones(3), torch.zeros(3)))
    same(known(path), [0.2, NAN, 0.05])


def test_an_ensemble_file_of_an_earlier_version_loads(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    write_ensemble(path, [member(tmp_path / "one.ckpt", (0.1, NAN, 0.2))], [1])
    contents = read_contents(path)
    del contents["sounding_seconds"]
    write_checkpoint(path, contents)
    same(known(path), [0.1, NAN, 0.2])


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        "text",
        0.1,
        [0.1, 0.1, 0.1],
        torch.full((2,), 0.1),
        torch.full((3, 1), 0.1),
        torch.full((3,), 0.1, dtype=torch.float64),
        torch.tensor([0.1, 0.1, 0.0]),
        torch.tensor([0.1, -0.1, 0.1]),
        torch.tensor([0.1, 0.26, 0.1]),
        torch.tensor([math.inf, 0.1, 0.1]),
        torch.full((3,), 0.1).to_sparse(),
    ],
    ids=str,
)
def test_invalid_entries_are_refused(values: object, ensemble: bool, tmp_path: Path) -> None:
    path = member(tmp_path / "one.ckpt", None)
    if ensemble:
        write_ensemble(tmp_path / "model.ckpt", [path], [1])
        path = tmp_path / "model.ckpt"
    contents = read_contents(path)
    (contents if ensemble else contents["audio_lightning"])["sounding_seconds"] = values
    torch.save(contents, path)
    with pytest.raises(CheckpointError, match=r"sounding seconds: expected|refused") as caught:
        AudioClassifier.load_from_checkpoint(path)
    assert "\n" not in str(caught.value)
