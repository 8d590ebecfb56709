"""Survey of a fit: the data, the hardware and the candidates, as plain records that are passed between processes."""

from dataclasses import dataclass
from typing import Any

from audio_lightning.core.task import metric_names


@dataclass(frozen=True)
class Machine:
    """Hardware of a fit: name of the device, number of cores, memory in GB."""

    device: str
    cores: int
    memory_gb: float


@dataclass(frozen=True)
class Surveyed:
    """Candidate before it is trained.

    Attributes:
        title: description in words.
        step_seconds: seconds per step with the threads of one worker, while other workers train.
        steps_an_epoch: steps per epoch over the training clips of one fold.
        impossible: why it cannot be trained; None if it can.
        predict_seconds: prediction time of one of its models per clip in seconds
            (:func:`audio_lightning.inference.clip_time.seconds_a_clip`).
        frozen: whether it is a classifier on frozen embeddings of a pretrained network. These are computed once before
            the trainings, so that a training takes seconds.
    """

    title: str
    step_seconds: float
    steps_an_epoch: int
    impossible: str | None = None
    predict_seconds: float = 0.0
    frozen: bool = False


@dataclass(frozen=True)
class Survey:
    """Survey of the data and the candidates of a fit.

    Attributes:
        properties: properties of the data as in a plan: name, value, keys.
        choices: key, value and reason of every setting that was derived from the recordings.
        machine: hardware on which steps were timed.
        candidates: candidates by name, from strong to quick.
        folds: overrides that test each fold.
        fold_origin: origin of the folds in a few words.
        classes: names of the classes.
        multilabel: whether a clip may have several labels.
        recordings: number of recordings.
        clips: number of manifest rows.
        groups: number of groups; None if unknown.
        notes: notes about the data for the user.
        alone: speed-up of a step of the strongest candidate with the threads of all workers.
    """

    properties: list[dict[str, Any]]
    choices: list[dict[str, Any]]
    machine: Machine
    candidates: dict[str, Surveyed]
    folds: list[list[str]]
    fold_origin: str
    classes: list[str]
    multilabel: bool
    recordings: int
    clips: int
    groups: int | None
    notes: list[str]
    alone: float = 1.0

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics for the data; the first is the default for selection."""
        return metric_names(multilabel=self.multilabel)
