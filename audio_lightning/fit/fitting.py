"""The best classifier within a budget: survey, portfolio under cross-validation, selection, ensemble, page.

Every training is a trial of a sweep in the fit's folder, so that a killed fit goes on exactly, failures stay with one
candidate, and trials run on the devices or clusters that a sweep runs on. What was decided is in ``state.json``: the
same command makes the same decisions again, however long it was interrupted.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from audio_lightning import __version__
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import read_json, write_json
from audio_lightning.fit.announce import say, say_survey
from audio_lightning.fit.clock import Clock
from audio_lightning.fit.embedding import embed_frozen
from audio_lightning.fit.group_scores import check_metric
from audio_lightning.fit.learning import has_ended, plan_learning, run_learning
from audio_lightning.fit.passes import next_edition, tried_names
from audio_lightning.fit.processes import conclude, finish, survey
from audio_lightning.fit.recordings import difference, look, set_aside
from audio_lightning.fit.refitting import WITHOUT_TIME, plan_again, refitted
from audio_lightning.fit.request import FitRequest
from audio_lightning.fit.run_passes import run_passes
from audio_lightning.fit.running import RunningFit
from audio_lightning.fit.state import Training
from audio_lightning.fit.survey import Survey
from audio_lightning.fit.time_limit import within_limit
from audio_lightning.fit.timing import timed
from audio_lightning.fit.trainings import Trainings
from audio_lightning.fit.tried import what_was_tried
from audio_lightning.sweeps.executors.forkserver import call, forkserver
from audio_lightning.sweeps.identity import digest
from audio_lightning.sweeps.plan import Combination, plan_trials
from audio_lightning.sweeps.progress import duration

AGAIN = 0.5
"""Time that writing the page once more takes, as a share of that of the selection and the first page."""


@dataclass(frozen=True)
class FitOutcome:
    """How a fit ended: its exit code, its folder, and what it says of new recordings, where there is an answer."""

    exit_code: int
    folder: Path
    answer: str | None = None


def run_fit(request: FitRequest, running: float = 0.0) -> FitOutcome:
    """Find the best classifier within the budget, or go on with it.

    Args:
        request: what is asked for.
        running: seconds that count as spent, as the command has been running for them.

    Raises:
        ConfigError: a mistake in what was asked for, or no candidate that can be tried.
        DataError: recordings that cannot be used.
        DiskError: the disk was full; the same command goes on when there is room.
        Interrupted: Ctrl-C or SIGTERM; the same command goes on.
    """
    request.folder.mkdir(parents=True, exist_ok=True)
    forkserver()
    with Clock(request.folder / "clock.json", running) as clock:
        return _Fit(RunningFit(request, clock)).run()


class _Fit:
    def __init__(self, fit: RunningFit) -> None:
        self.fit = fit

    def run(self) -> FitOutcome:
        """See :func:`run_fit`."""
        request, state = self.fit.request, self.fit.state
        if state.asked not in (None, request.asked):
            raise ConfigError(
                f"{request.folder} holds a fit with other settings of its trainings or other candidates: give its "
                "own command, or name another folder by fit.dir=DIR"
            )
        state.asked = request.asked
        self._look()
        found = self._survey()
        metric = request.settings.metric or found.metrics[0]
        check_metric(metric, multilabel=found.multilabel)
        monitor = f"validation/{metric}"
        run_passes(self.fit, found, monitor)
        self._conclude(found, self._learning_curve(monitor))
        if self.fit.request.settings.refit:
            self._refit(monitor)
        said = [self.fit.state.answer or "", *([self.fit.state.refit_said] if self.fit.state.refit_said else [])]
        return FitOutcome(0, self.fit.request.folder, "; ".join(said))

    def _look(self) -> None:
        """See which recordings there are, and begin again where they are others than before."""
        file = self.fit.request.folder / "recordings.json"
        candidates = list(self.fit.request.settings.chosen.values())
        now = call(look, self.fit.request.lines, candidates, self.fit.request.config_dir)
        if self.fit.state.survey is not None and file.exists():
            found = difference(read_json(file), now)
            if str(found) or (found.written and not self._is_content_known()):
                said = str(found) or f"{found.written:,} changed"
                say(
                    f"recordings since the last time: {said}. They are looked at again, with "
                    f"{duration(self.fit.budget)} from now on; the model and the page stay until there are new ones"
                )
                keeps = 2 * (found.new + found.changed) <= len(now)
                self.fit.state = next_edition(self.fit.state, self.fit.clock.spent, keeps=keeps)
                self.fit.save()
        write_json(file, now)
        if self.fit.state.edition:
            set_aside(
                [self.fit.files.trials, self.fit.files.refits],
                self.fit.request.folder / "earlier" / str(self.fit.state.edition),
            )

    def _is_content_known(self) -> bool:
        """Whether recordings whose files were only written again sound as before."""
        own = next(iter(self.fit.request.settings.chosen.values()))
        known = {status.content for _, status in self.fit.files.sweep.folders()}
        (trial,) = plan_trials([Combination([*self.fit.request.lines, *own], {})], quiet=True)
        return trial.preflight.content in known

    def _survey(self) -> Survey:
        if self.fit.state.survey is None:
            budget, started = duration(self.fit.budget), self.fit.spent
            say(f"looking at the recordings, and timing steps of each candidate; the budget is {budget}")
            request, chosen = self.fit.request, self.fit.request.settings.chosen
            found, candidates = call(survey, request.lines, chosen, request.folder, request.config_dir)
            found = timed(found, candidates, self.fit.trainings.slots)
            self.fit.state.survey = embed_frozen(found, candidates, self.fit.budget_left)
            self.fit.timed("looking at the recordings", started)
        found = within_limit(self.fit.state.survey, self.fit.request.settings.limit_seconds)
        if not any(one.done for one in self.fit.state.passes):
            say_survey(found)
        return found

    def _learning_curve(self, monitor: str) -> tuple[str, list[str]]:
        """Run the trainings of a learning curve, where there is time for one; see :class:`Tried` for the result."""
        started, ended = self.fit.spent, has_ended(self.fit.state)
        if not self.fit.state.learning:
            left = self.fit.left - self.fit.state.passes[-1].kept
            self.fit.state.learning = plan_learning(
                self.fit.request.lines, self.fit.state.passes, self.fit.trainings, budget=self.fit.budget, left=left
            )
            self.fit.save()
        curve = run_learning(self.fit.state, self.fit.trainings, monitor)
        if curve[1] and not ended:
            self.fit.timed("learning curve", started)
        return curve

    def _conclude(self, found: Survey, learning: tuple[str, list[str]]) -> None:
        """Select and write the answer, unless that was done with the same trainings."""
        settings = self.fit.request.settings
        runs = {name: [str(run.path) for run in runs] for name, runs in self.fit.trainings.finished.items()}
        everything = what_was_tried(
            found, self.fit.state, self.fit.request, runs, self.fit.trainings.failures, learning
        )
        chosen_by = [settings.max_members, settings.metric, settings.limit_seconds, settings.refit]
        folders = {name: [run.path.name for run in runs] for name, runs in self.fit.trainings.finished.items()}
        selected_from = digest([__version__, *chosen_by, folders, [Path(path).name for path in learning[1]]])
        written = all(file.is_file() for file in (self.fit.files.model, self.fit.files.report, self.fit.files.summary))
        if written and self.fit.state.concluded == selected_from:
            return
        started = self.fit.spent
        say(f"selecting, and writing the page; {duration(self.fit.budget_left)} of the budget left")
        self.fit.state.answer = call(conclude, self.fit.request.folder, everything, started)
        self.fit.state.concluded, self.fit.state.refit_said = selected_from, None
        self.fit.timed("selecting, and writing the page", started)

    def _refit(self, monitor: str) -> None:
        """Train each member of the answer on all recordings, where there is time."""
        state = self.fit.state
        done = state.refit_of == state.concluded and state.refit_said is not None
        if done and (state.refit or self.fit.budget <= state.refit_budget):
            return
        started = self.fit.spent
        members = [member.name for member in self.fit.files.read_summary().selected]
        waves = math.ceil(len(members) / self.fit.trainings.slots)
        plans = {name: plan_again(self.fit.trainings.finished[name]) for name in members}
        needed = waves * max(plan.seconds for plan in plans.values())
        # The page is written once more.
        left = self.fit.budget_left - AGAIN * state.times.get("selecting, and writing the page", 0.0)
        if state.refit_of != state.concluded or done:
            tried, lines = tried_names(state.passes), self.fit.trainings.lines_on_everything
            planned = [Training(name, None, lines(*tried[name], plans[name].epochs, left / waves)) for name in members]
            state.refit_of, state.refit_said, state.refit_budget = state.concluded, None, self.fit.budget
            state.refit = planned if needed <= left else []
            self.fit.save()
        models: dict[str, str] = {}
        said = WITHOUT_TIME.format(needed=duration(needed), left=duration(max(0.0, left)))
        if state.refit:
            say(f"training {', '.join(members)} on all recordings; {duration(self.fit.budget_left)} of the budget left")
            again = Trainings(self.fit.request, SweepFolder(self.fit.files.refits), lambda: self.fit.budget_left)
            again.run(state.refit, monitor, "members on all recordings", ended=False)
            models, said = refitted(state.refit, again.finished, again.failures)
        call(
            finish,
            self.fit.request.folder,
            self.fit.request.lines,
            self.fit.request.config_dir,
            models,
            said,
            self.fit.spent,
        )
        state.refit_said = said
        self.fit.timed("training the members on all recordings", started)
