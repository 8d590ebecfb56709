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
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import lower_is_better
from audio_lightning.fit.budget import Clock, allocate, reserve, threads_gain
from audio_lightning.fit.group_scores import check_metric
from audio_lightning.fit.learning import has_ended, plan_learning, run_learning
from audio_lightning.fit.passes import folds_tested, further_pass, pass_name, tried_names
from audio_lightning.fit.request import FitRequest
from audio_lightning.fit.state import FitState, Pass, Training
from audio_lightning.fit.survey import Survey
from audio_lightning.fit.time_limit import as_text, within_limit
from audio_lightning.fit.trainings import Trainings, training_seconds
from audio_lightning.fit.tried import Tried
from audio_lightning.sweeps.executors.forkserver import call, forkserver
from audio_lightning.sweeps.identity import digest
from audio_lightning.sweeps.progress import duration

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
        self.trainings = Trainings(request)
        self.budget = request.settings.budget_seconds

    @property
    def left(self) -> float:
        """Seconds that there are for trainings."""
        return self.budget - reserve(self.budget) - self.clock.spent

    def run(self) -> FitOutcome:
        """See :func:`run_fit`."""
        if self.state.asked not in (None, self.request.asked):
            raise ConfigError(
                f"{self.request.folder} holds a fit with other settings of its trainings or other candidates: give its "
                "own command, or name another folder by fit.dir=DIR"
            )
        self.state.asked = self.request.asked
        found = self._survey()
        check_metric(self.request.settings.metric or found.metrics[0], multilabel=found.multilabel)
        monitor = f"validation/{found.metrics[0]}"
        number = 0
        while number < len(self.state.passes) or self._begin(found):
            self._run_pass(number, found, monitor)
            number += 1
        return self._conclude(found, self._learning_curve(monitor))

    def _survey(self) -> Survey:
        if self.state.survey is None:
            print("looking at the recordings, and timing steps of each candidate", flush=True)
            started = self.clock.spent
            chosen = self.request.settings.chosen
            self.state.survey = call(
                _survey, self.request.lines, chosen, self.request.folder, self.trainings.slots, self.request.config_dir
            )
            self._timed("looking at the recordings", started)
        found = within_limit(self.state.survey, self.request.settings.limit_seconds)
        if not any(one.done for one in self.state.passes):
            _say(found)
        return found

    def _begin(self, found: Survey) -> bool:
        """Begin a pass, where there is time for one that was not planned yet."""
        passes = self.state.passes
        steps = {name: one.step_seconds for name, one in found.candidates.items() if one.impossible is None}
        an_epoch = min(one.steps_an_epoch for name, one in found.candidates.items() if name in steps)
        slots, folds, members = self.trainings.slots, len(found.folds), self.request.settings.max_members
        if not passes:
            allocation = allocate(self.left, steps, an_epoch, workers=slots, folds=folds, members=members)
            passes.append(Pass(self.budget, allocation))
        elif self.budget <= max(one.budget for one in passes):
            return False
        else:
            taken = {name: self.trainings.seconds(name) for name in tried_names(passes)}
            further = further_pass(
                self.budget, self.left, steps, an_epoch, passes, taken, workers=slots, folds=folds, members=members
            )
            if further is None:
                rest = max(0.0, self.budget - self.clock.spent)
                print(
                    f"of {duration(self.budget)} {duration(rest)} are left: too little for trainings as long as those "
                    "before, so nothing is added",
                    flush=True,
                )
                return False
            passes.append(further)
        self.state.write(self.file)
        return True

    def _run_pass(self, number: int, found: Survey, monitor: str) -> None:
        """Run what is missing of a pass."""
        one = self.state.passes[number]
        chosen = one.allocation
        if not one.done:
            self._say_pass(number, found)
        first = [(pass_name(name, number), fold) for fold in range(chosen.at_once) for name in chosen.candidates]
        self._round(number, 0, first, found, monitor, "trying candidates")
        survivors = self._survivors(number, monitor)
        others = [(name, fold) for fold in range(chosen.at_once, chosen.folds) for name in survivors]
        tested = folds_tested(self.state.passes[:number])
        others += [(name, fold) for name in one.finish for fold in range(tested[name], chosen.folds)]
        if others:
            self._round(number, 1, others, found, monitor, "training on the other folds")
        one.done = True
        self.state.write(self.file)

    def _say_pass(self, number: int, found: Survey) -> None:
        passes = self.state.passes
        chosen = passes[number].allocation
        ever = {candidate for candidate, _ in tried_names(passes).values()}
        names = ", ".join(chosen.candidates)
        if number:
            before = max(one.allocation.steps for one in passes[:number])
            rest = duration(max(0.0, self.budget - self.clock.spent))
            start = f"what was trained stays; {rest} are left of {duration(self.budget)}: {names} with another seed"
        else:
            start = f"in {duration(self.budget)} there is time for {names}"
        if len(chosen.candidates) == 1:
            parts = [f"{start} on {chosen.folds} fold{'s' * (chosen.folds > 1)}"]
        else:
            kept = f"the best {chosen.survivors} of them" if chosen.survivors > 1 else "the best of them"
            parts = [f"{start} on a first fold"] + ([f"{kept} on {chosen.folds} folds"] if chosen.folds > 1 else [])
        parts.append(f"{chosen.steps:,} steps each" + (f" ({before:,} before)" if number else ""))
        if passes[number].finish:
            parts.append(f"{', '.join(passes[number].finish)} on the folds that were not tested before")
        if lost := [name for name in found.candidates if name in ever and name not in chosen.candidates]:
            parts.append(f"not {', '.join(lost)} again")
        if left_out := [name for name in found.candidates if name not in ever]:
            parts.append(f"no time for {', '.join(left_out)}")
        print(", ".join(parts), flush=True)

    def _round(
        self, number: int, place: int, trainings: list[tuple[str, int]], found: Survey, monitor: str, what: str
    ) -> None:
        """Run the trainings of a round of a pass, those that are missing of them."""
        started = self.clock.spent
        one = self.state.passes[number]
        if place == len(one.rounds):
            tried = tried_names(self.state.passes)
            left = max(1.0, self.left)
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
                lines = self.trainings.lines(candidate, own, fold, found, allocation, limit, validated=validated)
                planned.append(Training(name, fold, lines))
            one.rounds.append(planned)
            self.state.write(self.file)
        self.trainings.run(one.rounds[place], monitor, ended=one.done)
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
            if trials / self.trainings.slots <= self.left:
                return count
        return 1

    def _learning_curve(self, monitor: str) -> tuple[str, list[str]]:
        """Run the trainings of a learning curve, where there is time for one; see :class:`Tried` for the result."""
        started, ended = self.clock.spent, has_ended(self.state)
        if not self.state.learning:
            self.state.learning = plan_learning(
                self.request.lines, self.state.passes, self.trainings, budget=self.budget, left=self.left
            )
            self.state.write(self.file)
        curve = run_learning(self.state, self.trainings, monitor)
        if curve[1] and not ended:
            self._timed("learning curve", started)
        return curve

    def _conclude(self, found: Survey, learning: tuple[str, list[str]]) -> FitOutcome:
        passes, settings = self.state.passes, self.request.settings
        tried = tried_names(passes)
        runs = {name: [str(run.path) for run in self.trainings.finished.get(name, [])] for name in tried}
        chosen_by = [settings.max_members, settings.metric, settings.limit_seconds]
        selected_from = digest([__version__, *chosen_by, list(runs.values()), learning])
        written = all(file.is_file() for file in (self.files.model, self.files.report, self.files.summary))
        if written and self.state.concluded == selected_from:
            return FitOutcome(0, self.request.folder, self.state.answer)
        started = self.clock.spent
        print("selecting, and writing the page", flush=True)
        known = {candidate for candidate, _ in tried.values()}
        skipped = [name for name in found.candidates if name not in known]
        names = {name: candidate for name, (candidate, _) in tried.items()} | {name: name for name in skipped}
        order = list(found.candidates)
        everything = Tried(
            survey=found,
            settings=settings,
            lines=self.request.lines,
            words=self.request.words,
            names=dict(sorted(names.items(), key=lambda entry: order.index(entry[1]))),
            folds=max(one.allocation.folds for one in passes),
            runs={name: paths for name, paths in runs.items() if paths},
            stopped={name: why for one in passes for name, why in one.stopped.items()},
            failed=self.trainings.failures,
            skipped={name: found.candidates[name].impossible or "no time in the budget" for name in skipped},
            learning=learning,
            times=self.state.times,
            config_dir=self.request.config_dir,
        )
        self.state.answer = call(_conclude, self.request.folder, everything, started)
        self.state.concluded = selected_from
        self._timed("selecting, and writing the page", started)
        return FitOutcome(0, self.request.folder, self.state.answer)

    def _timed(self, what: str, started: float) -> None:
        self.state.times[what] = round(self.state.times.get(what, 0.0) + self.clock.spent - started, 1)
        self.state.write(self.file)


def _say(found: Survey) -> None:
    """Print what followed from the recordings, and the candidates."""
    for row in found.choices:
        print(f"{row['key']}={'null' if row['value'] is None else row['value']} (auto): {row['why']}")
    for name, one in found.candidates.items():
        timed = f"{1000 * one.step_seconds:.0f} ms a step, predicts a clip in {as_text(one.predict_seconds)}"
        said = f"cannot be tried: {one.impossible}" if one.impossible else timed
        print(f"candidate {name}: {one.title}, {said}")
    for note in found.notes:
        print(f"note: {note}")


def _survey(
    lines: list[str], candidates: dict[str, list[str]], folder: Path, workers: int, config_dir: str | None
) -> Survey:
    from audio_lightning.fit.surveying import survey

    return survey(lines, candidates, folder=folder, workers=workers, config_dir=config_dir)


def _conclude(folder: Path, tried: Tried, spent: float) -> str:
    from audio_lightning.fit.conclude import conclude

    return conclude(folder, tried, spent)
