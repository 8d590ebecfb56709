"""What values of ``auto`` are for a data set: a rule a key, each with its reason.

Rules about labels see the training part alone, so that no clip to be tested has a say in what is tested.
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

STEPS = 5000
"""Steps of a training from scratch: the ``best_*`` recipes have some thousands on the data that they were found for, as
many as twenty minutes on two cores allow. Other numbers were not compared."""

LEAST_EPOCHS, MOST_EPOCHS = 10, 150

FRAMES = 128
"""Frames of a spectrogram that a network sees at once, if those are between :data:`SHORTEST_HOP` and
:data:`LONGEST_HOP` seconds apart: for a word of one second a frame every 10 ms, as in speech, for four seconds of a
street one every 30 ms, as in ``best_urbansound``, for a third of the cost."""

SHORTEST_HOP, LONGEST_HOP = 0.01, 0.03

SHORTEST_WINDOW = 0.025
"""Seconds: the window of speech recognition, which holds several periods of any voice."""

FEW_BANDS, MANY_BANDS = 40, 64
"""Mel bands of short windows, and of long ones. Fewer are less to compute, for more epochs in the same time.

With windows of 25 ms, 0.894 of the words of unseen speakers were right (0.859 with 64 bands), with windows of 28 ms
0.941 of the recordings of unseen notes (0.937), but with windows of 60 ms 0.654 of the clips of unseen sources of
UrbanSound8K (0.706). Single trainings of eight to eleven minutes (docs/fit.md)."""

LONG_WINDOW = 0.04
"""Seconds from which a window is long: a shorter one tells lower bands apart no better when they are narrower."""

FEW_CLIPS, MANY_CLIPS = 1000, 20_000
"""Training clips up to which batches are of 16, for more steps an epoch, and from which they are of 64."""

UNEVEN = 5.0
"""Clips of the commonest class for one of the rarest from which classes are drawn evenly."""

SHIFT = 0.1
"""Furthest shift of a clip in training as a share of its length: what a clip holds is moved, and not cut away."""

ACCELERATOR = "trainer.accelerator"
"""Key that rules about the machine look at."""

BACKBONE = "backbone"
"""Option that names a published network."""

Choice = tuple[Any, str]
"""A value, and a clause that says why."""


class Facts:
    """What is known of a data set before anything is decoded for training.

    Args:
        datamodule: built, with its clip settings.
    """

    def __init__(self, datamodule: AudioDataModule) -> None:
        self.datamodule = datamodule
        self._method: SplitMethod = datamodule.plan.split

    @cached_property
    def divided(self) -> Manifest:
        """The clips with their splits.

        Raises:
            DataError: the folder is not a data set of this kind, or cannot be divided so.
        """
        manifest = self.datamodule.read()
        self._method = assign_splits(manifest, self.datamodule.plan)
        return self.datamodule.complete(manifest)

    @property
    def split_method(self) -> SplitMethod:
        """How the clips are divided."""
        assert len(self.divided)
        return self._method

    @cached_property
    def train_clips(self) -> int:
        """Training clips, windows of recordings among them."""
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
        """Training rows of every class that has any."""
        return [count for count in self.divided.class_counts(TRAIN) if count]


def demanded_rate(config: DictConfig) -> Choice | None:
    """The sample rate of a published network that takes sounds of no other, and resamples none; None without one."""
    for node in ("feature", "model"):
        if OmegaConf.select(config, f"{node}.resample", throw_on_missing=False):
            continue
        name = OmegaConf.select(config, f"{node}.{BACKBONE}", throw_on_missing=False)
        if isinstance(name, str) and (rate := required_rate(name)) is not None:
            return rate, f"{name} takes sounds of {rate:,} Hz"
    return None


def clip_setting(name: str) -> Callable[[Facts, dict[str, Any]], Choice]:
    """The rule of a clip setting: that of the data source (:mod:`audio_lightning.data.clip_choice`)."""

    def rule(facts: Facts, settled: dict[str, Any]) -> Choice:
        choice = facts.datamodule.clip_choice
        return getattr(choice.shape, name), choice.reasons[name]

    return rule


def batch_size(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Small batches where there are few clips."""
    clips = facts.train_clips
    size = 16 if clips <= FEW_CLIPS else 64 if clips >= MANY_CLIPS else 32
    return size, f"{clips:,} training clips"


def sampling(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Classes drawn evenly where there are far more clips of some than of others."""
    if facts.divided.label_separator is not None:
        return "uniform", "clips have several labels"
    most, least = max(facts.train_counts, default=1), min(facts.train_counts, default=1)
    return (
        "balanced" if most > UNEVEN * least else "uniform",
        f"{most:,} training recordings of the commonest class, {least:,} of the rarest",
    )


def feature_hop(facts: Facts, settled: dict[str, Any]) -> Choice:
    """About :data:`FRAMES` frames a clip."""
    seconds = facts.datamodule.num_samples / facts.datamodule.sample_rate
    hop = round(float(np.clip(seconds / FRAMES, SHORTEST_HOP, LONGEST_HOP)), 3)
    return hop, f"{seconds / hop:.0f} frames of a clip of {seconds:g} s"


def feature_window(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Two hops, so that no sound falls between frames."""
    hop = float(settled["feature.hop_seconds"])
    return round(max(SHORTEST_WINDOW, 2 * hop), 3), f"frames are {1000 * hop:g} ms apart"


def mel_bands(facts: Facts, settled: dict[str, Any]) -> Choice:
    """As many as the window tells apart."""
    window = float(settled["feature.window_seconds"])
    return FEW_BANDS if window < LONG_WINDOW else MANY_BANDS, f"windows of {1000 * window:g} ms"


def shift(facts: Facts, settled: dict[str, Any]) -> Choice:
    """A share of a clip."""
    seconds = facts.datamodule.num_samples / facts.datamodule.sample_rate
    return round(SHIFT * seconds, 3), f"{SHIFT:.0%} of a clip of {seconds:g} s"


def max_epochs(facts: Facts, settled: dict[str, Any]) -> Choice:
    """As many as give :data:`STEPS` steps."""
    size = int(settled["data.batch_size"])
    steps = max(1, facts.train_clips // size)
    epochs = int(np.clip(round(STEPS / steps), LEAST_EPOCHS, MOST_EPOCHS))
    return epochs, f"{steps:,} steps an epoch, about {STEPS:,} are wanted"


def precision(facts: Facts, settled: dict[str, Any]) -> Choice:
    """Products of bfloat16 where the machine computes those several times as fast.

    With Intel's AMX, an epoch of ``experiment=auto`` on UrbanSound8K took 7.0 s in place of 8.9 on two cores. CPUs that
    have bfloat16 without units for matrices were not measured, nor were GPUs: NVIDIA's own figures are followed there.
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
"""The rule of every key of :data:`audio_lightning.config.automatic.AUTOMATIC`; each sees the keys settled before it, or
given."""
