"""Base class of data sources: the list of clips of a data set, before any audio is decoded."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pandas as pd

from audio_lightning.core.progress import Progress
from audio_lightning.core.task import Padding
from audio_lightning.data.clip_choice import ClipChoice, Stretches, choose_clips
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.settings import CacheSettings, CheckSettings, ClipSettings, LoadingSettings
from audio_lightning.data.splitting.splits import SplitPlan
from audio_lightning.data.store.measurements import MEASURED, measure
from audio_lightning.data.store.recordings import Recordings


class Source(pl.LightningDataModule, ABC):
    """Data set that lists its clips (:meth:`read`); the other methods have defaults that suit most data sets.

    Args:
        root: folder of the data set.
        clips: how clips are cut from recordings.
        splits: how clips are split.
        checks: handling of bad data.
        loading: settings of batches.
        cache: settings of the cache of decoded recordings.

    Attributes:
        clip_settings, plan, checks, loading: the arguments ``clips``, ``splits``, ``checks`` and ``loading``.
        batch_size: clips per batch, on each device; the batch size finder may change it.
        cache: cache of decoded recordings.
        progress: callback with the number of written, measured or decoded recordings and the total.
        say: callback with information inferred from file names, before any audio is decoded.
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
        """Clip settings; ``auto`` ones are inferred on first access, which measures the recordings.

        Raises:
            DataError: the folder is not a data set of this kind.
        """
        settings = self.clip_settings
        if not settings.automatic:
            return ClipChoice(settings.nominal, {})
        return choose_clips(settings, self.stretches())

    @property
    def sample_rate(self) -> int:
        """Sample rate of the clips in hertz."""
        return self.clip_choice.shape.sample_rate

    @property
    def num_samples(self) -> int:
        """Samples per clip."""
        return self.clip_choice.shape.num_samples

    @property
    def hop_samples(self) -> int | None:
        """Hop from one window to the next in samples; None for one clip per recording."""
        return self.clip_choice.shape.hop_samples

    @property
    def padding(self) -> Padding:
        """How short recordings are padded."""
        return self.clip_choice.shape.padding

    @property
    def seed(self) -> int:
        """Seed of randomly drawn splits and of the batch order."""
        return self.plan.seed

    @abstractmethod
    def read(self) -> Manifest:
        """List the clips, from tables and file names alone; invalid rows become ``problems`` of the manifest.

        Raises:
            DataError: the folder is not a data set of this kind.
        """

    def infers_multilabel(self) -> bool:
        """Whether clips may have several labels, for ``multilabel=auto``.

        Raises:
            DataError: the folder is not a data set of this kind.
        """
        return self.read().label_separator is not None

    def stretches(self) -> Stretches:
        """Measure the segments of recordings from which clips are cut, one for each row of the manifest.

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
            found = measure(self.recordings(new), self.cache, progress=self.progress_of("measuring recordings"))
            self._measured |= dict(zip(new, found))
        measured = np.array([self._measured[path] for path in paths], MEASURED)
        start, stop = (table[f"{name}_seconds"].to_numpy(dtype=np.float64) for name in ("start", "stop"))
        return Stretches(measured[number], start, stop, marked=bool(np.isfinite(stop).any()))

    def progress_of(self, what: str) -> Callable[[int, int], None] | None:
        """Return the callback of :attr:`progress` for work with another label than that of the display."""
        return None if self.progress is None else partial(self.progress, what=what)

    def complete(self, manifest: Manifest) -> Manifest:
        """Add rows that depend on the splits; called after splitting, before any audio is decoded."""
        return manifest

    def missing(self, manifest: Manifest) -> list[Problem]:
        """A problem for each recording that does not exist."""
        return manifest.missing_files()

    def noise_paths(self) -> list[Path]:
        """Noise recordings of the data set, for augmentation with background noise."""
        return []

    def recordings(self, paths: Sequence[str]) -> Recordings:
        """Recordings to decode, one for each distinct path of the manifest."""
        root = os.path.abspath(self.root)
        return Recordings([os.path.join(root, path) for path in paths])
