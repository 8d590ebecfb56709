"""Rules for settings that are ``auto``: one rule per configuration key, each returns a value and the reason for it.

Rules about labels use the training clips only, so that no validation or test label influences the plan.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from audio_lightning.config.automatic import CLIPS
from audio_lightning.core.bfloat16 import cpu_multiplies_bfloat16, gpu_has_bfloat16
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.loading.clips import window_count
from audio_lightning.data.manifest import TRAIN, Manifest
from audio_lightning.data.splitting.splits import SplitMethod, assign_splits
from audio_lightning.models.pretrained.registry import required_rate

STEPS = "target_steps"
"""Key with the number of optimizer steps of a training from scratch, which rules read."""

LEAST_EPOCHS, MOST_EPOCHS = 3, 150

FRAMES = 128
"""Target number of frames per clip, if the hop stays between :data:`SHORTEST_HOP` and :data:`LONGEST_HOP`
seconds. A word of one second gets a frame every 10 ms, as in speech recognition. Four seconds of street noise get one
every 30 ms, as in ``best_urbansound``, at a third of the cost."""

SHORTEST_HOP, LONGEST_HOP = 0.01, 0.03

SHORTEST_WINDOW = 0.025
"""Seconds; the usual window of speech recognition, which holds several periods of any voice."""

FEW_BANDS, MANY_BANDS = 40, 64
"""Number of mel bands for short windows and for long windows. Fewer bands cost less, which allows more epochs in the
same time.

Accuracy with 40 bands (64 bands in brackets): 0.894 (0.859) on words of unseen speakers with windows of 25 ms, 0.941
(0.937) on recordings of unseen notes with windows of 28 ms, and 0.654 (0.706) on clips of unseen sources of
UrbanSound8K with windows of 60 ms. Single trainings of eight to eleven minutes (docs/how-to/fit.md)."""

LONG_WINDOW = 0.04
"""Seconds from which a window counts as long: shorter windows cannot resolve narrower low bands."""

FEW_CLIPS, MANY_CLIPS = 1000, 20_000
"""Up to ``FEW_CLIPS`` training clips the batch size is 16, for more steps per epoch; from ``MANY_CLIPS`` it is 64. In
between it is 32."""

UNEVEN = 5.0
"""Ratio of the largest to the smallest class above which classes are sampled evenly."""

SHIFT = 0.1
"""Maximum time shift in training as a share of the clip length: small enough that the sound stays in the clip."""

ACCELERATOR = "trainer.accelerator"
"""Key that rules about the hardware read."""

BACKBONE = "backbone"
"""Option of features and models that names a published network."""

Choice = tuple[Any, str]
"""A value, and the reason for it as a clause."""


class Facts:
    """Facts about a data set that are known before it is decoded for training.

    Args:
        datamodule: data module with its clip settings, not yet set up.
    """

    def __init__(self, datamodule: AudioDataModule) -> None:
        self.datamodule = datamodule
        self._method: SplitMethod = datamodule.plan.split

    @cached_property
    def divided(self) -> Manifest:
        """The manifest with assigned splits.

        Raises:
            DataError: the folder is not a data set of this kind, or cannot be split as configured.
        """
        manifest = self.datamodule.read()
        self._method = assign_splits(manifest, self.datamodule.plan)
        return self.datamodule.complete(manifest)

    @property
    def split_method(self) -> SplitMethod:
        """How the splits are made."""
        assert len(self.divided)
        return self._method

    @cached_property
    def train_clips(self) -> int:
        """Number of training clips; windows of recordings count each."""
        table = self.divided.table.iloc[self.divided.rows(TRAIN)]
        hop = self.datamodule.hop_samples
        if hop is None:
            return len(table)
        rows = table[~table["background"]]
        seconds = self.datamodule.measure_stretches(rows).length
        samples = np.rint(seconds * self.datamodule.sample_rate).astype(np.int64)
        return int(window_count(samples, self.datamodule.num_samples, hop).sum()) + len(table) - len(rows)

    @cached_property
    def train_counts(self) -> list[int]:
        """Number of training rows of every class that occurs."""
        return [count for count in self.divided.class_counts(TRAIN) if count]


def demanded_rate(config: DictConfig) -> Choice | None:
    """Return the sample rate that a published network requires; None without one, or if it resamples."""
    for node in ("feature", "model"):
        if OmegaConf.select(config, f"{node}.resample", throw_on_missing=False):
            continue
        name = OmegaConf.select(config, f"{node}.{BACKBONE}", throw_on_missing=False)
        if isinstance(name, str) and (rate := required_rate(name)) is not None:
            return rate, f"{name} requires {rate:,} Hz"
    return None


def clip_setting(name: str) -> Callable[[Facts, dict[str, Any]], Choice]:
    """Return the rule of a clip setting, which the data source chooses (:mod:`audio_lightning.data.clip_choice`)."""

    def rule(facts: Facts, settled: dict[str, Any]) -> Choice:
        choice = facts.datamodule.clip_choice
        return getattr(choice.shape, name), choice.reasons[name]

    return rule


def batch_size(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Choose smaller batches for fewer clips."""
    clips = facts.train_clips
    size = 16 if clips <= FEW_CLIPS else 64 if clips >= MANY_CLIPS else 32
    return size, f"{clips:,} training clips"


def sampling(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Choose class-balanced sampling if the classes are very uneven."""
    if facts.divided.label_separator is not None:
        return "uniform", "clips have several labels"
    most, least = max(facts.train_counts, default=1), min(facts.train_counts, default=1)
    return (
        "balanced" if most > UNEVEN * least else "uniform",
        f"{most:,} training recordings of the largest class, {least:,} of the smallest",
    )


def feature_hop(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Choose a hop that gives about :data:`FRAMES` frames per clip."""
    seconds = facts.datamodule.num_samples / facts.datamodule.sample_rate
    hop = round(float(np.clip(seconds / FRAMES, SHORTEST_HOP, LONGEST_HOP)), 3)
    return hop, f"{seconds / hop:.0f} frames per clip of {seconds:g} s"


def feature_window(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Choose a window of two hops, so that consecutive frames overlap."""
    hop = float(settled["feature.hop_seconds"])
    return round(max(SHORTEST_WINDOW, 2 * hop), 3), f"frames are {1000 * hop:g} ms apart"


def mel_bands(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Choose as many mel bands as the window can resolve."""
    window = float(settled["feature.window_seconds"])
    return FEW_BANDS if window < LONG_WINDOW else MANY_BANDS, f"windows of {1000 * window:g} ms"


def shift(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Choose the time shift as a share of the clip length."""
    seconds = facts.datamodule.num_samples / facts.datamodule.sample_rate
    return round(SHIFT * seconds, 3), f"{SHIFT:.0%} of a clip of {seconds:g} s"


def max_epochs(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Choose the number of epochs that gives about ``target_steps`` steps."""
    wanted, size = int(settled[STEPS]), int(settled["data.batch_size"])
    steps = max(1, facts.train_clips // size)
    epochs = int(np.clip(round(wanted / steps), LEAST_EPOCHS, MOST_EPOCHS))
    return epochs, f"{steps:,} steps per epoch, about {wanted:,} steps in all"


def precision(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Choose bfloat16 mixed precision if the device multiplies bfloat16 matrices several times faster than float32.

    With Intel's AMX on two cores, an epoch of ``experiment=auto`` on UrbanSound8K took 7.0 s instead of 8.9 s. CPUs
    with bfloat16 but without matrix units, and GPUs, were not measured; for GPUs the rule follows NVIDIA's figures.
    """
    accelerator = str(settled[ACCELERATOR])
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        device, faster = "GPU", gpu_has_bfloat16()
    elif torch.backends.mps.is_available() and accelerator in ("auto", "gpu", "mps"):
        device, faster = "GPU of an Apple computer", False
    else:
        device, faster = "CPU", cpu_multiplies_bfloat16()
    if faster:
        return "bf16-mixed", f"this {device} multiplies matrices of bfloat16"
    return "32-true", f"on this {device}, bfloat16 is not known to be faster"


RULES: dict[str, Callable[[Facts, dict[str, Any]], Choice]] = {
    **{key: clip_setting(key.removeprefix("data.")) for key in CLIPS},
    "data.batch_size": batch_size,
    "data.sampling": sampling,
    "feature.hop_seconds": feature_hop,
    "feature.window_seconds": feature_window,
    "feature.n_mels": mel_bands,
    "augment.waveform.shift.max_seconds": shift,
    "trainer.max_epochs": max_epochs,
    "trainer.precision": precision,
}
"""Rules by key of :data:`audio_lightning.config.automatic.AUTOMATIC`. A rule receives the facts, and a mapping with the
values of the keys that are given or were settled before it."""
