"""Folder and summary (``fit.json``) of a fit; written by ``audio-lightning fit``, read by its page."""

import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from audio_lightning.compare.trials import SweepFolder
from audio_lightning.config.targets import check_arguments
from audio_lightning.core.errors import ConfigError, FileError
from audio_lightning.core.files import first_line, read_frame, read_json, require_folder, shortened, write_json
from audio_lightning.run_folder import LARGEST, File

if TYPE_CHECKING:
    import pandas as pd

A_FIT = "expected a folder with fit.json, written by audio-lightning fit"

TRAIN_SHARE = "data.train_share"
"""Key of the share of training data; trials of a fit that vary it belong to the learning curve."""

CandidateState = Literal["selected", "trained", "stopped", "failed", "skipped"]
"""``selected``: member of the ensemble. ``trained``: trained on all folds, not selected. ``stopped``: trained on some
folds, because it could not win or the time was up. ``failed``: a training failed. ``skipped``: not trained."""


@dataclass(frozen=True)
class FitProperty:
    """Property of the data set: its name, its value as text, and the keys that depend on it."""

    name: str
    value: str
    uses: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FitChoice:
    """Setting that was derived from the recordings or the machine: its key, value and reason."""

    key: str
    value: Any
    why: str = ""


@dataclass(frozen=True)
class FitMachine:
    """Hardware of a fit: name of the device, number of cores, memory in GB."""

    device: str
    cores: int | None = None
    memory_gb: float | None = None


@dataclass(frozen=True)
class FitCandidate:
    """Candidate configuration of a fit, whether it was trained or not.

    Attributes:
        name: short unique name.
        title: description in words.
        overrides: overrides of its trainings, in Hydra's grammar.
        state: see :data:`CandidateState`.
        why: reason for the state, in one line.
        validation: mean validation metric over its folds.
        out_of_fold: metric on the out-of-fold predictions.
        weight: weight in the ensemble, between 0 and 1.
        seconds: total duration of its trainings in seconds.
        step_ms: median time of a training step, in milliseconds.
        epochs: number of epochs of a training.
        predict_ms: prediction time per clip of one of its models, in milliseconds.
        models: number of its models in the ensemble.
    """

    name: str
    title: str = ""
    overrides: list[str] = field(default_factory=list)
    state: CandidateState = "trained"
    why: str = ""
    validation: float | None = None
    out_of_fold: float | None = None
    weight: float | None = None
    seconds: float | None = None
    step_ms: float | None = None
    epochs: int | None = None
    predict_ms: float | None = None
    models: int | None = None


@dataclass(frozen=True)
class FitResult:
    """Expected metric of the model on new recordings, corrected for selection bias.

    Attributes:
        metric: name of the metric.
        expected: expected value.
        low, high: ends of the 95 % interval; None if there is none.
        apparent: value on the predictions that were used for selection, which is optimistic.
        gap: estimated selection bias, the difference between ``apparent`` and ``expected``.
        whole_recordings: whether recordings were scored by the mean of their windows.
        unit: sampling unit of the interval, such as ``500 groups``.
    """

    metric: str
    expected: float
    low: float | None = None
    high: float | None = None
    apparent: float | None = None
    gap: float | None = None
    whole_recordings: bool = False
    unit: str = ""


@dataclass(frozen=True)
class FitCalibration:
    """Calibration of the model's probabilities, measured on out-of-fold predictions.

    Attributes:
        method: ``temperature`` or ``vector``.
        ece, brier: expected calibration error and Brier score; the probabilities of each clip are calibrated
            on clips of other groups; without groups, of other recordings.
        ece_uncalibrated, brier_uncalibrated: the same before calibration.
        temperature: divisor of the logits; None if each class has its own.
    """

    method: str
    ece: float
    brier: float
    ece_uncalibrated: float
    brier_uncalibrated: float
    temperature: float | None = None


@dataclass(frozen=True)
class LearningPoint:
    """Point of a learning curve.

    Attributes:
        share: share of the training data, between 0 and 1.
        value: test metric after training on this share.
        gain_low, gain_high: ends of the 95 % interval of the gain over the next smaller share; None if unknown.
    """

    share: float
    value: float
    gain_low: float | None = None
    gain_high: float | None = None


@dataclass(frozen=True)
class TimeSpent:
    """Duration of a stage of a fit, in seconds."""

    what: str
    seconds: float


@dataclass
class FitSummary:
    """Summary of a fit (``fit.json``), written with its model; entries of stages that did not run are empty.

    Attributes:
        preset: ``fast``, ``good`` or ``best``.
        metric: metric that selects candidates, without its split.
        version: version of this package.
        budget_seconds, spent_seconds: time budget, and time from the command to the page; None: no budget, or unknown.
        multilabel: whether a clip may have several labels.
        command: words of the command line.
        data: overrides that name the recordings.
        classes: names of the classes.
        recordings, clips, groups: numbers of recordings, clips and groups; None if unknown, or if there are no groups.
        properties: properties of the data set.
        choices: settings that were derived from these properties.
        machine: hardware that ran the fit.
        folds: number of folds.
        fold_origin: origin of the folds, in words.
        candidates: candidates in the order in which they were tried.
        result: expected metric; None if nothing was selected.
        calibration: calibration of the model; None if it was not calibrated.
        predict_ms: prediction time of the model per clip in milliseconds, on the CPU in batches, without decoding.
        infer_limit_ms: limit of ``predict_ms``; None: no limit.
        refit: whether the members were trained again on all recordings; otherwise they are the models of the folds.
        learning: learning curve over the share of recordings.
        learning_note: sentence that names the candidate and the data of the learning curve.
        time: durations of the stages, in order.
        notes: further notes, one sentence each.
    """

    preset: str
    metric: str
    version: str = ""
    budget_seconds: float | None = None
    spent_seconds: float | None = None
    multilabel: bool = False
    command: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    recordings: int | None = None
    clips: int | None = None
    groups: int | None = None
    properties: list[FitProperty] = field(default_factory=list)
    choices: list[FitChoice] = field(default_factory=list)
    machine: FitMachine | None = None
    folds: int | None = None
    fold_origin: str = ""
    candidates: list[FitCandidate] = field(default_factory=list)
    result: FitResult | None = None
    calibration: FitCalibration | None = None
    predict_ms: float | None = None
    infer_limit_ms: float | None = None
    refit: bool = False
    learning: list[LearningPoint] = field(default_factory=list)
    learning_note: str = ""
    time: list[TimeSpent] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def selected(self) -> list[FitCandidate]:
        """Members of the ensemble, the largest weight first."""
        members = [candidate for candidate in self.candidates if candidate.state == "selected"]
        return sorted(members, key=lambda candidate: -(candidate.weight or 0.0))

    @property
    def scored_unit(self) -> str:
        """Rows of the out-of-fold predictions in words: ``recordings`` or ``clips``."""
        return "recordings" if self.result is not None and self.result.whole_recordings else "clips"

    def as_plain(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "FitSummary":
        """Create from plain values; unknown entries of later versions are ignored, and null means unknown.

        Raises:
            ConfigError: an entry is missing or has the wrong type.
        """
        values = dict(values)
        for name, single in _RECORDS.items():
            if values.get(name) is not None:
                values[name] = _record(single, values[name], name)
        for name, kind in _LISTS.items():
            if isinstance(part := values.get(name), list):  # anything else is refused below
                values[name] = [_record(kind, entry, f"{name}[{place}]") for place, entry in enumerate(part)]
        return _record(cls, values, "fit")


_RECORDS: dict[str, type[Any]] = {"machine": FitMachine, "result": FitResult, "calibration": FitCalibration}
_LISTS: dict[str, type[Any]] = {
    "properties": FitProperty,
    "choices": FitChoice,
    "candidates": FitCandidate,
    "learning": LearningPoint,
    "time": TimeSpent,
}


@dataclass(frozen=True)
class FitFolder:
    """Files of one fit.

    Attributes:
        path: the folder (``fit.dir``).
        summary: :class:`FitSummary`.
        plan: planned settings, as a recipe (``experiment=plan``).
        trials: folder of the sweep over candidates and folds.
        refits: folder of the sweep over members that were trained on all recordings.
        out_of_fold: out-of-fold predictions of the model.
        model: checkpoint of the final model.
        report: HTML page.
        card: model card.
    """

    path: Path

    summary = File("fit.json")
    plan = File("plan/experiment/plan.yaml")
    trials = File("trials")
    refits = File("refits")
    out_of_fold = File("out_of_fold.csv")
    model = File("model.ckpt")
    report = File("report.html")
    card = File("MODEL_CARD.md")

    @property
    def sweep(self) -> SweepFolder:
        """Sweep folder of the trainings."""
        return SweepFolder(self.trials)

    def read_summary(self) -> FitSummary:
        """Read the summary of the fit.

        Raises:
            ConfigError: the folder contains no fit.
            FileError: ``fit.json`` is damaged.
        """
        if not os.path.lexists(self.summary):
            require_folder(self.path, A_FIT)
            raise ConfigError(f"{self.path}: {A_FIT}")
        try:
            return FitSummary.from_plain(read_json(self.summary))
        except ConfigError as error:
            raise FileError(f"{self.summary} is damaged: {first_line(error)}; restore a copy") from error

    def write_summary(self, summary: FitSummary) -> None:
        """Write the summary of the fit."""
        write_json(self.summary, summary.as_plain())

    def read_out_of_fold(self) -> "pd.DataFrame":
        """Read ``out_of_fold.csv``: one row per clip or per recording, with the probability of each class.

        Raises:
            FileError: the file is missing or damaged.
        """
        texts = ["path", "group", "label", "predicted"]
        return read_frame(self.out_of_fold, texts=texts, required=["path", "label", "predicted"])


Record = TypeVar("Record")


def _record(kind: type[Record], entry: Any, where: str) -> Record:
    """Build a record from a JSON object."""
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: expected an object, found {shortened(entry)}")
    known = {part.name for part in fields(cast(Any, kind))}  # all kinds are dataclasses
    values = {name: value for name, value in entry.items() if name in known}
    for name, value in values.items():
        if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN is not, either
            raise ConfigError(f"{where}.{name}={shortened(value)}: expected a finite number")
    check_arguments(kind, values, {}, where=where)
    return kind(**values)
