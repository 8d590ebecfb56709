"""Checkpoints of untrained networks, in the format of a training."""

from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from omegaconf import OmegaConf, open_dict

from audio_lightning.classifier.checkpoint import write_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import check_config, compose
from audio_lightning.core.task import AudioTask
from audio_lightning.data.store.fingerprints import SEGMENT

SMALL = ["data=demo", "data.sample_rate=8000", "data.clip_seconds=0.25", "feature.n_mels=16", "feature.normalize=clip"]
"""Clips and features that every model of these tests accepts."""

CNN = ["model=cnn", "model.channels=[4,8]", "model.hidden_dim=8"]
LSTM = ["model=lstm", "model.hidden_dim=6"]


def write_member(
    path: Path,
    *overrides: str,
    seed: int = 0,
    multilabel: bool = False,
    recordings: tuple[int, ...] | None = (1,),
    thresholds: tuple[float, ...] | None = None,
    level: float = 0.1,
    **task: Any,
) -> Path:
    """Write a checkpoint.

    Args:
        path: the file.
        *overrides: model and the like, which take precedence over :data:`SMALL`.
        seed: of the weights.
        multilabel: whether clips may have several labels.
        recordings: hashes of its training recordings; None for a checkpoint that does not know.
        thresholds: of the classes.
        level: of the noise that statistics of the features are fitted to, where they are needed.
        **task: other values of the task.
    """
    config = compose([*SMALL, *overrides])
    with open_dict(config):
        config.data.label_separator = "|" if multilabel else None
    check_config(config)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    values = {"classes": tiny.CLASSES, "sample_rate": tiny.RATE, "num_samples": 2000, "multilabel": multilabel, **task}
    torch.manual_seed(seed)
    made = AudioTask(**values)
    classifier = AudioClassifier(plain, made.to_dict(), [4] * made.num_classes, 12).eval()
    classifier.front_end.fit([level * torch.randn(4, made.num_samples)])
    if recordings is not None:
        classifier.trained_on = np.array([(number, 0, 250) for number in recordings], SEGMENT)
    if thresholds is not None:
        classifier.thresholds.copy_(torch.tensor(thresholds))
    checkpoint = {
        "hyper_parameters": dict(classifier.hparams),
        "state_dict": classifier.state_dict(),
        "optimizer_states": [{"state": torch.zeros(1000)}],
        "epoch": 3,
    }
    classifier.on_save_checkpoint(checkpoint)
    write_checkpoint(path, checkpoint)
    return path
