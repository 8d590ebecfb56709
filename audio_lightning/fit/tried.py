"""What a fit has tried, handed from the process that ran the trials to the one that selects."""

from dataclasses import dataclass

from audio_lightning.fit.settings import FitSettings
from audio_lightning.fit.survey import Survey


@dataclass(frozen=True)
class Tried:
    """The trainings of a fit.

    Attributes:
        survey: what there was to fit.
        settings: of the fit.
        lines: overrides of all trainings, as they were typed.
        words: of the command.
        names: from what each candidate of each pass is called to the candidate, in the order in which they were tried,
            and those that were not.
        folds: that are tested.
        runs: folders of the finished trainings by name, in the order of the folds.
        stopped, failed, skipped: why a candidate was not trained on all folds, at all, or never begun; by name.
        learning: candidate of the learning curve, and folders of its trainings; empty where there is none.
        times: seconds that each part has taken so far.
        config_dir: folder of ``--config-dir``.
    """

    survey: Survey
    settings: FitSettings
    lines: list[str]
    words: list[str]
    names: dict[str, str]
    folds: int
    runs: dict[str, list[str]]
    stopped: dict[str, str]
    failed: dict[str, str]
    skipped: dict[str, str]
    learning: tuple[str, list[str]]
    times: dict[str, float]
    config_dir: str | None = None
