"""Measurement of the time per training step on this machine, before any recording is decoded."""

import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import as_plain
from audio_lightning.core.task import AudioTask
from audio_lightning.data.loading.batches import Batch
from audio_lightning.training.finders import few_steps

STEPS = 10
"""Number of measured steps, after :data:`WARM_UP` steps in which memory is allocated and kernels are chosen."""

WARM_UP = 2

STATISTICS_CLIPS = 8
"""Number of noise clips for the feature statistics, so that features have the usual range."""


def seconds_a_step(config: DictConfig, task: AudioTask) -> float:
    """Return the median time per training step in seconds, on clips of noise: the cost does not depend on the sound.

    Args:
        config: configuration without ``auto``; augmentations that need recordings use noise.
        task: task of the data.
    """
    clips = int(config.data.batch_size)
    classifier, batches = untrained(config, task), _Noise(task, clips)
    for source in classifier.augmentation.lacks:
        noise = batches.batch["waveform"].reshape(-1)
        ends = torch.arange(clips + 1) * task.num_samples
        classifier.augmentation.set_recordings(source, noise, ends[:-1], ends[1:])
    clock = _Clock()
    with few_steps(config) as train:
        train(classifier, batches, WARM_UP + STEPS, clock)
    return clock.median


def untrained(config: DictConfig, task: AudioTask) -> AudioClassifier:
    """Build the classifier of a training, without a teacher, with initial weights and the statistics of noise.

    Args:
        config: configuration without ``auto``.
        task: task of the data.
    """
    plain = {**as_plain(config), "scheduler": {"_target_": None}, "distill": {}}
    clips = int(config.data.batch_size)
    classifier = AudioClassifier(plain, task.to_dict(), [clips] * task.num_classes, clips * task.num_classes)
    if classifier.front_end.needs_statistics:
        classifier.front_end.fit(iter([_Noise(task, STATISTICS_CLIPS).batch["waveform"]]))
    return classifier


class _Clock(Callback):
    def __init__(self) -> None:
        self._times: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self._times.append(time.perf_counter())

    @property
    def median(self) -> float:
        times = torch.tensor(self._times, dtype=torch.float64)
        return float(times.diff()[WARM_UP - 1 :].median())


class _Noise(pl.LightningDataModule):
    def __init__(self, task: AudioTask, clips: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        label = torch.arange(clips) % task.num_classes
        self.batch = Batch(
            waveform=0.1 * torch.randn(clips, task.num_samples, generator=generator),
            target=torch.nn.functional.one_hot(label, task.num_classes).float() if task.multilabel else label,
            length=torch.full((clips,), task.num_samples),
            clip=torch.arange(clips),
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        steps: Any = [self.batch] * (WARM_UP + STEPS)
        return DataLoader(steps, batch_size=None, collate_fn=lambda batch: batch)

    def val_dataloader(self) -> tuple[()]:
        return ()
