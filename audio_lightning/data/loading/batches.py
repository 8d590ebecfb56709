"""Which clips come together in a batch, and how its tensors are made."""

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
    """What a classifier is given.

    ``waveform``: float32 ``[batch, samples]``. ``target``: int64 ``[batch]``, or float32 ``[batch, classes]`` where a
    clip may have several labels. ``length``: int64 ``[batch]``, samples of the clip before padding. ``clip``: int64
    ``[batch]``, position among the clips of the data module.
    """

    waveform: Tensor
    target: Tensor
    length: Tensor
    clip: Tensor


class Place(TypedDict):
    """A batch before its samples are fetched: where they are, and how loud they are to be."""

    start: Tensor
    gain: Tensor
    target: Tensor
    length: Tensor
    clip: Tensor


def fetch(place: Place, gather: Gather) -> Batch:
    """Put the samples in, on the device where they lie."""
    waveform = gather(place["start"], place["length"])
    changed = torch.nonzero(place["gain"] != 1).flatten()
    if len(changed):
        waveform[changed.to(gather.device)] *= place["gain"][changed].to(gather.device)[:, None]
    return Batch(waveform=waveform, target=place["target"], length=place["length"], clip=place["clip"])


@dataclass(frozen=True)
class Draw:
    """The clips of one batch, as positions in the data set, and the epoch that it is for."""

    epoch: int
    index: Int64[np.ndarray, "batch"]


@dataclass
class ClipDataset(Dataset[Batch | Place]):
    """The clips of one split, a batch at a time.

    Attributes:
        clips: those of the split, with ``start`` as ``gather`` counts.
        number: position of each clip among those of the data module.
        target: index of the class of each, or a row of zeros and ones.
        gather: takes samples; None leaves that to whoever has them, and yields a :class:`Place`.
        num_samples: length of a clip.
        seed: of background noise that is drawn at random.
        redraw: whether such noise is another in each epoch, as in training, or always the same.
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
        """One batch: no list of single clips that would have to be put together again."""
        return self.place(draw) if self.gather is None else self.batch(draw)

    def batch(self, draw: Draw) -> Batch:
        """A batch with its samples."""
        assert self.gather is not None
        return fetch(self.place(draw), self.gather)

    def place(self, draw: Draw) -> Place:
        """Where the samples of a batch are."""
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
        """Place and volume of background noise: uniform from 0 to 1, by seed, epoch and position."""
        epoch = epoch if self.redraw else 0
        if self._drawn is None or self._drawn[0] != epoch:
            values = np.zeros((2, len(self.clips)))
            values[:, self._noise] = np.random.default_rng((self.seed, epoch, 1)).random((2, len(self._noise)))
            self._drawn = epoch, values
        return self._drawn[1]


class EpochSampler(Sampler[int]):
    """An order of clips that depends on the seed and the epoch alone, so that a resumed training meets it again.

    Args:
        length: number of clips.
        seed: of the order.
        shuffle: whether there is any; otherwise clips come as they are.
        classes: index of each clip's class, for drawing classes with equal probability: as many clips as there are,
            with replacement. None for every clip once.
        same: keep the order of the first epoch, so that all epochs have the same batches.
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
        """Lightning calls this before every epoch."""
        self.epoch = 0 if self.same else epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> Int64[np.ndarray, "clips"]:
        """The clips of the epoch that was set."""
        if not self.shuffle:
            return np.arange(self.length)
        rng = np.random.default_rng((self.seed, self.epoch))
        if self._probabilities is not None:
            return rng.choice(self.length, self.length, p=self._probabilities)
        return rng.permutation(self.length)


class EpochBatches(Sampler[Draw]):
    """The order of a sampler, cut into batches, of which each process that trains gets its own.

    All processes get equally many, because each waits for the others in every step.

    In training, one step of all processes takes ``batch_size * processes`` clips of the order, and every process an
    equal part of them, because their gradients are averaged with equal weights. The clips that cannot be divided so
    (fewer than there are processes) are left out, and so is a last batch of one clip, which would give batch
    normalization nothing to average over; they have their turn in another epoch, since the order changes.

    In evaluation, every clip comes exactly once, in the batches of a single process, which are dealt out in turn. A
    process for which none is left gets an empty one.

    Args:
        sampler: gives the order, the same one in all processes.
        batch_size: clips a batch.
        training: whether the batches are to be trained on.
        rank: number of this process.
        processes: how many there are.
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
