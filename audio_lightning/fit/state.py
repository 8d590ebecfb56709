"""What a fit has decided, kept in a file: the same command makes the same decisions again."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import read_json, write_json
from audio_lightning.fit.budget import Allocation
from audio_lightning.fit.survey import Machine, Survey, Surveyed


@dataclass
class FitState:
    """What was decided, in the order of the decisions.

    Attributes:
        budget: seconds that it was planned for.
        survey: what there is to fit.
        allocation: what there is time for.
        rounds: overrides of the trials of each round, by candidate and fold.
        survivors: candidates that are trained on all folds.
        stopped: why each other candidate is not.
        times: seconds that each part has taken.
    """

    budget: float | None = None
    survey: Survey | None = None
    allocation: Allocation | None = None
    rounds: list[list[dict[str, Any]]] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
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
            if (chosen := values.get("allocation")) is not None:
                values["allocation"] = Allocation(**{**chosen, "candidates": tuple(chosen["candidates"])})
            return cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{file} is damaged ({error}): remove it to begin the fit again") from error

    def write(self, file: Path) -> None:
        """Keep the decisions."""
        write_json(file, asdict(self))
