"""From a manifest to batches of waveforms."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from audio_lightning.audio import Channel, check_channel
from audio_lightning.core.cores import cores
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.task import AudioTask, Padding
from audio_lightning.data.loading.batches import Batch, ClipDataset, Draw, EpochBatches, EpochSampler, Sampling, fetch
from audio_lightning.data.loading.clips import Clips, cut
from audio_lightning.data.loading.gather import Gather, as_tensor
from audio_lightning.data.loading.resident import fits, resident_clips
from audio_lightning.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.problems import Problem, ProblemsError
from audio_lightning.data.splitting.leakage import Leakage, LeakageError, guard_content, guard_sources
from audio_lightning.data.splitting.splits import SplitMethod, SplitPlan, assign_splits
from audio_lightning.data.store.cache import Cache, Progress, default_cache_dir
from audio_lightning.data.store.decoded import DecodedAudio, SampleType
from audio_lightning.data.store.recordings import Identity, OneChannel, Recordings

BadRecordings = Literal["error", "skip", "silence"]


@dataclass(frozen=True)
class Examination:
    """A data set with everything that can be found wrong with it.

    Attributes:
        manifest: rows that can be used, with splits where they can be made.
        recording: position of each row's recording in ``audio``.
        audio: one recording a file.
        problems: all of them.
        method: how the splits were made; None where they cannot be.
        leakage: what can be said about it.
    """

    manifest: Manifest
    recording: Int64[np.ndarray, "rows"]
    audio: DecodedAudio
    problems: list[Problem]
    method: SplitMethod | None
    leakage: Leakage


@dataclass(frozen=True)
class Pool:
    """What a data source holds, before a seed or a setting draws some of it (:meth:`AudioDataModule.complete`).

    Attributes:
        manifest: one row a clip, as :meth:`AudioDataModule.read` found them.
        content: digest of every row's recording, see :func:`audio_lightning.data.store.decoded.content_digest`.
        noise: the same for the recordings of noise that come with the data.
    """

    manifest: Manifest
    content: UInt8[np.ndarray, "rows 16"]
    noise: UInt8[np.ndarray, "recordings 16"]


@dataclass(frozen=True)
class _Ready:
    manifest: Manifest
    recording: Int64[np.ndarray, "rows"]
    audio: DecodedAudio
    clips: Clips
    targets: np.ndarray


class AudioDataModule(pl.LightningDataModule, ABC):
    """Recordings of one data source, split, checked, decoded once and loaded in batches.

    A source is a subclass that says what its clips are (:meth:`read`); all the rest is here.

    Args:
        root: folder of the data set.
        sample_rate: rate in hertz to which recordings are resampled.
        clip_seconds: length of a clip; shorter recordings are padded, longer ones cut.
        hop_seconds: cut recordings into windows of ``clip_seconds``, one every so many seconds; None for one clip a
            recording.
        padding: how a short recording is filled up.
        channel: which channel of a recording is used, see :data:`audio_lightning.audio.channels.Channel`; ``each``:
            every channel is a clip, in the group of its recording.
        split: how clips are divided, see :class:`SplitPlan`.
        folds: number of folds to make and divide by, whatever the data says.
        test_fold: fold to test on.
        validation_fold: fold that chooses the epoch.
        test_fraction: share of the clips to test on, where the split is made here.
        validation_fraction: share of the clips that choose the epoch, where the split is made here; with 0 they train,
            and the last epoch is taken.
        train_on_validation: let the clips that would choose the epoch train, too; the last epoch is taken then.
        sampling: ``uniform``: every training clip once an epoch; ``balanced``: as many clips, drawn so that every class
            is equally probable.
        batch_size: clips a batch, on each device.
        num_workers: processes that assemble batches; 0 suffices, since nothing is decoded in training.
        resident: keep all training clips on the device and assemble batches there; ``auto``: on a GPU where they fit.
        bad_recordings: what to do about a recording that is missing or cannot be read: stop with a list of all such,
            leave them out, or put silence in their place.
        allow_leakage: go on where a group or the same audio is in two splits.
        cache_dir: where decoded recordings are kept; by default the user's cache folder.
        cache_max_gb: most gigabytes that are kept there.
        cache_dtype: type of the samples there.
        cache_identity: how a recording is known again there.
        seed: of a split made here and of the order of the batches; another one draws other clips or groups.

    Attributes:
        progress: called with the number of recordings prepared and of all.
        problems: what was found wrong and passed over, after :meth:`setup`.
        leakage: what can be said about it, after :meth:`setup`.
        split_method: how the clips were divided, after :meth:`setup`.
    """

    def __init__(
        self,
        *,
        root: str,
        sample_rate: int,
        clip_seconds: float,
        hop_seconds: float | None,
        padding: Padding,
        channel: Channel = "mean",
        split: SplitMethod,
        folds: int | None,
        test_fold: int | None,
        validation_fold: int | None,
        test_fraction: float,
        validation_fraction: float,
        train_on_validation: bool = False,
        sampling: Sampling,
        batch_size: int,
        num_workers: int,
        resident: bool | Literal["auto"],
        bad_recordings: BadRecordings,
        allow_leakage: bool,
        cache_dir: str | None,
        cache_max_gb: float,
        cache_dtype: SampleType,
        cache_identity: Identity,
        seed: int,
    ) -> None:
        super().__init__()
        for name, value in (("sample_rate", sample_rate), ("clip_seconds", clip_seconds), ("batch_size", batch_size)):
            if value <= 0:
                raise ConfigError(f"data.{name}={value}: expected more than 0")
        self.root = Path(root).expanduser()
        self.sample_rate = sample_rate
        self.num_samples = max(1, round(clip_seconds * sample_rate))
        self.hop_samples = None if hop_seconds is None else round(hop_seconds * sample_rate)
        if self.hop_samples is not None and self.hop_samples < 1:
            raise ConfigError(f"data.hop_seconds={hop_seconds}: expected more than 0, or null for one clip a recording")
        self.padding: Padding = padding
        check_channel(channel)
        self.channel: Channel = channel
        self.plan = SplitPlan(
            split, test_fold, validation_fold, test_fraction, validation_fraction, seed, folds, train_on_validation
        )
        self.sampling: Sampling = sampling
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.resident = resident
        self.bad_recordings: BadRecordings = bad_recordings
        self.allow_leakage = allow_leakage
        cache_root = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
        self.cache = Cache(cache_root, cache_max_gb, cache_dtype, cache_identity)
        self.seed = seed
        self.progress: Progress | None = None
        self.problems: list[Problem] = []
        self.leakage: Leakage = "cannot be excluded"
        self.split_method: SplitMethod = split
        self._ready: _Ready | None = None
        self._pool: Pool | None = None
        self._resident: Gather | None = None

    # What a source says

    @abstractmethod
    def read(self) -> Manifest:
        """One row a clip, from tables and file names alone; rows that are wrong go into its ``problems``.

        Raises:
            DataError: the folder is not a data set of this kind.
        """

    def complete(self, manifest: Manifest) -> Manifest:
        """Rows that depend on the splits; called when these are known, before anything is decoded."""
        return manifest

    def missing(self, manifest: Manifest) -> list[Problem]:
        """A problem for every recording that is not there."""
        return manifest.missing_files()

    def unlisted(self) -> list[str]:
        """Recordings below the root that are not among the data though they lie beside it; none where all are taken."""
        return []

    def noise_paths(self) -> list[Path]:
        """Recordings of noise that come with the data, for an augmentation that adds some."""
        return []

    def recordings(self, paths: Sequence[str]) -> Recordings:
        """What is decoded, one recording for every distinct path of the manifest."""
        root = os.path.abspath(self.root)
        return Recordings([os.path.join(root, path) for path in paths])

    # What is ready after setup

    @property
    def manifest(self) -> Manifest:
        """The rows with their splits, after :meth:`setup`."""
        return self._loaded().manifest

    @property
    def audio(self) -> DecodedAudio:
        """The decoded recordings, one a file, after :meth:`setup`."""
        return self._loaded().audio

    @property
    def hashes(self) -> UInt8[np.ndarray, "rows bytes"]:
        """Of the content of every row's recording, after :meth:`setup`; zeros for silence."""
        ready = self._loaded()
        return ready.audio.hashes[ready.recording]

    @property
    def content(self) -> UInt8[np.ndarray, "rows bytes"]:
        """Digest of every row's recording, after :meth:`setup`; zeros where it cannot be read."""
        ready = self._loaded()
        return ready.audio.content[ready.recording]

    @property
    def facts(self) -> Shaped[np.ndarray, "rows"]:
        """Facts of every row's file, after :meth:`setup`; columns: :data:`audio_lightning.data.store.decoded.FACTS`."""
        ready = self._loaded()
        return ready.audio.facts[ready.recording]

    @property
    def pool(self) -> Pool:
        """What the data source holds, after :meth:`setup`."""
        if self._pool is None:
            raise RuntimeError("call setup() before asking a data module for its pool")
        return self._pool

    @property
    def clips(self) -> Clips:
        """The clips of all splits, after :meth:`setup`."""
        return self._loaded().clips

    @property
    def task(self) -> AudioTask:
        """What the data set asks for, after :meth:`setup`."""
        manifest = self.manifest
        multilabel = manifest.label_separator is not None
        return AudioTask(manifest.classes, self.sample_rate, self.num_samples, self.padding, multilabel)

    def numbers(self, split: str) -> Int64[np.ndarray, "clips"]:
        """Positions of the clips of a split among all clips."""
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
        """Decode what is not decoded yet; Lightning calls this in one process a machine."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Read the manifest, split it, guard the splits, and open the decoded recordings.

        Raises:
            DataError: splits that leak or cannot be made.
            ProblemsError: wrong rows, missing and unreadable recordings, all of them at once.
        """
        if self._ready is not None:
            return
        manifest = pool = self._by_channel(self.read())
        problems = manifest.problems + self.missing(manifest)
        if not problems or self.bad_recordings != "error":
            self.split_method = assign_splits(manifest, self.plan)
            manifest = self.complete(manifest)
            leakage = guard_sources(manifest, self.split_method, allow=self.allow_leakage)
        recording, audio, bad = self._decode(manifest, pool, problems)
        if problems and self.bad_recordings == "error":
            raise ProblemsError(
                problems,
                "mend them, or choose data.bad_recordings=skip (or silence) to go on without these recordings",
            )
        self.problems = problems
        if self.bad_recordings == "skip" and len(bad):
            kept = np.setdiff1d(np.arange(len(manifest)), bad)
            manifest, recording = manifest.select(kept), recording[kept]
            for split in self.plan.parts(self.split_method):
                if not len(manifest.rows(split)):
                    raise DataError(f"no clip of the {split} part can be read: see what is wrong with data.root")
        copies = guard_content(manifest, recording, audio.hashes, self.split_method, allow=self.allow_leakage)
        self.leakage = "present" if "present" in (leakage, copies) else leakage
        self._use(manifest, recording, audio)

    def examine(self) -> Examination:
        """Find everything that is wrong with the data, without stopping at the first mistake.

        Raises:
            DataError: the folder is not a data set of this kind.
        """
        manifest = pool = self._by_channel(self.read())
        problems = manifest.problems + self.missing(manifest)
        method: SplitMethod | None = None
        leakage: Leakage = "cannot be excluded"
        try:
            found = assign_splits(manifest, self.plan)
            manifest = self.complete(manifest)
            method = found
            leakage = guard_sources(manifest, method, allow=self.allow_leakage)
        except LeakageError as error:
            leakage = "present"
            problems += [Problem("splits", leak, "leak") for leak in error.leaks]
        except DataError as error:
            problems.append(Problem("splits", str(error), "splits"))
        recording, audio, _ = self._decode(manifest, pool, problems)
        if method is not None:
            try:
                copies = guard_content(manifest, recording, audio.hashes, method, allow=self.allow_leakage)
                leakage = "present" if copies == "present" else leakage
            except LeakageError as error:
                leakage = "present"
                problems += [Problem("splits", leak, "leak") for leak in error.leaks]
        return Examination(manifest, recording, audio, problems, method, leakage)

    def match_classes(self, classes: Sequence[str]) -> list[str]:
        """Give the classes another order and number: those of a trained classifier, matched by name.

        Upper and lower case, and spaces, hyphens and underscores, are not told apart. Clips of other classes are
        left out; of a clip with several labels, the other labels are.

        Returns:
            The names that were not found among ``classes``.

        Raises:
            DataError: no name in common.
        """
        ready = self._loaded()
        manifest = ready.manifest
        names = {_plain(name): name for name in classes}
        renamed = {name: names.get(_plain(name)) for name in manifest.classes}
        unknown = [name for name, match in renamed.items() if match is None]
        if len(unknown) == len(renamed):
            raise DataError(
                f"the classifier knows {', '.join(classes)}; the data has {', '.join(manifest.classes)}: "
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

    def train_dataloader(self) -> DataLoader:
        """Training clips, in an order that depends on the seed and the epoch alone."""
        return self._loader(TRAIN)

    def val_dataloader(self) -> DataLoader | tuple[()]:
        """Validation clips in the order of the manifest; Lightning validates nothing where there are none."""
        return self._loader(VALIDATION) if len(self.numbers(VALIDATION)) else ()

    def test_dataloader(self) -> DataLoader:
        """Test clips in the order of the manifest."""
        return self._loader(TEST)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch; one of resident clips gets its samples where they lie."""
        if "start" in batch:
            assert self._resident is not None
            batch = fetch(batch, self._resident)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def sample_waveforms(self, most: int, *, seed: int) -> Iterator[Float[Tensor, "batch samples"]]:
        """Batches of at most ``most`` different training clips, drawn with ``seed``; for feature statistics."""
        dataset = self._dataset(TRAIN)
        drawn = np.random.RandomState(seed).permutation(len(dataset))[:most]
        for start in range(0, len(drawn), self.batch_size):
            yield dataset.batch(Draw(0, drawn[start : start + self.batch_size]))["waveform"]

    def batch(self, split: str, position: Int64[np.ndarray, "batch"]) -> Batch:
        """Some of the clips of a split, by their positions in it, as the first epoch has them; on the CPU."""
        return self._dataset(split).batch(Draw(0, position))

    def _loaded(self) -> _Ready:
        if self._ready is None:
            raise RuntimeError("call setup() before asking a data module for its clips")
        return self._ready

    def _use(self, manifest: Manifest, recording: Int64[np.ndarray, "rows"], audio: DecodedAudio) -> None:
        clips = cut(manifest, recording, audio, self.sample_rate, self.num_samples, self.hop_samples)
        self._ready = _Ready(manifest, recording, audio, clips, manifest.targets())

    def _by_channel(self, manifest: Manifest) -> Manifest:
        """A row for every channel of a clip, where each is a clip of its own."""
        if self.channel != "each":
            return manifest
        number, paths = pd.factorize(manifest.table["path"])
        recordings = self.recordings(list(paths))
        count = self.cache.channels(recordings, self.sample_rate)
        unknown = np.flatnonzero(count == 0)
        with ThreadPoolExecutor(cores()) as pool:
            count[unknown] = list(pool.map(recordings.count_channels, unknown.tolist()))
        count = count[number]
        channel = np.concatenate([np.arange(1, most + 1) for most in count])
        return manifest.with_table(manifest.table.iloc[np.repeat(np.arange(len(count)), count)].assign(channel=channel))

    def _decode(
        self, manifest: Manifest, pool: Manifest, problems: list[Problem]
    ) -> tuple[Int64[np.ndarray, "rows"], DecodedAudio, Int64[np.ndarray, "bad"]]:
        """Recordings, the one of each row, and the rows that cannot be used; what is new goes into ``problems``.

        The whole pool is decoded, once for all seeds that draw from it, because the content of all of it is what trials
        are compared on.
        """
        recording, drawn = pd.factorize(_keys(manifest))
        paths, pooled = [key.partition("\0")[0] for key in drawn], _keys(pool)
        noise = [self._relative(path) for path in self.noise_paths()]
        place = {key: index for index, key in enumerate(dict.fromkeys([*pooled, *noise, *drawn]))}
        named_by = [key.partition("\0") for key in place]
        recordings = self.recordings([path for path, _, _ in named_by])
        if self.channel != "mean":
            others: Channel = "mean" if self.channel == "each" else self.channel
            recordings = OneChannel(recordings, [int(number) if number else others for _, _, number in named_by])
        every = self.cache.decode(recordings, self.sample_rate, progress=self.progress)
        of_pool, of_noise = (every.content[[place[path] for path in found]] for found in (pooled, noise))
        self._pool = Pool(pool, of_pool, of_noise)
        audio = every.select([place[path] for path in drawn])
        named = {problem.where for problem in problems}
        root = os.path.abspath(self.root)
        problems += [
            # An error names its file in full, since it is also said where only one is looked at.
            Problem(paths[index], error.removeprefix(f"{os.path.join(root, paths[index])}: "), "unreadable")
            for index, error in audio.errors.items()
            if paths[index] not in named
        ]
        unreadable = np.zeros(len(paths), dtype=bool)
        unreadable[list(audio.errors)] = True
        seconds = ((audio.stops - audio.starts) / self.sample_rate)[recording]
        begin = manifest.table["start_seconds"].to_numpy()
        behind = ~unreadable[recording] & (begin > 0) & (begin >= seconds)
        problems += [
            Problem(
                paths[recording[row]],
                f"its part from {begin[row]:g} s on is behind its end at {seconds[row]:.3f} s",
                "unreadable",
            )
            for row in np.flatnonzero(behind).tolist()
        ]
        return recording, audio, np.flatnonzero(unreadable[recording] | behind)

    def _relative(self, path: Path) -> str:
        """A path as the manifest has it."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

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

    def _loader(self, split: str) -> DataLoader:
        training = split == TRAIN
        resident = training and self._is_resident()
        dataset = self._dataset(split, resident=resident)
        classes = None
        if training and self.sampling == "balanced":
            if dataset.target.ndim == 2:
                raise ConfigError("data.sampling=balanced needs one label a clip, and these have several: use uniform")
            classes = dataset.target
        # Lightning takes the first batches of every epoch for those to be learned by heart.
        same = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        sampler = EpochSampler(len(dataset), seed=self.seed, shuffle=training, classes=classes, same=same)
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        batches = EpochBatches(sampler, self.batch_size, training=training, rank=rank, processes=processes)
        if training and not len(batches):
            raise DataError(f"{len(dataset)} training clips for {processes} devices: expected one for each at least")
        workers = 0 if resident else self.num_workers
        return DataLoader(
            dataset,
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=_as_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available() and not resident,
            # Without one of its own, a loader draws from the global generator, and so changes what dropout draws.
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _is_resident(self) -> bool:
        if self.resident != "auto":
            return self.resident
        ready = self._loaded()
        length = (ready.audio.stops - ready.audio.starts)[np.unique(ready.recording[ready.manifest.rows(TRAIN)])]
        return fits(int(length.sum()) * ready.audio.samples.itemsize, self._device())

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")


def _keys(manifest: Manifest) -> np.ndarray:
    """What is decoded for every row: its path, and the channel where the row says one."""
    pairs = zip(manifest.table["path"], manifest.table["channel"].fillna(0).astype(int))
    return np.array([f"{path}\0{channel}" if channel else path for path, channel in pairs], dtype=object)


def _plain(name: str) -> str:
    return "_".join(normalize("NFC", name).casefold().replace("_", " ").replace("-", " ").split())


def _as_is(batch: Any) -> Any:
    """The data set has put the batch together already."""
    return batch
