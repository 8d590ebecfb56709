"""The best classifier within a budget: survey, portfolio under cross-validation, selection, ensemble, page.

Every training is a trial of a sweep in the fit's folder, so that a killed fit goes on exactly, failures stay with one
candidate, and trials run on the devices or clusters that a sweep runs on. What was decided is in ``state.json``: the
same command makes the same decisions again, however long it was interrupted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audio_lightning import __version__
from audio_lightning.compare.fit_summary import FitFolder
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import read_json, write_json
from audio_lightning.core.task import lower_is_better
from audio_lightning.fit.announce import say, say_pass, say_survey
from audio_lightning.fit.budget import Clock, reserve, threads_gain
from audio_lightning.fit.group_scores import check_metric
from audio_lightning.fit.learning import has_ended, plan_learning, run_learning
from audio_lightning.fit.passes import folds_tested, next_edition, pass_name, plan_pass, tried_names
from audio_lightning.fit.processes import conclude, finish, survey
from audio_lightning.fit.recordings import difference, look, set_aside
from audio_lightning.fit.refitting import WITHOUT_TIME, plan_again, refitted
from audio_lightning.fit.request import FitRequest
from audio_lightning.fit.state import FitState, Pass, Training
from audio_lightning.fit.survey import Survey
from audio_lightning.fit.time_limit import within_limit
from audio_lightning.fit.trainings import Trainings, training_seconds
from audio_lightning.fit.tried import what_was_tried
from audio_lightning.sweeps.executors.forkserver import call, forkserver
from audio_lightning.sweeps.identity import digest
from audio_lightning.sweeps.plan import Combination, plan_trials
from audio_lightning.sweeps.progress import duration

AGAIN = 0.5
"""Time that writing the page once more takes, as a share of that of the selection and the first page."""

GRACE = 2.0
"""How much longer than planned a training of the first fold may take before it is told to stop with what it has."""


@dataclass(frozen=True)
class FitOutcome:
    """How a fit ended: its exit code, its folder, and what it says of new recordings, where there is an answer."""

    exit_code: int
    folder: Path
    answer: str | None = None


def run_fit(request: FitRequest) -> FitOutcome:
    """Find the best classifier within the budget, or go on with it.

    Raises:
        ConfigError: a mistake in what was asked for, or no candidate that can be tried.
        DataError: recordings that cannot be used.
        DiskError: the disk was full; the same command goes on when there is room.
        Interrupted: Ctrl-C or SIGTERM; the same command goes on.
    """
    request.folder.mkdir(parents=True, exist_ok=True)
    forkserver()
    with Clock(request.folder / "clock.json") as clock:
        return _Fit(request, clock).run()


class _Fit:
    def __init__(self, request: FitRequest, clock: Clock) -> None:
        self.request, self.clock = request, clock
        self.files = FitFolder(request.folder)
        self.file = request.folder / "state.json"
        self.state = FitState.read(self.file)
        self.trainings = Trainings(request, self.files.sweep, lambda: self.budget_left)
        self.budget = request.settings.budget_seconds

    @property
    def spent(self) -> float:
        """Seconds so far, since these recordings were found."""
        return self.clock.spent - self.state.begun

    @property
    def budget_left(self) -> float:
        """Seconds of the budget."""
        return max(0.0, self.budget - self.spent)

    @property
    def left(self) -> float:
        """Seconds of it that there are for trainings."""
        return self.budget - reserve(self.budget) - self.spent

    def run(self) -> FitOutcome:
        """See :func:`run_fit`."""
        if self.state.asked not in (None, self.request.asked):
            raise ConfigError(
                f"{self.request.folder} holds a fit with other settings of its trainings or other candidates: give its "
                "own command, or name another folder by fit.dir=DIR"
            )
        self.state.asked = self.request.asked
        self._look()
        found = self._survey()
        check_metric(self.request.settings.metric or found.metrics[0], multilabel=found.multilabel)
        monitor = f"validation/{found.metrics[0]}"
        number = 0
        while number < len(self.state.passes) or self._begin(found):
            self._run_pass(number, found, monitor)
            number += 1
        self._conclude(found, self._learning_curve(monitor))
        if self.request.settings.refit:
            self._refit(monitor)
        said = [self.state.answer or "", *([self.state.refit_said] if self.state.refit_said else [])]
        return FitOutcome(0, self.request.folder, "; ".join(said))

    def _look(self) -> None:
        """See which recordings there are, and begin again where they are others than before."""
        file = self.request.folder / "recordings.json"
        candidates = list(self.request.settings.chosen.values())
        now = call(look, self.request.lines, candidates, self.request.config_dir)
        if self.state.survey is not None and file.exists():
            found = difference(read_json(file), now)
            if str(found) or (found.written and not self._is_content_known()):
                said = str(found) or f"{found.written:,} changed"
                say(
                    f"recordings since the last time: {said}. They are looked at again, with {duration(self.budget)} "
                    "from now on; the model and the page stay until there are new ones"
                )
                keeps = 2 * (found.new + found.changed) <= len(now)
                self.state = next_edition(self.state, self.clock.spent, keeps=keeps)
                self.state.write(self.file)
        write_json(file, now)
        if self.state.edition:
            set_aside([self.files.trials, self.files.refits], self.request.folder / "earlier" / str(self.state.edition))

    def _is_content_known(self) -> bool:
        """Whether recordings whose files were only written again sound as before."""
        own = next(iter(self.request.settings.chosen.values()))
        known = {status.content for _, status in self.files.sweep.folders()}
        (trial,) = plan_trials([Combination([*self.request.lines, *own], {})])
        return trial.preflight.content in known

    def _survey(self) -> Survey:
        if self.state.survey is None:
            say(f"looking at the recordings, and timing steps of each candidate; the budget is {duration(self.budget)}")
            started = self.spent
            chosen = self.request.settings.chosen
            self.state.survey = call(
                survey, self.request.lines, chosen, self.request.folder, self.trainings.slots, self.request.config_dir
            )
            self._timed("looking at the recordings", started)
        found = within_limit(self.state.survey, self.request.settings.limit_seconds)
        if not any(one.done for one in self.state.passes):
            say_survey(found)
        return found

    def _begin(self, found: Survey) -> bool:
        """Begin a pass, where there is time for one that was not planned yet."""
        passes = self.state.passes
        steps = {name: one.step_seconds for name, one in found.candidates.items() if one.impossible is None}
        an_epoch = min(one.steps_an_epoch for name, one in found.candidates.items() if name in steps)
        steps = {name: seconds for name, seconds in steps.items() if name not in self.state.lost} or steps
        if passes and self.budget <= max(one.budget for one in passes):
            return False
        planned = plan_pass(
            self.budget,
            self.left,
            steps,
            an_epoch,
            passes,
            {name: self.trainings.seconds(name) for name in tried_names(passes)},
            workers=self.trainings.slots,
            folds=len(found.folds),
            members=self.request.settings.max_members,
            refit=self.request.settings.refit,
        )
        if planned is None:
            say(
                f"of {duration(self.budget)} {duration(self.budget_left)} are left: too little for trainings as long "
                "as those before, so none are added"
            )
            return False
        passes.append(planned)
        self.state.write(self.file)
        return True

    def _run_pass(self, number: int, found: Survey, monitor: str) -> None:
        """Run what is missing of a pass."""
        one = self.state.passes[number]
        chosen = one.allocation
        if not one.done:
            say_pass(self.state.passes[: number + 1], found, self.budget_left)
        first = [(pass_name(name, number), fold) for fold in range(chosen.at_once) for name in chosen.candidates]
        what = "trainings" if chosen.at_once > 1 else "candidates on the first fold"
        self._round(number, 0, first, found, monitor, what)
        survivors = self._survivors(number, monitor)
        others = [(name, fold) for fold in range(chosen.at_once, chosen.folds) for name in survivors]
        tested = folds_tested(self.state.passes[:number])
        others += [(name, fold) for name in one.finish for fold in range(tested[name], chosen.folds)]
        if others:
            self._round(number, 1, others, found, monitor, "trainings on the other folds")
        one.done = True
        self.state.write(self.file)

    def _round(
        self, number: int, place: int, trainings: list[tuple[str, int]], found: Survey, monitor: str, what: str
    ) -> None:
        """Run the trainings of a round of a pass, those that are missing of them."""
        started = self.spent
        one = self.state.passes[number]
        if place == len(one.rounds):
            tried = tried_names(self.state.passes)
            left = max(1.0, self.left - one.kept)
            share = min(1.0, left / self._expected(one, trainings)) if place else 1.0
            waves = math.ceil(len(trainings) / self.trainings.slots)
            is_last = place == 1 or one.allocation.folds == one.allocation.at_once
            planned = []
            for name, fold in trainings:
                candidate, own = tried[name]
                allocation = self.state.passes[own].allocation
                allocation = replace(allocation, steps=max(1, int(share * allocation.steps)))
                grace = GRACE * training_seconds(found.candidates[candidate], allocation)
                limit = left / waves if is_last else min(left, grace)
                # Where nothing is chosen by it, the validation part trains, too.
                validated = place == 0 and len(one.allocation.candidates) > 1
                lines = self.trainings.fold_lines(candidate, own, fold, found, allocation, limit, validated=validated)
                planned.append(Training(name, fold, lines))
            one.rounds.append(planned)
            self.state.write(self.file)
        self.trainings.run(one.rounds[place], monitor, what, ended=one.done)
        if not one.done:
            self._timed(what, started)

    def _expected(self, one: Pass, trainings: Sequence[tuple[str, int]]) -> float:
        """Seconds that the trainings of a second round take, as long as those of the first one took."""
        slots, before = self.trainings.slots, len(one.rounds[0])
        faster = threads_gain(before, slots) / threads_gain(len(trainings), slots)
        seconds = [self.trainings.seconds(name) * faster for name, _ in trainings]
        return max(*seconds, sum(seconds) / min(slots, len(seconds)), 1e-9)

    def _survivors(self, number: int, monitor: str) -> list[str]:
        """The candidates that are trained on all folds: the best by their validation on the first one."""
        one = self.state.passes[number]
        if one.survivors:
            return one.survivors
        finished = self.trainings.finished
        names = [training.name for training in one.rounds[0] if training.name in finished]
        scores = {name: finished[name][0].read_metrics().get(monitor) for name in names}
        if len(one.allocation.candidates) == 1:  # which nothing is compared with, and nothing was validated
            scores = dict.fromkeys(names, 0.0)
        sign = 1 if lower_is_better(monitor) else -1
        known = {name: float(value) for name, value in scores.items() if value is not None}
        ranked = sorted(known, key=lambda name: sign * known[name])
        if not ranked and number == 0:
            failures = self.trainings.failures.items()
            raise ConfigError("no candidate could be trained: " + "; ".join(f"{name}: {why}" for name, why in failures))
        kept = ranked[: self._affordable(one, ranked)]
        for place, name in enumerate(ranked[len(kept) :], len(kept)):
            why = f"{monitor} {known[name]:.3f} on the first fold, {known[kept[-1]]:.3f} of {kept[-1]}"
            late = place < one.allocation.survivors  # it would have been kept, had the first fold not taken longer
            one.stopped[name] = f"no time for the other folds; {why}" if late else why
        one.survivors = kept
        self.state.write(self.file)
        return kept

    def _affordable(self, one: Pass, ranked: Sequence[str]) -> int:
        """As many survivors as planned, or fewer where the trainings took longer than their steps were timed at."""
        others = one.allocation.folds - one.allocation.at_once
        if others == 0:
            return len(ranked)
        seconds = {name: self.trainings.seconds(name) for name in ranked}
        for count in range(min(one.allocation.survivors, len(ranked)), 1, -1):
            trials = sum(seconds[name] for name in ranked[:count]) * others
            if trials / self.trainings.slots <= self.left - one.kept:
                return count
        return 1

    def _learning_curve(self, monitor: str) -> tuple[str, list[str]]:
        """Run the trainings of a learning curve, where there is time for one; see :class:`Tried` for the result."""
        started, ended = self.spent, has_ended(self.state)
        if not self.state.learning:
            left = self.left - self.state.passes[-1].kept
            self.state.learning = plan_learning(
                self.request.lines, self.state.passes, self.trainings, budget=self.budget, left=left
            )
            self.state.write(self.file)
        curve = run_learning(self.state, self.trainings, monitor)
        if curve[1] and not ended:
            self._timed("learning curve", started)
        return curve

    def _conclude(self, found: Survey, learning: tuple[str, list[str]]) -> None:
        """Select and write the answer, unless that was done with the same trainings."""
        settings = self.request.settings
        runs = {name: [str(run.path) for run in runs] for name, runs in self.trainings.finished.items()}
        everything = what_was_tried(found, self.state, self.request, runs, self.trainings.failures, learning)
        chosen_by = [settings.max_members, settings.metric, settings.limit_seconds, settings.refit]
        folders = {name: [run.path.name for run in runs] for name, runs in self.trainings.finished.items()}
        selected_from = digest([__version__, *chosen_by, folders, [Path(path).name for path in learning[1]]])
        written = all(file.is_file() for file in (self.files.model, self.files.report, self.files.summary))
        if written and self.state.concluded == selected_from:
            return
        started = self.spent
        say(f"selecting, and writing the page; {duration(self.budget_left)} of the budget left")
        self.state.answer = call(conclude, self.request.folder, everything, started)
        self.state.concluded, self.state.refit_said = selected_from, None
        self._timed("selecting, and writing the page", started)

    def _refit(self, monitor: str) -> None:
        """Train each member of the answer on all recordings, where there is time."""
        state = self.state
        done = state.refit_of == state.concluded and state.refit_said is not None
        if done and (state.refit or self.budget <= state.refit_budget):
            return
        started = self.spent
        members = [member.name for member in self.files.read_summary().selected]
        waves = math.ceil(len(members) / self.trainings.slots)
        plans = {name: plan_again(self.trainings.finished[name]) for name in members}
        needed = waves * max(plan.seconds for plan in plans.values())
        # The page is written once more.
        left = self.budget_left - AGAIN * state.times.get("selecting, and writing the page", 0.0)
        if state.refit_of != state.concluded or done:
            tried, lines = tried_names(state.passes), self.trainings.lines_on_everything
            planned = [Training(name, None, lines(*tried[name], plans[name].epochs, left / waves)) for name in members]
            state.refit_of, state.refit_said, state.refit_budget = state.concluded, None, self.budget
            state.refit = planned if needed <= left else []
            state.write(self.file)
        models: dict[str, str] = {}
        said = WITHOUT_TIME.format(needed=duration(needed), left=duration(max(0.0, left)))
        if state.refit:
            say(f"training {', '.join(members)} on all recordings; {duration(self.budget_left)} of the budget left")
            again = Trainings(self.request, SweepFolder(self.files.refits), lambda: self.budget_left)
            again.run(state.refit, monitor, "members on all recordings", ended=False)
            models, said = refitted(state.refit, again.finished, again.failures)
        call(finish, self.request.folder, self.request.lines, self.request.config_dir, models, said, self.spent)
        state.refit_said = said
        self._timed("training the members on all recordings", started)

    def _timed(self, what: str, started: float) -> None:
        self.state.times[what] = round(self.state.times.get(what, 0.0) + self.spent - started, 1)
        self.state.write(self.file)
