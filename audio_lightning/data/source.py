"""Data sources: what a data set says of itself, before anything is decoded."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pandas as pd

from audio_lightning.core.task import Padding
from audio_lightning.data.clip_choice import ClipChoice, Stretches, choose_clips
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.settings import CacheSettings, CheckSettings, ClipSettings, LoadingSettings
from audio_lightning.data.splitting.splits import SplitPlan
from audio_lightning.data.store.cache import Progress
from audio_lightning.data.store.measurements import MEASURED, measure
from audio_lightning.data.store.recordings import Recordings


class Source(pl.LightningDataModule, ABC):
    """A data set that says what its clips are (:meth:`read`); the other methods have answers for most of them.

    Args:
        root: folder of the data set.
        clips: how clips are cut from recordings.
        splits: how clips are divided.
        checks: what to do about bad data.
        loading: how clips come into batches.
        cache: where decoded recordings are kept.

    Attributes:
        clip_settings, plan, checks, loading: as they were given.
        batch_size: clips a batch, on each device; a search may change it.
        cache: of decoded recordings.
        progress: called with the number of recordings prepared and of all.
        say: called with what the names of recordings were found to say, before anything is decoded.
    """

    def __init__(
        self,
        *,
        root: str,
        clips: ClipSettings = ClipSettings(),
        splits: SplitPlan = SplitPlan(),
        checks: CheckSettings = CheckSettings(),
        loading: LoadingSettings = LoadingSettings(),
        cache: CacheSettings = CacheSettings(),
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser()
        self.clip_settings = clips
        self.plan = splits
        self.checks = checks
        self.loading = loading
        self.batch_size = loading.batch_size
        self.cache = cache.open()
        self._measured: dict[str, np.void] = {}
        self.progress: Progress | None = None
        self.say: Callable[[str], None] | None = None

    @cached_property
    def clip_choice(self) -> ClipChoice:
        """How clips are cut; what is ``auto`` is measured when it is first asked for.

        Raises:
            DataError: where it is: the folder is not a data set of this kind.
        """
        settings = self.clip_settings
        if not settings.automatic:
            return ClipChoice(settings.nominal, {})
        return choose_clips(settings, self.stretches())

    @property
    def sample_rate(self) -> int:
        """Rate of the clips in hertz."""
        return self.clip_choice.shape.sample_rate

    @property
    def num_samples(self) -> int:
        """Samples a clip."""
        return self.clip_choice.shape.num_samples

    @property
    def hop_samples(self) -> int | None:
        """Samples from window to window; None for one clip a recording."""
        return self.clip_choice.shape.hop_samples

    @property
    def padding(self) -> Padding:
        """How a short recording is filled up."""
        return self.clip_choice.shape.padding

    @property
    def seed(self) -> int:
        """Of a split made here and of the order of the batches."""
        return self.plan.seed

    @abstractmethod
    def read(self) -> Manifest:
        """One row a clip, from tables and file names alone; rows that are wrong go into its ``problems``.

        Raises:
            DataError: the folder is not a data set of this kind.
        """

    def infers_multilabel(self) -> bool:
        """Whether a clip may have several labels, where ``multilabel=auto`` leaves that to the data.

        Raises:
            DataError: the folder is not a data set of this kind.
        """
        return self.read().label_separator is not None

    def stretches(self) -> Stretches:
        """What clips are cut from, measured: the parts of recordings that the rows of the manifest mean.

        Raises:
            DataError: the folder is not a data set of this kind.
        """
        table = self.read().table
        return self.measure_stretches(table[~table["background"]])

    def measure_stretches(self, table: pd.DataFrame) -> Stretches:
        """Measure the recordings of a table with the columns ``path``, ``start_seconds`` and ``stop_seconds``."""
        number, paths = pd.factorize(table["path"])
        new = [path for path in paths if path not in self._measured]
        if new:
            found = measure(self.recordings(new), self.cache, progress=self.progress)
            self._measured |= dict(zip(new, found))
        measured = np.array([self._measured[path] for path in paths], MEASURED)
        start, stop = (table[f"{name}_seconds"].to_numpy(dtype=np.float64) for name in ("start", "stop"))
        return Stretches(measured[number], start, stop, marked=bool(np.isfinite(stop).any()))

    def complete(self, manifest: Manifest) -> Manifest:
        """Rows that depend on the splits; called when these are known, before anything is decoded."""
        return manifest

    def missing(self, manifest: Manifest) -> list[Problem]:
        """A problem for every recording that is not there."""
        return manifest.missing_files()

    def noise_paths(self) -> list[Path]:
        """Recordings of noise that come with the data, for an augmentation that adds some."""
        return []

    def recordings(self, paths: Sequence[str]) -> Recordings:
        """What is decoded, one recording for every distinct path of the manifest."""
        root = os.path.abspath(self.root)
        return Recordings([os.path.join(root, path) for path in paths])
