"""Samplers and data set of batches of clips."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from audio_lightning.data.loading.clips import Clips
from audio_lightning.data.loading.gather import Gather

Sampling = Literal["uniform", "balanced"]


class Batch(TypedDict):
    """Batch of clips with their targets.

    ``waveform``: float32 ``[batch, samples]``. ``target``: int64 ``[batch]``, or multi-hot float32 ``[batch, classes]``
    for clips with several labels. ``length``: int64 ``[batch]``, number of samples of each clip before padding.
    ``clip``: int64 ``[batch]``, index among all clips of the data module.
    """

    waveform: Tensor
    target: Tensor
    length: Tensor
    clip: Tensor


class Place(TypedDict):
    """Batch before its samples are gathered.

    ``start``: int64 ``[batch]``, index of each clip's first sample. ``gain``: float32 ``[batch]``, factor of each
    waveform. The other entries are as in :class:`Batch`.
    """

    start: Tensor
    gain: Tensor
    target: Tensor
    length: Tensor
    clip: Tensor


def fetch(place: Place, gather: Gather) -> Batch:
    """Gather the samples of a batch, on the device that holds them."""
    waveform = gather(place["start"], place["length"])
    changed = torch.nonzero(place["gain"] != 1).flatten()
    if len(changed):
        waveform[changed.to(gather.device)] *= place["gain"][changed].to(gather.device)[:, None]
    return Batch(waveform=waveform, target=place["target"], length=place["length"], clip=place["clip"])


@dataclass(frozen=True)
class Draw:
    """Indices of the clips of one batch in the data set, and the epoch of the batch."""

    epoch: int
    index: Int64[np.ndarray, "batch"]


@dataclass
class ClipDataset(Dataset[Batch | Place]):
    """Map-style data set of one split whose items are whole batches.

    Attributes:
        clips: clips of the split; ``start`` counts in the samples of ``gather``.
        number: index of each clip among all clips of the data module.
        target: class index of each clip, or a multi-hot row.
        gather: gathers samples. None: items are of type :class:`Place`, and the data module gathers their samples on
            the device.
        num_samples: length of a clip in samples.
        seed: seed of randomly drawn background noise.
        redraw: draw new background noise in each epoch, as in training; otherwise it is the same in all epochs.
    """

    clips: Clips
    number: Int64[np.ndarray, "clips"]
    target: Shaped[np.ndarray, "clips ..."]
    gather: Gather | None
    num_samples: int
    seed: int
    redraw: bool

    def __post_init__(self) -> None:
        self._noise = np.flatnonzero(self.clips.background)
        self._drawn: tuple[int, Float[np.ndarray, "2 clips"]] | None = None

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, draw: Draw) -> Batch | Place:
        """Return one batch, not a list of clips to collate."""
        return self.place(draw) if self.gather is None else self.batch(draw)

    def batch(self, draw: Draw) -> Batch:
        """Batch with its samples."""
        assert self.gather is not None
        return fetch(self.place(draw), self.gather)

    def place(self, draw: Draw) -> Place:
        """Batch with the positions of its samples."""
        index = draw.index
        start, length = self.clips.start[index], self.clips.length[index]
        gain = np.ones(len(index), dtype=np.float32)
        if len(self._noise):
            shift, volume = self._random(draw.epoch)
            noise = self.clips.background[index]
            room = np.maximum(0, length - self.num_samples)
            start = start + np.where(noise, np.floor(shift[index] * (room + 1)), 0).astype(np.int64)
            gain = np.where(noise, volume[index], 1).astype(np.float32)
        return Place(
            start=torch.from_numpy(start),
            gain=torch.from_numpy(gain),
            target=torch.from_numpy(self.target[index]),
            length=torch.from_numpy(np.minimum(length, self.num_samples)),
            clip=torch.from_numpy(self.number[index]),
        )

    def _random(self, epoch: int) -> Float[np.ndarray, "2 clips"]:
        """Position and volume of background noise, uniform from 0 to 1, by seed, epoch and clip."""
        epoch = epoch if self.redraw else 0
        if self._drawn is None or self._drawn[0] != epoch:
            values = np.zeros((2, len(self.clips)))
            values[:, self._noise] = np.random.default_rng((self.seed, epoch, 1)).random((2, len(self._noise)))
            self._drawn = epoch, values
        return self._drawn[1]


class EpochSampler(Sampler[int]):
    """Sampler whose order depends only on the seed and the epoch, so that a resumed training repeats it.

    Args:
        length: number of clips.
        seed: seed of the order.
        shuffle: draw a random order; otherwise clips keep their order.
        classes: class index of each clip, to draw all classes with equal probability: ``length`` clips with
            replacement. None to draw every clip once.
        same: use the order of the first epoch in all epochs, so that the batches are the same.
    """

    def __init__(
        self,
        length: int,
        *,
        seed: int,
        shuffle: bool,
        classes: Int64[np.ndarray, "clips"] | None = None,
        same: bool = False,
    ) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.same = same
        self.epoch = 0
        self._probabilities = None
        if classes is not None:
            rarity = 1 / np.bincount(classes)[classes]
            self._probabilities = rarity / rarity.sum()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before every epoch."""
        self.epoch = 0 if self.same else epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> Int64[np.ndarray, "clips"]:
        """Order of the clips in the current epoch."""
        if not self.shuffle:
            return np.arange(self.length)
        rng = np.random.default_rng((self.seed, self.epoch))
        if self._probabilities is not None:
            return rng.choice(self.length, self.length, p=self._probabilities)
        return rng.permutation(self.length)


class EpochBatches(Sampler[Draw]):
    """Batch sampler that divides the order of a sampler into batches, and these among the training processes.

    All processes get the same number of batches, because they synchronize in every step.

    In training, one step of all processes uses ``batch_size * processes`` clips. Every process gets an equal part of
    them, because their gradients are averaged with equal weights. A remainder smaller than the number of processes is
    dropped. So is a last batch of one clip, unless it is the only batch, because batch normalization cannot compute
    statistics of one clip. The order changes from epoch to epoch, so dropped clips are used in others.

    In evaluation, every clip is used exactly once. The batches are the same as with a single process, and are assigned
    to the processes in turn. A process without a remaining batch gets an empty one.

    Args:
        sampler: order of the clips, the same in all processes.
        batch_size: clips per batch.
        training: whether the batches are for training.
        rank: index of this process.
        processes: number of processes.
    """

    def __init__(
        self, sampler: EpochSampler, batch_size: int, *, training: bool, rank: int = 0, processes: int = 1
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.training = training
        self.rank = rank
        self.processes = processes

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size * self.processes)
        if self.training:
            last = rest // self.processes
            return full + (last > 1 or (last == 1 and full == 0))
        return full + (rest > 0)

    def __iter__(self) -> Iterator[Draw]:
        order, epoch = self.sampler.order(), self.sampler.epoch
        step = self.batch_size * self.processes
        for start in range(0, len(self) * step, step):
            clips = order[start : start + step]
            if self.training:
                divisible = len(clips) - len(clips) % self.processes
                yield Draw(epoch, clips[self.rank : divisible : self.processes])
            else:
                yield Draw(epoch, clips[self.rank * self.batch_size : (self.rank + 1) * self.batch_size])
