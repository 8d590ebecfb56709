"""Embeddings of all clips of a training, from the machine's store, in place of a network that is run in every epoch."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from audio_lightning.core.progress import progress_shown
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import SPLITS, TRAIN
from audio_lightning.data.store.embeddings import clip_keys, embedded
from audio_lightning.data.store.recordings import digest
from audio_lightning.models.pretrained.embedding import Embedding

BATCH = 128
"""Clips that are read at once."""


class KnownEmbeddings:
    """Looks features of clips up; clips that are changed in training are computed, as are those of background.

    Args:
        rows: embeddings, before normalization, of every clip that has one.
        place: of each clip among the rows; -1 where it has none.
        normalized: normalizes them as the front end does.
    """

    def __init__(
        self,
        rows: Float[Tensor, "rows 1 values"],
        place: Int64[Tensor, "clips"],
        normalized: Callable[[Tensor], Tensor],
    ) -> None:
        self._rows, self._place, self._normalized = rows, place, normalized

    def __call__(
        self, clip: Int64[Tensor, "batch"], waveform: Float[Tensor, "batch time"], compute: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "batch 1 values"]:
        """The features of a batch; see :class:`audio_lightning.features.memory.FeatureMemory`."""
        place = self._place[clip.cpu()]
        if (place < 0).any():
            return compute(waveform)
        return self._normalized(self._rows[place].to(waveform.device))


def embed_once(front_end: Embedding, datamodule: AudioDataModule, *, fit: bool) -> KnownEmbeddings:
    """Embed the clips of all splits, where no run on this machine has done so.

    Args:
        front_end: of the training, on the device that is to compute.
        datamodule: set up.
        fit: whether the front end takes its statistics, of all training clips.
    """
    clips = datamodule.clips
    of_splits = [datamodule.numbers(split) for split in SPLITS]
    split = np.repeat(np.arange(len(SPLITS)), [len(numbers) for numbers in of_splits])
    position = np.concatenate([np.arange(len(numbers)) for numbers in of_splits])
    numbers = np.concatenate(of_splits)
    fixed = ~clips.background[numbers]
    split, position, numbers = split[fixed], position[fixed], numbers[fixed]

    def compute(new: Int64[np.ndarray, "new"]) -> Iterator[Float[np.ndarray, "batch values"]]:
        with progress_shown(f"embedding clips with {front_end.backbone.title}") as progress:
            done = 0
            for which, name in enumerate(SPLITS):
                places = position[new[split[new] == which]]
                for start in range(0, len(places), BATCH):
                    batch = datamodule.batch(name, places[start : start + BATCH])
                    yield front_end.embed(batch["waveform"]).squeeze(1).cpu().numpy()
                    done += len(batch["waveform"])
                    progress(done, len(new))

    keys = clip_keys(clips.select(numbers), datamodule.content)
    name = digest(f"{front_end.identity} {datamodule.padding}".encode()).hex()
    rows = embedded(keys, front_end.output_shape.dims[1], compute, datamodule.cache, name)
    place = torch.full((len(clips),), -1)
    place[torch.from_numpy(numbers)] = torch.arange(len(numbers))
    known = torch.from_numpy(rows).unsqueeze(1)
    if fit and front_end.needs_statistics:
        trained = place[torch.from_numpy(datamodule.numbers(TRAIN))]
        front_end.fit_embeddings([known[trained[trained >= 0]]])
    return KnownEmbeddings(known, place, front_end.normalized)
