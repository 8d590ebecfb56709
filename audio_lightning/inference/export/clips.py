"""The real clips that an exported classifier is compared and calibrated on."""

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
"""Clips for a comparison, and as many for a calibration."""

AT_ONCE = 64
"""Test clips of a batch."""


@dataclass(frozen=True)
class RealClips:
    """Clips at the rate and of the length of the classifier.

    Attributes:
        comparison: up to :data:`MOST_CLIPS`, none of them trained on where the data of the run is used.
        calibration: the same number for the ranges of activations, of the training where the data of the run is used.
        data: the data of the run, whose test clips have labels; None for a folder of recordings.
    """

    comparison: Float[np.ndarray, "clips samples"]
    calibration: Float[np.ndarray, "others samples"]
    data: AudioDataModule | None = None

    def labelled(self) -> Iterator[tuple[Float[np.ndarray, "batch samples"], Shaped[np.ndarray, "batch *classes"]]]:
        """Batches of the test clips and their targets; none without the data of the run."""
        count = 0 if self.data is None else len(self.data.numbers(TEST))
        for start in range(0, count, AT_ONCE):
            assert self.data is not None
            batch = self.data.batch(TEST, np.arange(start, min(start + AT_ONCE, count)))
            yield batch["waveform"].numpy(), batch["target"].numpy()


def clips_of_folder(classifier: Classifier, folder: Path) -> RealClips:
    """Windows of the recordings in a folder, as a prediction cuts them.

    Raises:
        ConfigError: there is no such folder, or no recording in it that can be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"--clips {folder}: there is no such folder; name one with recordings")
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
    """Test and training clips of the data that a classifier was trained on.

    Args:
        classifier: a trained one.
        overrides: where the data is now, such as ``data.root=DIR``.

    Raises:
        ConfigError: the data is not there, or has no test clips.
        DataError: it is another one.
    """
    try:
        data = open_data(classifier, overrides)
    except (ConfigError, DataError) as error:
        kind = DataError if isinstance(error, DataError) else ConfigError
        raise kind(f"{error}; or name a folder with recordings to compare on by --clips DIR") from error
    if not len(data.numbers(TEST)):
        raise ConfigError("the data of the run has no test clips: name a folder with recordings by --clips DIR")
    return RealClips(_spread(data, TEST), _spread(data, TRAIN), data)


def _spread(data: AudioDataModule, split: str) -> Float[np.ndarray, "clips samples"]:
    """Clips of a part of the data, equally spaced in its order, in which one class may follow the other."""
    count = len(data.numbers(split))
    place = np.unique(np.linspace(0, count - 1, min(count, MOST_CLIPS)).round().astype(np.int64))
    return data.batch(split, place)["waveform"].numpy()
