"""Trainings of a fit, as passed from the process that ran the trials to the one that selects."""

from collections.abc import Mapping
from dataclasses import dataclass

from audio_lightning.fit.passes import tried_names
from audio_lightning.fit.request import FitRequest
from audio_lightning.fit.settings import FitSettings
from audio_lightning.fit.state import FitState
from audio_lightning.fit.survey import Survey


@dataclass(frozen=True)
class Tried:
    """The trainings of a fit.

    Attributes:
        survey: survey of the data and the candidates.
        settings: settings of the fit.
        lines: overrides of all trainings.
        words: words of the command line.
        names: candidate by its name in each pass, in the order in which they were tried, followed by untried ones.
        folds: number of tested folds.
        runs: folders of the finished trainings by name, in the order of the folds.
        stopped, failed, skipped: reasons by name why a candidate was stopped after some folds, failed, or never begun.
        learning: candidate of the learning curve, and folders of its trainings; empty without a learning curve.
        times: duration of each stage so far, in seconds.
        steps: largest number of steps of a training.
        refit: whether members are trained on all recordings next, after which :func:`.conclude.finish` ends the fit.
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
    steps: int
    refit: bool = False
    config_dir: str | None = None


def what_was_tried(
    found: Survey,
    state: FitState,
    request: FitRequest,
    runs: Mapping[str, list[str]],
    failures: Mapping[str, str],
    learning: tuple[str, list[str]],
) -> Tried:
    """Collect the trainings of a fit.

    Args:
        found: survey of the data and the candidates.
        state: decisions of the fit.
        request: parsed command line.
        runs: folders of the finished trainings by the name of the candidate.
        failures: reason of a failed training by the name of the candidate.
        learning: see :class:`Tried`.
    """
    tried = tried_names(state.passes)
    known = {candidate for candidate, _ in tried.values()}
    skipped = [name for name in found.candidates if name not in known]
    names = {name: candidate for name, (candidate, _) in tried.items()} | {name: name for name in skipped}
    order = list(found.candidates)
    return Tried(
        survey=found,
        settings=request.settings,
        lines=request.lines,
        words=request.words,
        names=dict(sorted(names.items(), key=lambda entry: order.index(entry[1]))),
        folds=max(one.allocation.folds for one in state.passes),
        runs={name: runs[name] for name in tried if name in runs},
        stopped={name: why for one in state.passes for name, why in one.stopped.items()},
        failed=dict(failures),
        skipped={name: _why_skipped(name, found, state) for name in skipped},
        learning=learning,
        times=state.times,
        steps=max(one.allocation.steps for one in state.passes),
        refit=request.settings.refit,
        config_dir=request.config_dir,
    )


def _why_skipped(name: str, found: Survey, state: FitState) -> str:
    if (impossible := found.candidates[name].impossible) is not None:
        return impossible
    if slow := [one.slow[name] for one in state.passes if name in one.slow]:
        return slow[-1]
    lost = state.lost.get(name)
    return f"worse on the earlier recordings: {lost}" if lost else "no time in the budget"
