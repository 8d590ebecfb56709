"""What a fit has decided, kept in a file: the same command makes the same decisions again."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import read_json, write_json
from audio_lightning.fit.budget import Allocation
from audio_lightning.fit.survey import Machine, Survey, Surveyed


@dataclass
class Training:
    """One training.

    Attributes:
        name: what its candidate is called.
        fold: that it tests; None: it is trained on all recordings.
        lines: overrides.
        share: of the training part that it trains on.
        trial: name of the folder of its trial, once it has ended.
    """

    name: str
    fold: int | None
    lines: list[str]
    share: float = 1.0
    trial: str | None = None


@dataclass
class Pass:
    """One time through the candidates; a larger budget begins a further one.

    Attributes:
        budget: seconds of the whole fit that it was planned for.
        allocation: what there is time for.
        finish: candidates of earlier passes that are trained on the folds that only this pass tests.
        kept: seconds that its trainings leave to those that take next to nothing, and to those on all recordings.
        rounds: trainings of each round.
        survivors: candidates that are trained on all folds.
        stopped: why each other candidate is not.
        slow: why others were not tried, where predicting with the models of these folds would take them too long.
        done: nothing is missing of it.
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
    """What was decided, in the order of the decisions.

    Attributes:
        asked: digest of what every training is told, so that a folder serves one question.
        edition: how often the recordings have changed.
        begun: seconds on the clock when these recordings were found: the budget counts from there.
        lost: candidates that were stopped on the recordings before, and why.
        survey: what there is to fit.
        passes: see :class:`Pass`.
        learning: trainings of the learning curve, that on the whole training part not among them.
        concluded: digest of what the answer was selected from, and how.
        answer: the answer in a sentence.
        refit: trainings of the members on all recordings.
        refit_of: ``concluded`` of the answer whose members these are.
        refit_said: how that ended, once it has.
        refit_budget: seconds of the fit that it had.
        times: seconds that each part has taken.
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
    refit_said: str | None = None
    refit_budget: float = 0.0
    times: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> "FitState":
        """The decisions of an earlier time; none where there was no such time.

        Raises:
            FileError: the file is damaged.
        """
        if not file.exists():
            return cls()
        values = read_json(file)
        try:
            if (found := values.get("survey")) is not None:
                machine = Machine(**found.pop("machine"))
                candidates = {name: Surveyed(**one) for name, one in found.pop("candidates").items()}
                values["survey"] = Survey(machine=machine, candidates=candidates, **found)
            values["refit"] = [Training(**one) for one in values.get("refit", [])]
            values["passes"] = [_pass(**one) for one in values.get("passes", [])]
            values["learning"] = [Training(**one) for one in values.get("learning", [])]
            return cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{file} is damaged ({error}): remove it to begin the fit again") from error

    def write(self, file: Path) -> None:
        """Keep the decisions."""
        write_json(file, asdict(self))


SEVERAL = ("candidates", "aside", "extra", "extra_steps")
"""Parts of an allocation that are tuples, and lists in a file."""


def _pass(allocation: dict[str, Any], rounds: list[list[dict[str, Any]]], **others: Any) -> Pass:
    return Pass(
        allocation=Allocation(**{**allocation, **{name: tuple(allocation.get(name, ())) for name in SEVERAL}}),
        rounds=[[Training(**one) for one in trainings] for trainings in rounds],
        **others,
    )
