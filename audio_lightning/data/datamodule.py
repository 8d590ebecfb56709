"""From a manifest to batches of waveforms."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from audio_lightning.audio import fit_length
from audio_lightning.data.cache import DecodedAudio, Progress, decode_all, default_cache_dir
from audio_lightning.data.manifest import TEST, TRAIN, VALIDATION, Manifest
from audio_lightning.data.problems import Problem, ProblemsError
from audio_lightning.data.splits import (
    Leakage,
    SplitMethod,
    SplitPlan,
    assign_splits,
    guard_content,
    guard_groups,
)
from audio_lightning.errors import DataError
from audio_lightning.task import AudioTask, Padding

BadRecordings = Literal["error", "skip", "silence"]


class Batch(TypedDict):
    """What the loaders yield.

    ``waveform``: float32 ``[batch, samples]``. ``target``: int64 ``[batch]``. ``length``: int64 ``[batch]``, samples of
    the clip before padding. ``row``: int64 ``[batch]``, position in the manifest.
    """

    waveform: Tensor
    target: Tensor
    length: Tensor
    row: Tensor


class AudioDataModule(pl.LightningDataModule, ABC):
    """Recordings of one data source, split, checked, decoded once and loaded in batches.

    A source is a subclass that says what its clips are (:meth:`read`); all the rest is here.

    Args:
        root: folder of the data set.
        sample_rate: rate in hertz to which recordings are resampled.
        clip_seconds: length of a clip; shorter recordings are padded, longer ones cut.
        padding: how a short recording is filled up.
        split: how clips are divided, see :class:`SplitPlan`.
        test_fold: fold to test on.
        validation_fold: fold that chooses the epoch.
        test_fraction: share of the clips to test on, where the split is made here.
        validation_fraction: share of the clips that choose the epoch, where the split is made here.
        batch_size: clips a batch.
        num_workers: processes that assemble batches; 0 suffices, since nothing is decoded in training.
        bad_recordings: what to do about a recording that is missing or cannot be read: stop with a list of all such,
            leave them out, or put silence in their place.
        allow_leakage: go on where a group or the same audio is in two splits.
        cache_dir: where decoded recordings are kept; by default the user's cache folder.
        seed: of a split made here and of the order of the batches.
    """

    def __init__(
        self,
        *,
        root: str,
        sample_rate: int,
        clip_seconds: float,
        padding: Padding,
        split: SplitMethod,
        test_fold: int | None,
        validation_fold: int | None,
        test_fraction: float,
        validation_fraction: float,
        batch_size: int,
        num_workers: int,
        bad_recordings: BadRecordings,
        allow_leakage: bool,
        cache_dir: str | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser()
        self.sample_rate = sample_rate
        self.num_samples = round(clip_seconds * sample_rate)
        self.padding: Padding = padding
        self.plan = SplitPlan(split, test_fold, validation_fold, test_fraction, validation_fraction, seed)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.bad_recordings: BadRecordings = bad_recordings
        self.allow_leakage = allow_leakage
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
        self.seed = seed
        self.progress: Progress | None = None
        self.leakage: Leakage = "cannot be excluded"
        self._ready: tuple[Manifest, DecodedAudio] | None = None

    @abstractmethod
    def read(self) -> Manifest:
        """One row a clip, from tables and file names alone; rows that are wrong go into its ``problems``.

        Raises:
            DataError: the folder is not a data set of this kind.
        """

    @property
    def manifest(self) -> Manifest:
        """The clips with their splits, after :meth:`setup`."""
        return self._loaded()[0]

    @property
    def task(self) -> AudioTask:
        """What the data set asks for, after :meth:`setup`."""
        return AudioTask(self.manifest.classes, self.sample_rate, self.num_samples, self.padding)

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
        manifest = self.read()
        problems = manifest.problems + manifest.missing_files()
        if not problems or self.bad_recordings != "error":
            assign_splits(manifest, self.plan)
            leakage = guard_groups(manifest, self.plan, allow=self.allow_leakage)
        audio = decode_all(manifest.paths(), self.sample_rate, self.cache_dir, progress=self.progress)
        named = {problem.where for problem in problems}
        paths = manifest.table["path"]
        problems += [Problem(paths[row], error) for row, error in audio.errors.items() if paths[row] not in named]
        if problems and self.bad_recordings == "error":
            raise ProblemsError(
                problems,
                "mend them, or choose data.bad_recordings=skip (or silence) to go on without these recordings",
            )
        self.problems = problems
        if self.bad_recordings == "skip" and audio.errors:
            kept = [row for row in range(len(manifest)) if row not in audio.errors]
            manifest, audio = manifest.select(kept), audio.select(kept)
            for split in (TRAIN, VALIDATION, TEST) if self.plan.method != "all" else (TEST,):
                if not len(manifest.rows(split)):
                    raise DataError(f"no clip of the {split} part can be read: see what is wrong with data.root")
        copies = guard_content(manifest, audio.hashes, self.plan, allow=self.allow_leakage)
        self.leakage = "present" if "present" in (leakage, copies) else leakage
        self._ready = manifest, audio

    def match_classes(self, classes: Sequence[str]) -> list[str]:
        """Give the classes another order and number: those of a trained classifier, matched by name.

        Upper and lower case, and spaces, hyphens and underscores, are not told apart. Clips of other classes are
        left out.

        Returns:
            The names that were not found among ``classes``.

        Raises:
            DataError: no name in common.
        """
        manifest, audio = self._loaded()
        names = {_plain(name): name for name in classes}
        renamed = {name: names.get(_plain(name)) for name in manifest.classes}
        unknown = [name for name, match in renamed.items() if match is None]
        if len(unknown) == len(renamed):
            raise DataError(
                f"the classifier knows {', '.join(classes)}; the data has {', '.join(manifest.classes)}: "
                "expected at least one class in common"
            )
        table = manifest.table.assign(label=manifest.table["label"].map(renamed))
        kept = np.flatnonzero(table["label"].notna().to_numpy())
        matched = Manifest(manifest.root, table.iloc[kept], tuple(classes), manifest.problems)
        self._ready = matched, audio.select(kept)
        return unknown

    def train_dataloader(self) -> DataLoader:
        """Training clips, in an order that depends on the seed and the epoch alone."""
        return self._loader(TRAIN, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Validation clips in the order of the manifest."""
        return self._loader(VALIDATION)

    def test_dataloader(self) -> DataLoader:
        """Test clips in the order of the manifest."""
        return self._loader(TEST)

    def sample_waveforms(self, most: int, *, seed: int) -> Iterator[Float[Tensor, "batch samples"]]:
        """Batches of at most ``most`` different training clips, drawn with ``seed``; for feature statistics."""
        dataset = self._dataset(TRAIN)
        drawn = np.random.RandomState(seed).permutation(len(dataset))[:most]
        for start in range(0, len(drawn), self.batch_size):
            yield dataset.__getitems__(drawn[start : start + self.batch_size].tolist())["waveform"]

    def _loaded(self) -> tuple[Manifest, DecodedAudio]:
        if self._ready is None:
            raise RuntimeError("call setup() before asking a data module for its clips")
        return self._ready

    def _dataset(self, split: str) -> "ClipDataset":
        manifest, audio = self._loaded()
        return ClipDataset(manifest, audio, split, self.num_samples, self.padding)

    def _loader(self, split: str, *, shuffle: bool = False) -> DataLoader:
        dataset = self._dataset(split)
        # A last batch of one clip would give batch normalisation nothing to average over; that clip's turn comes in
        # another epoch, since the order changes.
        lone = shuffle and len(dataset) > self.batch_size and len(dataset) % self.batch_size == 1
        sampler = EpochSampler(len(dataset), seed=self.seed, shuffle=shuffle)
        return DataLoader(
            dataset,
            batch_sampler=BatchSampler(sampler, self.batch_size, drop_last=lone),
            collate_fn=_as_is,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Without one of its own, a loader draws from the global generator, and so changes what dropout draws.
            generator=torch.Generator().manual_seed(self.seed),
        )


class ClipDataset(Dataset[Batch]):
    """The clips of one split, a batch at a time."""

    def __init__(self, manifest: Manifest, audio: DecodedAudio, split: str, num_samples: int, padding: Padding) -> None:
        self.rows = manifest.rows(split)
        self.targets = manifest.targets()[self.rows]
        self.audio = audio
        self.num_samples = num_samples
        self.padding: Padding = padding

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        """One batch: no list of single clips that would have to be put together again."""
        waveforms = np.zeros((len(indices), self.num_samples), dtype=np.float32)
        lengths = np.empty(len(indices), dtype=np.int64)
        for position, row in enumerate(self.rows[indices]):
            samples = self.audio[row]
            if len(samples):  # none where silence stands for a recording that cannot be read
                waveforms[position] = fit_length(samples, self.num_samples, self.padding)
            lengths[position] = min(len(samples), self.num_samples)
        return Batch(
            waveform=torch.from_numpy(waveforms),
            target=torch.from_numpy(self.targets[indices]),
            length=torch.from_numpy(lengths),
            row=torch.from_numpy(self.rows[indices]),
        )


class EpochSampler(Sampler[int]):
    """Every index once; shuffled by seed and epoch, so that a resumed training meets the order it would have met."""

    def __init__(self, length: int, *, seed: int, shuffle: bool) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(self._order().tolist())

    def _order(self) -> Int64[np.ndarray, "length"]:
        if not self.shuffle:
            return np.arange(self.length)
        return np.random.default_rng((self.seed, self.epoch)).permutation(self.length)


def _plain(name: str) -> str:
    return "_".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _as_is(batch: Any) -> Any:
    """The data set has put the batch together already."""
    return batch
