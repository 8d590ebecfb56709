"""What the best weights answer to the clips that were kept back."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST


@dataclass(frozen=True)
class Answers:
    """Answers of a classifier to clips of one part.

    Attributes:
        part: ``test`` or ``validation``.
        position: of each clip among those of the part.
        row: of the manifest, of each clip.
        targets: ``[clips]``, or ``[clips, classes]`` where they have several labels.
        probabilities: of every clip and class.
    """

    part: str
    position: Int64[np.ndarray, "clips"]
    row: Int64[np.ndarray, "clips"]
    targets: Tensor
    probabilities: Float[Tensor, "clips classes"]


def answered(classifier: AudioClassifier, datamodule: AudioDataModule, part: str) -> Answers:
    """The answers to the test clips, as the test got them; others are asked for here."""
    numbers = datamodule.numbers(part)
    if part == TEST:
        number, probabilities = classifier.last_predictions()
        position = np.searchsorted(numbers, number.numpy())
    else:
        position = np.arange(len(numbers))
        batches = np.split(position, range(datamodule.batch_size, len(position), datamodule.batch_size))
        found = [classifier.probabilities(datamodule.batch(part, batch)["waveform"]).cpu() for batch in batches]
        probabilities = torch.cat(found)
    row = datamodule.clips.row[numbers[position]]
    targets = torch.from_numpy(datamodule.manifest.targets()[row])
    return Answers(part, position, row, targets, probabilities)
