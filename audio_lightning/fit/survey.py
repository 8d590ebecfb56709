"""What a fit knows before it decides what to try, as plain records that processes hand to one another."""

from dataclasses import dataclass
from typing import Any

from audio_lightning.core.task import metric_names


@dataclass(frozen=True)
class Machine:
    """What a fit runs on: the name of the device, its cores, and its memory in gigabytes."""

    device: str
    cores: int
    memory_gb: float


@dataclass(frozen=True)
class Surveyed:
    """One candidate before it is tried.

    Attributes:
        title: what it is, in words.
        step_seconds: what a step takes with the threads that a training has, beside others.
        steps_an_epoch: steps of an epoch over the training part of one fold.
        impossible: why it cannot be tried; None where it can.
        predict_seconds: what predicting takes one of its models a clip
            (:func:`audio_lightning.inference.clip_time.seconds_a_clip`).
        frozen: whether it is a classifier on what a published network makes of the clips, which is computed once,
            before the trainings, so that these take next to nothing.
    """

    title: str
    step_seconds: float
    steps_an_epoch: int
    impossible: str | None = None
    predict_seconds: float = 0.0
    frozen: bool = False


@dataclass(frozen=True)
class Survey:
    """What there is to fit.

    Attributes:
        properties: of the data, as a plan has them: name, value, keys.
        choices: key, value and reason of everything that followed from the recordings.
        machine: where the steps were timed.
        candidates: by name, from strong to quick.
        folds: overrides of every fold, one of which is tested with each.
        fold_origin: where the folds come from, in a few words.
        classes: names.
        multilabel: whether a clip may have several labels.
        recordings: number of them.
        clips: rows of the manifest.
        groups: number of groups; None where nobody knows.
        notes: what a user should know of the data.
        alone: how much faster a step of the strongest candidate is with the threads of all trainings.
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
        """Metrics of such data; the first one is chosen by unless another is named."""
        return metric_names(multilabel=self.multilabel)
