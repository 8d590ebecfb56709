"""Real clips for the comparison and calibration of an exported classifier."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from audio_lightning.audio import find_recordings
from audio_lightning.classifier.base import Classifier
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST, TRAIN
from audio_lightning.inference.evaluate import open_data
from audio_lightning.inference.windows import batches, samples_of

MOST_CLIPS = 64
"""Largest number of clips for the comparison, and for the calibration."""

AT_ONCE = 64
"""Test clips in a batch."""


@dataclass(frozen=True)
class RealClips:
    """Clips at the sample rate and length of the classifier.

    Attributes:
        comparison: up to :data:`MOST_CLIPS` clips for the comparison; test clips, if the data of the run is used.
        calibration: up to :data:`MOST_CLIPS` clips for the ranges of activations; training clips, if the data of the
            run is used.
        data: the data of the run, with labelled test clips; None for a folder of recordings.
    """

    comparison: Float[np.ndarray, "clips samples"]
    calibration: Float[np.ndarray, "others samples"]
    data: AudioDataModule | None = None

    def labelled(self) -> Iterator[tuple[Float[np.ndarray, "batch samples"], Shaped[np.ndarray, "batch *classes"]]]:
        """Yield batches of the test clips and their targets; nothing without the data of the run."""
        count = 0 if self.data is None else len(self.data.numbers(TEST))
        for start in range(0, count, AT_ONCE):
            assert self.data is not None
            batch = self.data.batch(TEST, np.arange(start, min(start + AT_ONCE, count)))
            yield batch["waveform"].numpy(), batch["target"].numpy()


def clips_of_folder(classifier: Classifier, folder: Path) -> RealClips:
    """Take windows of the recordings in a folder, as in prediction.

    Raises:
        ConfigError: no such folder, or no readable recording in it.
    """
    if not folder.is_dir():
        raise ConfigError(f"--clips {folder}: no such folder; name a folder with recordings")
    found: list[Float[np.ndarray, "rows samples"]] = []
    count = 0
    for parts in batches(classifier, find_recordings([folder]), batch_size=1):
        if (samples := samples_of(parts)) is not None:
            found.append(samples)
            count += len(samples)
        if count >= MOST_CLIPS:
            break
    if not found:
        raise ConfigError(f"--clips {folder}: no recording in it can be read; name a folder with recordings")
    clips = np.concatenate(found)[:MOST_CLIPS]
    return RealClips(clips, clips)


def clips_of_run(classifier: Classifier, overrides: Iterable[str] = ()) -> RealClips:
    """Take test and training clips of the data that a classifier was trained on.

    Args:
        classifier: a trained classifier.
        overrides: changed paths of the data, such as ``data.root=DIR``.

    Raises:
        ConfigError: the data is missing, or has no test clips.
        DataError: the data has changed.
    """
    try:
        data = open_data(classifier, overrides)
    except (ConfigError, DataError) as error:
        kind = DataError if isinstance(error, DataError) else ConfigError
        raise kind(f"{error}; or name a folder with recordings for the comparison with --clips DIR") from error
    if not len(data.numbers(TEST)):
        raise ConfigError("the data of the run has no test clips; name a folder with recordings with --clips DIR")
    return RealClips(_spread(data, TEST), _spread(data, TRAIN), data)


def _spread(data: AudioDataModule, split: str) -> Float[np.ndarray, "clips samples"]:
    """Take equally spaced clips of a split, because the clips may be ordered by class."""
    count = len(data.numbers(split))
    place = np.unique(np.linspace(0, count - 1, min(count, MOST_CLIPS)).round().astype(np.int64))
    return data.batch(split, place)["waveform"].numpy()
