"""Nearest training clips of a clip, by the cosine similarity of their embeddings."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from audio_lightning.classifier.base import Classifier
from audio_lightning.data.manifest import TRAIN
from audio_lightning.inference.evaluate import run_data
from audio_lightning.inference.windows import BATCH_SIZE

MOST_CLIPS = 2000
"""Largest number of training clips that are compared; larger data sets are sampled."""


@dataclass(frozen=True)
class Neighbour:
    """A training clip that is similar to another clip.

    Attributes:
        path: recording of the clip, as in the manifest.
        label: label of the clip.
        start_seconds: start of the clip in the recording.
        similarity: cosine similarity of the two embeddings.
    """

    path: str
    label: str
    start_seconds: float
    similarity: float


@torch.inference_mode()
def nearest_training_clips(classifier: Classifier, waveform: Float[Tensor, "samples"], number: int) -> list[Neighbour]:
    """Find the training clips with the most similar embeddings, nearest first.

    Args:
        classifier: in evaluation mode.
        waveform: a clip of ``classifier.task.num_samples`` samples.
        number: number of clips.

    Raises:
        CheckpointError, ConfigError, DataError: the training data is missing or has changed.
    """
    datamodule = run_data(classifier)
    numbers = datamodule.numbers(TRAIN)
    position = np.random.default_rng(datamodule.seed).permutation(len(numbers))[:MOST_CLIPS]
    own = functional.normalize(classifier.embed(waveform[None].to(classifier.device)).float())
    found = []
    for start in range(0, len(position), BATCH_SIZE):
        batch = datamodule.batch(TRAIN, position[start : start + BATCH_SIZE])
        embeddings = classifier.embed(batch["waveform"].to(classifier.device)).float()
        found.append((functional.normalize(embeddings) @ own.T)[:, 0].cpu())
    similarity = torch.cat(found)
    best = similarity.argsort(descending=True, stable=True)[:number].tolist()
    clips = datamodule.clips.select(numbers[position[best]])
    table = datamodule.manifest.table.iloc[clips.row]
    return [
        Neighbour(str(path), str(label), round(float(offset) / datamodule.sample_rate, 3), round(float(value), 4))
        for path, label, offset, value in zip(table["path"], table["label"], clips.offset, similarity[best])
    ]
