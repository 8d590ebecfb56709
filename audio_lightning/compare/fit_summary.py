"""The folder of a fit, and what is known of the fit; written by ``audio-lightning fit``, read by its page."""

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

A_FIT = "expected a folder with fit.json, as audio-lightning fit leaves it"

TRAIN_SHARE = "data.train_share"
"""Key of the share of the training part; trials of a fit that have it as a choice are those of its learning curve."""

CandidateState = Literal["selected", "trained", "stopped", "failed", "skipped"]
"""``selected``: a member of the model. ``trained``: on all folds, not selected. ``stopped``: on some of the folds,
since it could not win or the time was up. ``skipped``: never begun."""


@dataclass(frozen=True)
class FitProperty:
    """A property of the data set: what was measured or counted, what was found, and the keys that depend on it."""

    name: str
    value: str
    uses: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FitChoice:
    """A key that followed from the recordings or the machine, its value, and a clause that says why."""

    key: str
    value: Any
    why: str = ""


@dataclass(frozen=True)
class FitMachine:
    """Where it ran: the name of the device, cores, and memory in gigabytes."""

    device: str
    cores: int | None = None
    memory_gb: float | None = None


@dataclass(frozen=True)
class FitCandidate:
    """A configuration that was tried, or could have been.

    Attributes:
        name: short, and no other candidate's.
        title: what it is, in words.
        overrides: of its trainings, in Hydra's grammar.
        state: see :data:`CandidateState`.
        why: the reason for its state, in one line.
        validation: mean over its folds of the metric on the validation parts.
        out_of_fold: the metric on the out-of-fold predictions.
        weight: its share of the model, between 0 and 1.
        seconds: what its trainings took.
        step_ms: median time of a training step, in milliseconds.
        epochs: of a training.
        predict_ms: what predicting takes one of its models a clip, in milliseconds.
        models: how many models it has in the answer.
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
    """What new recordings will show, corrected for the selection.

    Attributes:
        metric: its name.
        expected: the metric to expect.
        low, high: ends of its 95 % interval; None where there is none.
        apparent: the metric on the predictions that selected, too good.
        gap: how much too good that is.
        whole_recordings: whether recordings were scored by the mean of their windows.
        unit: what the interval is over, such as ``500 groups``.
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
    """How far the probabilities of the model can be trusted, on out-of-fold predictions.

    Attributes:
        method: ``temperature`` or ``vector``.
        ece, brier: calibration error and Brier score, each clip calibrated by clips of other groups.
        ece_uncalibrated, brier_uncalibrated: the same of the probabilities as trained.
        temperature: that the logits are divided by; None where classes differ.
    """

    method: str
    ece: float
    brier: float
    ece_uncalibrated: float
    brier_uncalibrated: float
    temperature: float | None = None


@dataclass(frozen=True)
class LearningPoint:
    """The metric, where this share of the recordings was trained on.

    Attributes:
        share: of the training part, between 0 and 1.
        value: of the metric on the test part.
        gain_low, gain_high: ends of the 95 % interval of how much more it is than at the next smaller share; None where
            it is not known.
    """

    share: float
    value: float
    gain_low: float | None = None
    gain_high: float | None = None


@dataclass(frozen=True)
class TimeSpent:
    """What a part of a fit took."""

    what: str
    seconds: float


@dataclass
class FitSummary:
    """What is known of a fit (``fit.json``); it grows from stage to stage, and one that ended early has less.

    Attributes:
        preset: ``fast``, ``good`` or ``best``.
        metric: that candidates are chosen by, without its split.
        version: of this package.
        budget_seconds, spent_seconds: from the command to the page; None: no budget, or not known.
        multilabel: whether a clip may have several labels.
        command: words of the command line, as they were typed.
        data: overrides that name the recordings, as they were typed.
        classes: names of the classes.
        recordings, clips, groups: how many; None where it is not known, or no groups are.
        properties: of the data set.
        choices: keys that followed from it.
        machine: where it ran.
        folds: number of folds.
        fold_origin: where they come from, in words.
        candidates: in the order in which they were tried.
        result: None where nothing was selected.
        calibration: None where nothing was calibrated.
        predict_ms: what the model takes a clip, in milliseconds, on the CPU in batches and without decoding.
        infer_limit_ms: what it may take at most; None: any time.
        refit: whether the model's members were trained on all recordings, in place of the models of the folds.
        learning: metric by share of the recordings.
        learning_note: which candidate that is of, and on what, in a sentence.
        time: what the time went into, in the order of the stages.
        notes: one sentence each.
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
        """Members of the model, that with the largest weight first."""
        members = [candidate for candidate in self.candidates if candidate.state == "selected"]
        return sorted(members, key=lambda candidate: -(candidate.weight or 0.0))

    def as_plain(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "FitSummary":
        """From plain values; entries that later versions have added are passed over, and null is what is not known.

        Raises:
            ConfigError: an entry is missing, or of another kind than it should be, in one line.
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
    """The files of one fit.

    Attributes:
        path: the folder (``fit.dir``).
        summary: :class:`FitSummary`.
        plan: what followed from the recordings, a recipe.
        trials: folder of a sweep over candidates and folds.
        refits: folder of a sweep over members of the model that were trained on all recordings.
        out_of_fold: predictions of the model, each by members that were not trained on the clip.
        model: the answer, one checkpoint.
        report: a page to show.
        card: what the model is, and what to expect of it.
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
        """The trainings."""
        return SweepFolder(self.trials)

    def read_summary(self) -> FitSummary:
        """What is known of the fit.

        Raises:
            ConfigError: the folder holds no fit.
            FileError: ``fit.json`` is damaged.
        """
        if not os.path.lexists(self.summary):
            require_folder(self.path, A_FIT)
            raise ConfigError(f"{self.path}: {A_FIT}")
        try:
            return FitSummary.from_plain(read_json(self.summary))
        except ConfigError as error:
            raise FileError(f"{self.summary} is damaged: {first_line(error)}") from error

    def write_summary(self, summary: FitSummary) -> None:
        """Replace what is known of the fit."""
        write_json(self.summary, summary.as_plain())

    def read_out_of_fold(self) -> "pd.DataFrame":
        """Read ``out_of_fold.csv``: one row a clip, or a recording, with the probability of each class.

        Raises:
            FileError: the file is missing or damaged.
        """
        texts = ["path", "group", "label", "predicted"]
        return read_frame(self.out_of_fold, texts=texts, required=["path", "label", "predicted"])


Record = TypeVar("Record")


def _record(kind: type[Record], entry: Any, where: str) -> Record:
    """A JSON object as what it describes."""
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: expected an object, found {shortened(entry)}")
    known = {part.name for part in fields(cast(Any, kind))}  # all kinds are dataclasses
    values = {name: value for name, value in entry.items() if name in known}
    for name, value in values.items():
        if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN is not, either
            raise ConfigError(f"{where}.{name}={shortened(value)}: expected a finite number")
    check_arguments(kind, values, {}, where=where)
    return kind(**values)
