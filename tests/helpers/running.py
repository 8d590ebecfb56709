"""Train on the tiny data within a test."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.resume import resumed_config
from audio_lightning.training.run import train


def run(root: Path, folder: Path, *overrides: str, settings: list[str] = tiny.TRAIN_OVERRIDES) -> dict[str, Any]:
    """Train as ``python train.py data=urbansound8k data.root=ROOT ...`` would."""
    config = compose(quote_paths(["data=urbansound8k", f"data.root={root}", *settings, *overrides]))
    check_config(config)
    return train(config, RunFolder(folder))


def resume(folder: Path, *overrides: str) -> dict[str, Any]:
    """Resume as ``python train.py resume=FOLDER ...`` would."""
    return train(resumed_config(RunFolder(folder), overrides), RunFolder(folder), resume=True)


class Killed(BaseException):
    """Simulates a process that ends without cleanup."""


def kill_at(patch: pytest.MonkeyPatch, *, epoch: int, batch: int) -> None:
    """Let the next training die in the middle of an epoch (counted from 0)."""
    original = AudioClassifier.training_step

    def training_step(self: AudioClassifier, data: Any, batch_idx: int) -> Any:
        if (self.current_epoch, batch_idx) == (epoch, batch):
            raise Killed
        return original(self, data, batch_idx)

    patch.setattr(AudioClassifier, "training_step", training_step)
