"""Lightning data module: from a manifest to batches of waveforms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.task import AudioTask
from audio_lightning.data.loading.batches import Batch, ClipDataset, Draw, EpochBatches, EpochSampler, fetch
from audio_lightning.data.loading.clips import Clips, cut
from audio_lightning.data.loading.gather import Gather, as_tensor
from audio_lightning.data.loading.resident import fits, resident_clips
from audio_lightning.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.opening import Opened, Pool, open_source
from audio_lightning.data.problems import Problem
from audio_lightning.data.source import Source
from audio_lightning.data.splitting.leakage import Leakage
from audio_lightning.data.splitting.splits import SplitMethod
from audio_lightning.data.store.decoded import DecodedAudio


@dataclass(frozen=True)
class _Ready:
    manifest: Manifest
    recording: Int64[np.ndarray, "rows"]
    audio: DecodedAudio
    clips: Clips
    targets: np.ndarray


class AudioDataModule(Source):
    """Base class of data modules: recordings of one source, split, checked, decoded once and loaded in batches.

    A source is a subclass that lists its clips (:meth:`~audio_lightning.data.source.Source.read`).

    Args:
        **options: see :class:`audio_lightning.data.source.Source`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._opened: Opened | None = None
        self._ready: _Ready | None = None
        self._resident: Gather | None = None

    def unlisted(self) -> list[str]:
        """Recordings in the folders of the data set that are not part of it; none by default."""
        return []

    # After setup

    @property
    def problems(self) -> list[Problem]:
        """Problems that were found and tolerated, after :meth:`setup`."""
        return self._open().problems

    @property
    def leakage(self) -> Leakage:
        """Result of the leakage checks, after :meth:`setup`."""
        return self._open().leakage

    @property
    def split_method(self) -> SplitMethod:
        """Method by which the clips were split, after :meth:`setup`."""
        method = self._open().method
        assert method is not None
        return method

    @property
    def pool(self) -> Pool:
        """All clips of the data source, before a seed or a setting selects some, after :meth:`setup`."""
        return self._open().pool

    @property
    def manifest(self) -> Manifest:
        """Manifest with splits, after :meth:`setup`."""
        return self._loaded().manifest

    @property
    def audio(self) -> DecodedAudio:
        """Decoded recordings after :meth:`setup`: one per file, or per channel of a file if each channel is a clip."""
        return self._loaded().audio

    @property
    def hashes(self) -> UInt8[np.ndarray, "rows bytes"]:
        """Hash of each row's decoded recording, after :meth:`setup`; zeros for a silent or unreadable one."""
        ready = self._loaded()
        return ready.audio.hashes[ready.recording]

    @property
    def content(self) -> UInt8[np.ndarray, "rows bytes"]:
        """Content digest of each row's recording, after :meth:`setup`; zeros for an unreadable one."""
        ready = self._loaded()
        return ready.audio.content[ready.recording]

    @property
    def facts(self) -> Shaped[np.ndarray, "rows"]:
        """Measurements (:data:`audio_lightning.data.store.decoded.FACTS`) of each row's file, after :meth:`setup`."""
        ready = self._loaded()
        return ready.audio.facts[ready.recording]

    @property
    def clips(self) -> Clips:
        """Clips of all splits, after :meth:`setup`."""
        return self._loaded().clips

    @property
    def task(self) -> AudioTask:
        """Classification task of the data set, after :meth:`setup`."""
        manifest = self.manifest
        multilabel = manifest.label_separator is not None
        return AudioTask(manifest.classes, self.sample_rate, self.num_samples, self.padding, multilabel)

    def numbers(self, split: str) -> Int64[np.ndarray, "clips"]:
        """Indices of the clips of a split among all clips."""
        ready = self._loaded()
        return np.flatnonzero((ready.manifest.table["split"] == split).to_numpy()[ready.clips.row])

    def class_counts(self, split: str) -> list[int]:
        """Number of clips of every class in a split."""
        ready = self._loaded()
        targets = ready.targets[ready.clips.row[self.numbers(split)]]
        if targets.ndim == 2:
            return targets.sum(axis=0).astype(np.int64).tolist()
        return np.bincount(targets, minlength=len(ready.manifest.classes)).tolist()

    def prepare_data(self) -> None:
        """Decode recordings that are not in the cache; Lightning calls this in one process per machine."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Read the manifest, split it, check the splits for leakage, and open the decoded recordings.

        Raises:
            DataError: see :func:`audio_lightning.data.opening.open_source`.
        """
        if self._opened is None:
            self._opened = open_source(self)
            self._use(self._opened.manifest, self._opened.recording, self._opened.audio)

    def match_classes(self, classes: Sequence[str]) -> list[str]:
        """Use the classes of a trained classifier, matched by name, instead of the classes of the data.

        Case, spaces, hyphens and underscores are ignored. Clips of classes that the classifier lacks are removed; a
        clip with several labels loses only the labels that the classifier lacks.

        Returns:
            Names of classes that are not in ``classes``.

        Raises:
            DataError: the two lists of classes have no name in common.
        """
        ready = self._loaded()
        manifest = ready.manifest
        names = {_plain(name): name for name in classes}
        renamed = {name: names.get(_plain(name)) for name in manifest.classes}
        unknown = [name for name, match in renamed.items() if match is None]
        if len(unknown) == len(renamed):
            raise DataError(
                f"the classifier has the classes {', '.join(classes)}; the data has {', '.join(manifest.classes)}; "
                "expected at least one class in common"
            )

        def matched(label: str) -> str | None:
            if manifest.label_separator is None:
                return renamed[label]
            return manifest.label_separator.join(match for name in manifest.labels(label) if (match := renamed[name]))

        table = manifest.table.assign(label=manifest.table["label"].map(matched))
        kept = np.flatnonzero(table["label"].notna().to_numpy())
        known = Manifest(manifest.root, table.iloc[kept], tuple(classes), manifest.problems, manifest.label_separator)
        self._use(known, ready.recording[kept], ready.audio)
        return unknown

    # Loaders

    def train_dataloader(self) -> DataLoader[Any]:
        """Training clips, in an order that depends only on the seed and the epoch."""
        return self._loader(TRAIN)

    def val_dataloader(self) -> DataLoader[Any] | tuple[()]:
        """Validation clips in the order of the manifest; without any, Lightning skips validation."""
        return self._loader(VALIDATION) if len(self.numbers(VALIDATION)) else ()

    def test_dataloader(self) -> DataLoader[Any]:
        """Test clips in the order of the manifest."""
        return self._loader(TEST)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to a device; for resident clips, gather its samples there."""
        if "start" in batch:
            assert self._resident is not None
            batch = fetch(batch, self._resident)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def sample_waveforms(self, most: int, *, seed: int) -> Iterator[Float[Tensor, "batch samples"]]:
        """Draw at most ``most`` distinct training clips with ``seed``, in batches; for feature statistics."""
        dataset = self._dataset(TRAIN)
        drawn = np.random.RandomState(seed).permutation(len(dataset))[:most]
        for start in range(0, len(drawn), self.batch_size):
            yield dataset.batch(Draw(0, drawn[start : start + self.batch_size]))["waveform"]

    def batch(self, split: str, position: Int64[np.ndarray, "batch"]) -> Batch:
        """Batch of clips by their indices in the split, as in the first epoch; on the CPU."""
        return self._dataset(split).batch(Draw(0, position))

    def _open(self) -> Opened:
        if self._opened is None:
            raise RuntimeError("call setup() before reading the checks of a data module")
        return self._opened

    def _loaded(self) -> _Ready:
        if self._ready is None:
            raise RuntimeError("call setup() before reading the clips of a data module")
        return self._ready

    def _use(self, manifest: Manifest, recording: Int64[np.ndarray, "rows"], audio: DecodedAudio) -> None:
        clips = cut(manifest, recording, audio, self.sample_rate, self.num_samples, self.hop_samples)
        self._ready = _Ready(manifest, recording, audio, clips, manifest.targets())

    def _dataset(self, split: str, *, resident: bool = False) -> ClipDataset:
        ready = self._loaded()
        number = self.numbers(split)
        clips = ready.clips.select(number)
        gather: Gather | None = None
        if resident:
            clips, samples = resident_clips(clips, ready.audio, ready.recording)
            self._resident = Gather(samples.to(self._device()), self.num_samples, self.padding)
        else:
            gather = Gather(as_tensor(ready.audio.samples), self.num_samples, self.padding)
        target = ready.targets[ready.clips.row[number]]
        return ClipDataset(clips, number, target, gather, self.num_samples, self.seed, redraw=split == TRAIN)

    def _loader(self, split: str) -> DataLoader[Any]:
        training = split == TRAIN
        resident = training and self._is_resident()
        dataset = self._dataset(split, resident=resident)
        classes = None
        if training and self.loading.sampling == "balanced":
            if dataset.target.ndim == 2:
                raise ConfigError("data.sampling=balanced: needs one label per clip, clips have several; use uniform")
            classes = dataset.target
        # Lightning's overfit_batches uses the first batches of every epoch, so the order must not change.
        same = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        sampler = EpochSampler(len(dataset), seed=self.seed, shuffle=training, classes=classes, same=same)
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        batches = EpochBatches(sampler, self.batch_size, training=training, rank=rank, processes=processes)
        if training and not len(batches):
            raise DataError(f"{len(dataset)} training clips for {processes} devices; expected at least one for each")
        workers = 0 if resident else self.loading.num_workers
        return DataLoader(
            dataset,
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=_as_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available() and not resident,
            # Without its own generator, a loader draws from the global one, which changes the random numbers of
            # dropout.
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _is_resident(self) -> bool:
        if self.loading.resident != "auto":
            return self.loading.resident
        ready = self._loaded()
        length = (ready.audio.stops - ready.audio.starts)[np.unique(ready.recording[ready.manifest.rows(TRAIN)])]
        return fits(int(length.sum()) * ready.audio.samples.itemsize, self._device())

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")


def _plain(name: str) -> str:
    return "_".join(normalize("NFC", name).casefold().replace("_", " ").replace("-", " ").split())


def _as_is(batch: Any) -> Any:
    """Return the batch, which the data set has assembled already."""
    return batch
