"""Cached embeddings: a pretrained network is run once per clip and machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from running import Killed, kill_at, resume, run

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained.aisfx import AISFX
from audio_lightning.models.pretrained.embedding import Embedding
from audio_lightning.training.embed_once import KnownEmbeddings, KnownViews


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_urbansound8k(tmp_path_factory.mktemp("data"))


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of clips that the network is run on from now on."""
    seen: list[int] = []
    original = Embedding.compute

    def compute(self: Embedding, waveform: torch.Tensor) -> torch.Tensor:
        if waveform.device.type != "meta" and waveform.any():  # not the silence that the shape is found with
            seen.append(len(waveform))
        return original(self, waveform)

    monkeypatch.setattr(Embedding, "compute", compute)
    return seen


def run_cached(root: Path, folder: Path, cache: Path, *overrides: str) -> dict[str, Any]:
    return run(root, folder, f"data.cache_dir={cache}", *overrides, settings=tiny.FROZEN_OVERRIDES)


def test_clips_are_embedded_once_for_all_epochs_and_runs(root: Path, tmp_path: Path, embedded: list[int]) -> None:
    first = run_cached(root, tmp_path / "first", tmp_path / "cache")
    table = pd.read_csv(root / "metadata/UrbanSound8K.csv")
    assert sum(embedded) == len(table)
    embedded.clear()
    again = run_cached(root, tmp_path / "again", tmp_path / "cache", "data.test_fold=2")
    assert sum(embedded) == 1  # to see that they still come out so
    assert again["parameters"] == first["parameters"]


def other_weights(build: Callable[..., None]) -> Callable[..., None]:
    def built(self: AISFX, *arguments: Any) -> None:
        build(self, *arguments)
        with torch.no_grad():
            for parameter in self.blocks.parameters():
                parameter.mul_(1.5)

    return built


def test_a_resumed_run_looks_them_up(
    root: Path, tmp_path: Path, embedded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cached(root, tmp_path / "whole", tmp_path / "cache")
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=0)
        with pytest.raises(Killed):
            run_cached(root, tmp_path / "killed", tmp_path / "cache")
    embedded.clear()
    # The network of a resumed run begins at random, and not as it was published.
    monkeypatch.setattr(AISFX, "__init__", other_weights(AISFX.__init__))
    resume(tmp_path / "killed")
    assert sum(embedded) == 1  # to see that they still come out so
    histories = [pd.read_csv(tmp_path / name / "history.csv")["train/loss"] for name in ("whole", "killed")]
    assert list(histories[0]) == list(histories[1])


def test_changed_clips_are_embedded_in_every_epoch(root: Path, tmp_path: Path, embedded: list[int]) -> None:
    run_cached(root, tmp_path / "plain", tmp_path / "cache")
    embedded.clear()
    metrics = run_cached(root, tmp_path / "changed", tmp_path / "cache", "augment=shift", "augment.waveform.shift.p=1")
    assert sum(embedded) == 1 + metrics["epochs"] * metrics["num_clips/train"]


CHANGED = ["augment=shift", "augment.waveform.shift.p=1", "feature.views=3"]


def test_changed_versions_are_embedded_once(root: Path, tmp_path: Path, embedded: list[int]) -> None:
    run_cached(root, tmp_path / "plain", tmp_path / "cache")
    embedded.clear()
    metrics = run_cached(root, tmp_path / "first", tmp_path / "cache", *CHANGED)
    assert sum(embedded) == 1 + 3 * metrics["num_clips/train"]
    embedded.clear()
    again = run_cached(root, tmp_path / "again", tmp_path / "cache", *CHANGED)
    assert sum(embedded) == 2  # to see that they still come out so
    assert again["test/loss"] == metrics["test/loss"]
    embedded.clear()
    run_cached(root, tmp_path / "other seed", tmp_path / "cache", *CHANGED, "seed=1")
    assert sum(embedded) > 2


def test_versions_follow_from_the_clip_and_not_from_what_was_embedded_with_it(root: Path, tmp_path: Path) -> None:
    """Cached embeddings of other clips change nothing."""
    losses = []
    for cache, first in (("a", ["data.test_fold=1"]), ("b", ["data.test_fold=2"])):
        run_cached(root, tmp_path / f"{cache} first", tmp_path / cache, *CHANGED, *first)
        again = run_cached(root, tmp_path / f"{cache} then", tmp_path / cache, *CHANGED, "data.test_fold=3")
        losses.append(again["test/loss"])
    assert losses[0] == losses[1]


def test_each_epoch_draws_among_the_versions() -> None:
    rows = torch.arange(12.0).reshape(2, 2, 1, 3)
    known = KnownViews(rows, torch.tensor([1, -1, 0]), lambda rows: rows)
    torch.manual_seed(0)
    drawn = torch.stack([known(torch.tensor([2, 0]), torch.zeros(2, 5)) for _ in range(20)])
    assert {tuple(row.tolist()) for row in drawn[:, 0, 0]} == {(0, 1, 2), (6, 7, 8)}
    assert {tuple(row.tolist()) for row in drawn[:, 1, 0]} == {(3, 4, 5), (9, 10, 11)}
    assert known(torch.tensor([1, 0]), torch.zeros(2, 5)) is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["feature.views=3"], "feature.views=3: augment changes no waveforms"),
        (["feature.views=-1"], "feature.views=-1: not a number of versions of each clip; use 0 to 255"),
        (["feature.views=3", "augment=speech_strong"], "feature.views=3: augment mixes waveforms of two clips"),
    ],
)
def test_versions_that_cannot_be_made_are_refused(root: Path, tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_cached(root, tmp_path / "run", tmp_path / "cache", *lines)


def test_clips_without_a_row_are_computed() -> None:
    rows = torch.arange(6.0).reshape(2, 1, 3)
    known = KnownEmbeddings(rows, torch.tensor([1, -1, 0]), lambda rows: rows)
    waveform = torch.zeros(2, 5)
    assert torch.equal(known(torch.tensor([2, 0]), waveform, lambda x: x), rows[[0, 1]])
    computed = known(torch.tensor([1, 0]), waveform, lambda x: x[:, None, :3] - 1)
    assert torch.equal(computed, torch.full((2, 1, 3), -1.0))
