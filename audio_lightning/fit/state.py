"""Decisions of a fit (``state.json``), so that the same command resumes it with the same decisions."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from audio_lightning.core.errors import ConfigError, FileError
from audio_lightning.core.files import read_json, write_json
from audio_lightning.fit.budget import Allocation
from audio_lightning.fit.survey import Survey


@dataclass
class Training:
    """One training.

    Attributes:
        name: name of its candidate in its pass.
        fold: tested fold; None: trained on all recordings.
        lines: overrides of the training.
        share: share of the training clips that it uses.
        trial: name of its trial's folder after it has ended.
    """

    name: str
    fold: int | None
    lines: list[str]
    share: float = 1.0
    trial: str | None = None


@dataclass
class Pass:
    """One pass over the candidates; a larger budget adds another pass.

    Attributes:
        budget: budget of the whole fit for which the pass was planned, in seconds.
        allocation: trainings that fit into the budget.
        finish: candidates of earlier passes that are trained on the additional folds of this pass.
        kept: seconds reserved for candidates on frozen embeddings and for the refit.
        rounds: trainings of each round.
        survivors: candidates that are trained on all folds.
        stopped: reason for each candidate that was stopped after the first fold.
        slow: reason for each candidate that was not tried because its predictions would exceed ``infer_limit``.
        done: whether all trainings of the pass have ended.
    """

    budget: float
    allocation: Allocation
    finish: list[str] = field(default_factory=list)
    kept: float = 0.0
    rounds: list[list[Training]] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    slow: dict[str, str] = field(default_factory=dict)
    done: bool = False


@dataclass
class FitState:
    """Decisions of a fit in their order.

    Attributes:
        asked: digest of the overrides of all trainings, so that a folder holds one fit only.
        edition: number of times that the recordings have changed.
        begun: seconds on the clock when the recordings last changed; the budget counts from there.
        lost: reason for each candidate that was stopped on the earlier recordings.
        survey: survey of the data and the candidates.
        passes: see :class:`Pass`.
        learning: trainings of the learning curve, without the one on all training clips.
        concluded: digest of the trainings and settings of the last selection.
        answer: result in a sentence.
        refit: trainings of the members on all recordings.
        refit_of: ``concluded`` of the ensemble whose members are refitted.
        refit_note: note about the refit after it has ended.
        refit_budget: budget of the fit when the refit was planned, in seconds.
        times: duration of each stage in seconds.
    """

    asked: str | None = None
    edition: int = 0
    begun: float = 0.0
    lost: dict[str, str] = field(default_factory=dict)
    survey: Survey | None = None
    passes: list[Pass] = field(default_factory=list)
    learning: list[Training] = field(default_factory=list)
    concluded: str | None = None
    answer: str | None = None
    refit: list[Training] = field(default_factory=list)
    refit_of: str | None = None
    refit_note: str | None = None
    refit_budget: float = 0.0
    times: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> "FitState":
        """Read earlier decisions; without a file, return an empty state.

        Raises:
            ConfigError: the file is not JSON, or has missing or wrong entries.
        """
        if not file.exists():
            return cls()
        from pydantic import TypeAdapter, ValidationError

        remedy = "restore a copy, or begin the fit in another folder (fit.dir=DIR)"
        try:
            return TypeAdapter(cls).validate_python(read_json(file))
        except FileError as error:
            raise ConfigError(f"{error}; {remedy}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(f"{file} is damaged ({where}: {first['msg']}); {remedy}") from error

    def write(self, file: Path) -> None:
        """Write the decisions."""
        write_json(file, asdict(self))
