"""The best epoch is chosen among the last ones, if the configuration says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from running import Killed, kill_at, resume, run

from audio_lightning.core.errors import ConfigError
from audio_lightning.training.callbacks import BestCheckpoint, EarlyStopping


@dataclass
class AtEpoch:
    """The trainer of one process at an epoch, counted from 0."""

    current_epoch: int
    max_epochs: int = 8
    strategy = property(lambda self: self)

    def reduce_boolean_decision(self, decision: bool) -> bool:
        return decision


def hold(best: BestCheckpoint, score: float) -> None:
    """Let a callback keep an epoch, as Lightning stores it."""
    best.best_model_score = torch.tensor(score)
    best.best_k_models, best.kth_best_model_path = {"best.ckpt": best.best_model_score}, "best.ckpt"


def kept(best: BestCheckpoint, scores: Sequence[float], *, first: int = 0) -> list[int]:
    """Epochs whose checkpoint replaces the former one, counted from 0."""
    found = []
    for epoch, score in enumerate(scores, start=first):
        if best.check_monitor_top_k(AtEpoch(epoch), torch.tensor(score)):  # type: ignore[arg-type]
            found.append(epoch)
            hold(best, score)
    return found


SCORES = (0.5, 0.9, 0.4, 0.4, 0.7, 0.8, 0.6, 0.8)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, [0, 1]), (0.5, [0, 1, 2, 3, 4, 5]), (0.75, [0, 1, 2, 3, 4, 5, 6, 7])]
)
def test_earlier_epochs_replace_one_another_and_later_ones_compete(share: float, expected: list[int]) -> None:
    assert kept(BestCheckpoint("validation/accuracy", from_share=share), SCORES) == expected


def test_an_undefined_metric_does_not_replace_a_defined_one() -> None:
    nan = float("nan")
    assert kept(BestCheckpoint("validation/accuracy", from_share=0.5), (0.5, nan, 0.4, nan, nan, 0.3, 0.2)) == [0, 2, 5]


def test_a_resumed_training_knows_whether_it_keeps_an_early_epoch() -> None:
    best, other = (BestCheckpoint("validation/accuracy", from_share=0.5) for _ in range(2))
    kept(best, SCORES[:4])
    state: dict[str, Any] = best.state_dict()
    assert state["keeps_early_epoch"]
    other.dirpath = state["dirpath"]
    other.load_state_dict(state)
    hold(other, 0.9)
    assert kept(other, SCORES[4:], first=4) == [4, 5]


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, True, "half"])
def test_other_shares_are_refused(share: Any) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.best\.from_share=.*expected at least 0\.0 and less than 1\.0"):
        BestCheckpoint("validation/accuracy", from_share=share)


def test_early_stopping_may_keep_any_epoch(tmp_path: Path) -> None:
    best = BestCheckpoint("validation/accuracy", from_share=0.5)
    stopping = EarlyStopping("validation/accuracy", patience=3, min_delta=0.0)
    trainer = pl.Trainer(accelerator="cpu", callbacks=[best, stopping], logger=False, default_root_dir=tmp_path)
    best.setup(trainer, pl.LightningModule(), "validate")
    assert best.from_share == 0.0


def test_a_training_keeps_one_of_its_last_epochs(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The killed and resumed training, too."""
    options = ["trainer.max_epochs=4", "callbacks.best.from_share=0.75"]
    whole = run(tiny_urbansound8k, tmp_path / "whole", *options)
    assert whole["best_epoch"] == 4
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=0)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *options)
    assert resume(tmp_path / "killed")["best_epoch"] == 4
