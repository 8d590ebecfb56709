"""Cached embeddings: all clips of a training are embedded once per machine instead of in every epoch."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from audio_lightning.augment import Augmentation
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.progress import progress_shown
from audio_lightning.core.seeding import seed_generators
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import SPLITS, TRAIN
from audio_lightning.data.store.embeddings import clip_keys, embedded
from audio_lightning.data.store.recordings import digest
from audio_lightning.models.pretrained.embedding import Embedding

BATCH = 128
"""Number of clips per batch."""


class KnownEmbeddings:
    """Lookup of the cached embeddings of clips; augmented clips and background clips are computed.

    Args:
        rows: embeddings before normalization, one row per clip that has one.
        place: row of each clip; -1 if it has none.
        normalized: function that normalizes embeddings as the front end does.
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
        """Return the features of a batch; see :class:`audio_lightning.features.memory.FeatureMemory`."""
        place = self._place[clip.cpu()]
        if (place < 0).any():
            return compute(waveform)
        return self._normalized(self._rows[place].to(waveform.device))


def embed_once(front_end: Embedding, datamodule: AudioDataModule, *, fit: bool) -> KnownEmbeddings:
    """Return the embeddings of the clips of all splits; compute the embeddings that are not cached on this machine.

    Args:
        front_end: front end of the training, on the device that computes.
        datamodule: data module that has been set up.
        fit: whether to compute the feature statistics of the front end from all training clips.
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


class KnownViews:
    """Lookup of the cached embeddings of augmented training clips; one view per clip is drawn at random each time.

    Args:
        rows: embeddings before normalization, of every view of every clip.
        place: row of each clip; -1 if it has none.
        normalized: function that normalizes embeddings as the front end does.
    """

    def __init__(
        self,
        rows: Float[Tensor, "views rows 1 values"],
        place: Int64[Tensor, "clips"],
        normalized: Callable[[Tensor], Tensor],
    ) -> None:
        self._rows, self._place, self._normalized = rows, place, normalized

    def __call__(
        self, clip: Int64[Tensor, "batch"], waveform: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch 1 values"] | None:
        """Return the features of one view of each clip of a batch; None if any clip has no views."""
        place = self._place[clip.cpu()]
        if (place < 0).any():
            return None
        view = torch.randint(len(self._rows), place.shape)
        return self._normalized(self._rows[view, place].to(waveform.device))


def embed_views(
    front_end: Embedding, augmentation: Augmentation, datamodule: AudioDataModule, config: Mapping[str, Any]
) -> KnownViews | None:
    """Return the embeddings of ``feature.views`` augmented versions of each training clip, cached on this machine.

    The augmentation of a view depends only on the content of the clip, the number of the view and the seed, so that
    trainings on other splits can reuse it. Background clips, which are cut at random positions, have no views.

    Args:
        front_end: front end of the training, on the device that computes.
        augmentation: augmentation of the training, with the recordings that it needs.
        datamodule: data module that has been set up.
        config: configuration of the training.

    Returns:
        The lookup of the embeddings; None if ``feature.views`` is 0.

    Raises:
        ConfigError: the augmentation changes no waveforms, or mixes waveforms of different clips.
    """
    if not front_end.views:
        return None
    if augmentation.mixes_waveforms:
        raise ConfigError(
            f"feature.views={front_end.views}: augment mixes waveforms of two clips, a different pair in every "
            "epoch; mix features (augment.pairs.NAME.domain=features), or remove that augmentation"
        )
    if not augmentation.changes_waveforms:
        raise ConfigError(
            f"feature.views={front_end.views}: augment changes no waveforms; choose one that does, such as "
            "augment=auto, or feature.views=0"
        )
    numbers = datamodule.numbers(TRAIN)
    position = np.flatnonzero(~datamodule.clips.background[numbers])
    numbers = numbers[position]
    of_clips = clip_keys(datamodule.clips.select(numbers), datamodule.content)
    digests = [digest(key.tobytes() + bytes([view])) for view in range(front_end.views) for key in of_clips]
    keys = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)

    def compute(new: Int64[np.ndarray, "new"]) -> Iterator[Float[np.ndarray, "batch values"]]:
        with progress_shown(f"embedding changed clips with {front_end.backbone.title}") as progress, isolate_rng():
            for start in range(0, len(new), BATCH):
                some = new[start : start + BATCH]
                clips = datamodule.batch(TRAIN, position[some % len(position)])["waveform"].split(1)
                changed = [_changed(augmentation, clip, keys[row], config["seed"]) for clip, row in zip(clips, some)]
                yield front_end.embed(torch.cat(changed)).squeeze(1).cpu().numpy()
                progress(start + len(some), len(new))

    described = json.dumps([config["augment"], config["seed"], augmentation.digest_of_recordings()], sort_keys=True)
    name = digest(f"{front_end.identity} {datamodule.padding} {described}".encode()).hex()
    rows = embedded(keys, front_end.output_shape.dims[1], compute, datamodule.cache, name)
    place = torch.full((len(datamodule.clips),), -1)
    place[torch.from_numpy(numbers)] = torch.arange(len(numbers))
    known = torch.from_numpy(rows).reshape(front_end.views, len(numbers), 1, -1)
    return KnownViews(known, place, front_end.normalized)


def _changed(
    augmentation: Augmentation, clip: Float[Tensor, "1 time"], key: UInt8[np.ndarray, "bytes"], seed: int
) -> Float[Tensor, "1 time"]:
    """Augment a clip with a random generator that is seeded by its key."""
    seed_generators([seed, *key.tolist()])
    changed, _ = augmentation.on_waveforms(clip, torch.zeros(1, dtype=torch.long))
    return changed
