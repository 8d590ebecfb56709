"""Teacher of a knowledge distillation: a trained classifier whose probabilities are a part of the targets."""

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.distillation import TEACHER, Distillation, check_alike
from audio_lightning.classifier.loading import load
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.progress import progress_shown
from audio_lightning.core.task import AudioTask
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST, TRAIN, VALIDATION
from audio_lightning.data.store.fingerprints import overlapping, segments

BATCH = 128
"""Number of clips per batch of :meth:`Teacher.memorize`."""


class Teacher:
    """Trained classifier in evaluation mode, with frozen weights, that changes the targets of a training.

    It is no module, so that it is neither trained nor stored in the state dict of the student.

    Args:
        classifier: the trained classifier, of a run or an ensemble.
        settings: settings of the distillation.
        sha256: SHA-256 of its file, in hexadecimal.

    Attributes:
        trained_on: fingerprints of the segments of its training clips; None if unknown.
        sha256: SHA-256 of its file.
    """

    def __init__(self, classifier: Classifier, settings: Distillation, sha256: str) -> None:
        self._classifier, self._settings = classifier.requires_grad_(False).eval(), settings
        self.trained_on: Shaped[np.ndarray, "segments"] | None = classifier.trained_on
        self.sha256 = sha256
        self._known: Float[Tensor, "clips classes"] | None = None
        self._place: Int64[Tensor, "clips"] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Teacher":
        """Return the teacher itself: copies of a student share it, because it does not change."""
        return self

    def __str__(self) -> str:
        titles = Counter(network.title for network in self._classifier.networks)
        what = ", ".join(f"{count} x {title}" if count > 1 else title for title, count in titles.items())
        return f"teacher: {what} of {self._settings.teacher}, {self._settings.weight:g} of every target"

    def probabilities(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Compute calibrated probabilities in float32, whatever the precision of the training."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self._classifier.probabilities(waveform.float())

    def targets(
        self,
        target: Float[Tensor, "batch classes"],
        waveform: Float[Tensor, "batch samples"],
        clip: Int64[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch classes"]:
        """Mix the probabilities of the teacher into targets.

        Args:
            target: probability of every class for every clip.
            waveform: the waveforms that the student gets.
            clip: indices of the clips, if their waveforms are the same in every epoch; None otherwise.

        Returns:
            ``(1 - weight) * target + weight * probabilities``.
        """
        found = None if clip is None else self._recalled(clip)
        if found is None:
            found = self.probabilities(waveform)
        weight = self._settings.weight
        return (1 - weight) * target + weight * found.to(target)

    def memorize(self, datamodule: AudioDataModule) -> None:
        """Compute the probabilities of all training clips that are the same in every epoch, once.

        They are computed in the order of the clips, so that they equal those of a resumed training bit for bit.
        """
        numbers = datamodule.numbers(TRAIN)
        position = np.flatnonzero(~datamodule.clips.background[numbers])
        device, parts = self._classifier.device, []
        with progress_shown("probabilities of the teacher") as progress:
            for start in range(0, len(position), BATCH):
                batch = datamodule.batch(TRAIN, position[start : start + BATCH])
                parts.append(self.probabilities(batch["waveform"].to(device)))
                progress(start + len(parts[-1]), len(position))
        if not parts:
            return
        self._known = torch.cat(parts)
        place = torch.full((len(datamodule.clips),), -1)
        place[torch.from_numpy(numbers[position])] = torch.arange(len(position))
        self._place = place.to(device)

    def overlap(self, datamodule: AudioDataModule) -> dict[str, tuple[int, int]]:
        """Count the clips of a split that are in the teacher's training data, and all clips of the split.

        Clips that are in the training split of the same data, too, are not counted: the leakage check has found them.

        Returns:
            Both numbers by split, for the validation and test splits in which there are such clips. Windows of one
            recording count once. It is empty if the training data of the teacher is unknown.
        """
        if self.trained_on is None:
            return {}
        own, found = segments(datamodule, datamodule.manifest.rows(TRAIN)), {}
        for split in (VALIDATION, TEST):
            rows = np.unique(datamodule.clips.row[datamodule.numbers(split)])
            tested = segments(datamodule, rows)
            known = overlapping(tested, self.trained_on) & ~overlapping(tested, own)
            if known.any():
                found[split] = int(known.sum()), len(rows)
        return found

    def check_unseen(self, datamodule: AudioDataModule) -> str | None:
        """Check that the teacher was not trained on the clips that validate and test the student.

        Args:
            datamodule: data of the student, after its setup.

        Returns:
            A note for the user, if the teacher may have been: ``data.allow_leakage`` is true, or its training data is
            unknown. Otherwise None.

        Raises:
            DataError: it was, and ``data.allow_leakage`` is false.
        """
        where = f"distill.teacher={self._settings.teacher}"
        if self.trained_on is None:
            return f"{where} does not record its training data, so leakage into validation and test is unknown"
        if not (found := self.overlap(datamodule)):
            return None
        what = "clips" if datamodule.hop_samples is None else "recordings"
        counts = " and ".join(f"{seen:,} of {every:,} {split} {what}" for split, (seen, every) in found.items())
        if datamodule.checks.allow_leakage:
            return f"{where} was trained on {counts}: the metrics do not hold for new recordings"
        raise DataError(
            f"{where} was trained on {counts} of this run, so the metrics of the student would be too high; use the "
            "split of the teacher, train a student for use on all clips (data.split=train_only "
            "data.validation_fraction=0.0), or set data.allow_leakage=true, which is recorded in the results"
        )

    def _recalled(self, clip: Int64[Tensor, "batch"]) -> Float[Tensor, "batch classes"] | None:
        """Return the memorized probabilities; None unless all are known."""
        if self._known is None or self._place is None:
            return None
        place = self._place[clip.to(self._place.device)]
        return None if bool((place < 0).any()) else self._known[place]


def load_teacher(
    cls: type[ClassifierNetwork],
    settings: Distillation,
    task: AudioTask,
    data: dict[str, Any],
    device: torch.device,
) -> Teacher:
    """Load the teacher of a training; nothing in its file is executed, and no random numbers are consumed.

    Args:
        cls: class of the classifiers.
        settings: settings of the distillation.
        task: task of the student.
        data: ``data`` of the student's configuration.
        device: device of the training.

    Raises:
        CheckpointError: see :meth:`audio_lightning.classifier.classifier.AudioClassifier.load_from_checkpoint`.
        ConfigError: there is no such file, or the teacher does not fit the student.
    """
    path = settings.checkpoint
    with isolate_rng():
        classifier = load(cls, path, trust=None)
    check_alike(settings, (classifier.task, classifier.config["data"]), (task, data))
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Teacher(classifier.to(device), settings, sha256)


def check_same_teacher(checkpoint: dict[str, Any], teacher: Teacher | None) -> None:
    """Check that a run is resumed with the teacher that it began with.

    Args:
        checkpoint: contents of the run's checkpoint.
        teacher: teacher of the resumed training.

    Raises:
        ConfigError: another one, or one more or less.
    """
    before, now = checkpoint["audio_lightning"].get(TEACHER), None if teacher is None else teacher.sha256
    if before != now:
        shown = [f"SHA-256 {str(found)[:12]}" if found else "none" for found in (now, before)]
        raise ConfigError(
            f"distill.teacher: another teacher than that of the run to resume ({shown[0]}, expected {shown[1]}); give "
            "its file as distill.teacher=FILE"
        )
