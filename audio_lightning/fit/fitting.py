"""The best classifier within a budget: survey, portfolio under cross-validation, selection, ensemble, page.

Every training is a trial of a sweep in the fit's folder, so that a killed fit goes on exactly, failures stay with one
candidate, and trials run on the devices or clusters that a sweep runs on. What was decided is in ``state.json``: the
same command makes the same decisions again, however long it was interrupted.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audio_lightning import __version__
from audio_lightning.compare.trials import SweepFacts, SweepFolder, TrialFolder, TrialStatus
from audio_lightning.core.errors import ConfigError, Interrupted
from audio_lightning.core.messages import timestamp
from audio_lightning.core.task import lower_is_better
from audio_lightning.fit.budget import TRIAL_SECONDS, VALIDATION, Allocation, Clock, allocate, reserve
from audio_lightning.fit.group_scores import check_metric
from audio_lightning.fit.request import FitRequest
from audio_lightning.fit.run_names import name_run
from audio_lightning.fit.state import FitState
from audio_lightning.fit.survey import Survey, Surveyed
from audio_lightning.fit.time_limit import as_text, within_limit
from audio_lightning.fit.tried import Tried
from audio_lightning.sweeps.executors.executors import Executor
from audio_lightning.sweeps.executors.forkserver import call, forkserver
from audio_lightning.sweeps.plan import Combination, plan_trials
from audio_lightning.sweeps.progress import Progress, duration
from audio_lightning.sweeps.runner import TrialRunner
from audio_lightning.sweeps.sources import Listed
from audio_lightning.sweeps.sweep import make_executor

VALIDATIONS = 20
"""Most epochs of a training that are validated: with few clips, epochs are short and many."""

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
        self.file = request.folder / "state.json"
        self.state = FitState.read(self.file)
        self.sweep = SweepFolder(request.folder / "trials")
        self.budget = request.settings.budget_seconds
        self.trials: dict[str, list[TrialFolder]] = {}
        self.failures: dict[str, str] = {}

    def run(self) -> FitOutcome:
        """See :func:`run_fit`."""
        if self.state.budget not in (None, self.budget):
            planned = duration(self.state.budget or 0)
            raise ConfigError(
                f"{self.request.folder} holds a fit with a budget of {planned}: go on with that one, or name another "
                "folder by fit.dir=DIR"
            )
        self.state.budget = self.budget
        found = self._survey()
        check_metric(self.request.settings.metric or found.metrics[0], multilabel=found.multilabel)
        allocation = self._allocation(found)
        monitor = f"validation/{found.metrics[0]}"
        first = [(name, 0) for name in allocation.candidates]
        self._round(0, first, found, allocation, monitor, "trying candidates")
        survivors = self._survivors(found, allocation, monitor)
        others = [(name, fold) for fold in range(1, allocation.folds) for name in survivors]
        if others:
            self._round(1, others, found, allocation, monitor, "training on the other folds")
        return self._conclude(found, allocation)

    def _survey(self) -> Survey:
        if self.state.survey is None:
            print("looking at the recordings, and timing steps of each candidate", flush=True)
            started = self.clock.spent
            chosen = self.request.settings.chosen
            workers = self._executor().slots
            self.state.survey = call(
                _survey, self.request.lines, chosen, self.request.folder, workers, self.request.config_dir
            )
            self._timed("looking at the recordings", started)
        found = within_limit(self.state.survey, self.request.settings.limit_seconds)
        for row in found.choices:
            print(f"{row['key']}={'null' if row['value'] is None else row['value']} (auto): {row['why']}")
        for name, one in found.candidates.items():
            timed = f"{1000 * one.step_seconds:.0f} ms a step, predicts a clip in {as_text(one.predict_seconds)}"
            said = f"cannot be tried: {one.impossible}" if one.impossible else timed
            print(f"candidate {name}: {one.title}, {said}")
        for note in found.notes:
            print(f"note: {note}")
        return found

    def _allocation(self, found: Survey) -> Allocation:
        if self.state.allocation is None:
            steps = {name: one.step_seconds for name, one in found.candidates.items() if one.impossible is None}
            self.state.allocation = allocate(
                self.budget - reserve(self.budget) - self.clock.spent,
                steps,
                workers=self._executor().slots,
                folds=len(found.folds),
                members=self.request.settings.max_members,
            )
            self.state.write(self.file)
        chosen = self.state.allocation
        left_out = [name for name in found.candidates if name not in chosen.candidates]
        print(
            f"in {duration(self.budget)} there is time for {len(chosen.candidates)} candidates on a first fold"
            + (f", and the best {chosen.survivors} of them on {chosen.folds} folds" if chosen.folds > 1 else "")
            + f", {chosen.steps:,} steps each"
            + (f"; none for {', '.join(left_out)}" if left_out else ""),
            flush=True,
        )
        return chosen

    def _round(
        self,
        number: int,
        trainings: list[tuple[str, int]],
        found: Survey,
        allocation: Allocation,
        monitor: str,
        what: str,
    ) -> None:
        """Run the trials of a round, those that are missing of them."""
        started = self.clock.spent
        executor = self._executor(len(trainings))
        if number == len(self.state.rounds):
            left = max(1.0, self.budget - reserve(self.budget) - self.clock.spent)
            waves = math.ceil(len(trainings) / executor.slots)
            is_last = number == 1 or allocation.folds == 1
            trials_of_round = list[dict[str, Any]]()
            for name, fold in trainings:
                limit = (
                    left / waves if is_last else min(left, GRACE * training_seconds(found.candidates[name], allocation))
                )
                lines = self._lines(name, fold, found, allocation, max(3, round(limit - TRIAL_SECONDS / 2)))
                trials_of_round.append({"candidate": name, "fold": fold, "lines": lines})
            self.state.rounds.append(trials_of_round)
            self.state.write(self.file)
        planned = self.state.rounds[number]
        combinations = [
            Combination([*self.request.lines, *one["lines"]], {"candidate": one["candidate"], "fold": one["fold"]})
            for one in planned
        ]
        trials = plan_trials(combinations)
        for trial in trials:
            training = " fold=".join(str(trial.combination.choices[key]) for key in ("candidate", "fold"))
            name_run(trial.config, self.request.folder, training, self.request.lines)
        self.sweep.path.mkdir(parents=True, exist_ok=True)
        self.sweep.write_facts(
            SweepFacts(self.request.name, self.request.words, ["candidate"], monitor, timestamp(), __version__)
        )
        source = Listed(self.sweep, trials, reuse=False)
        progress = Progress(total=source.total, settled=source.settled, slots=executor.slots, monitor=monitor)
        try:
            outcome = TrialRunner(source, executor, progress, retries=self.request.sweep.retries)()
        finally:
            progress.close(Counter())
        if outcome.signal is not None:
            raise Interrupted(outcome.signal)
        by_hash = {status.hash: (folder, status) for folder, status in self.sweep.folders()}
        hashes = {tuple(trial.combination.overrides): trial.hash for trial in trials}
        for one, combination in zip(planned, combinations):
            folder, status = by_hash[hashes[tuple(combination.overrides)]]
            self._note(str(one["candidate"]), folder, status)
        self._timed(what, started)

    def _note(self, candidate: str, folder: TrialFolder, status: TrialStatus) -> None:
        if status.state == "done":
            self.trials.setdefault(candidate, []).append(folder)
        else:
            self.failures[candidate] = status.reason or status.state

    def _lines(self, name: str, fold: int, found: Survey, allocation: Allocation, limit: int) -> list[str]:
        """Overrides of a training of a candidate on a fold."""
        epochs = max(1, round(allocation.steps / found.candidates[name].steps_an_epoch))
        hours, rest = divmod(limit, 3600)
        return [
            *self.request.settings.candidates[name],
            *found.folds[fold],
            f"trainer.max_epochs={epochs}",
            f"trainer.check_val_every_n_epoch={max(1, epochs // VALIDATIONS)}",
            f"trainer.max_time='{hours // 24:02d}:{hours % 24:02d}:{rest // 60:02d}:{rest % 60:02d}'",
            "plots=false",
        ]

    def _survivors(self, found: Survey, allocation: Allocation, monitor: str) -> list[str]:
        """The candidates that are trained on all folds: the best by their validation on the first one."""
        if self.state.survivors:
            return self.state.survivors
        scores = {name: runs[0].read_metrics().get(monitor) for name, runs in self.trials.items()}
        sign = 1 if lower_is_better(monitor) else -1
        known = {name: float(value) for name, value in scores.items() if value is not None}
        ranked = sorted(known, key=lambda name: sign * known[name])
        if not ranked:
            raise ConfigError(
                "no candidate could be trained: " + "; ".join(f"{name}: {why}" for name, why in self.failures.items())
            )
        kept = ranked[: self._affordable(allocation, ranked)]
        for place, name in enumerate(ranked[len(kept) :], len(kept)):
            why = f"{monitor} {known[name]:.3f} on the first fold, {known[kept[-1]]:.3f} of {kept[-1]}"
            late = place < allocation.survivors  # it would have been kept, had the first fold not taken longer
            self.state.stopped[name] = f"no time for the other folds; {why}" if late else why
        self.state.survivors = kept
        self.state.write(self.file)
        return kept

    def _affordable(self, allocation: Allocation, ranked: Sequence[str]) -> int:
        """As many survivors as planned, or fewer where the trainings took longer than their steps were timed at."""
        others = allocation.folds - 1
        if others == 0:
            return len(ranked)
        left = self.budget - reserve(self.budget) - self.clock.spent
        seconds = {name: self.trials[name][0].read_status().seconds for name in ranked}
        slots = self._executor().slots
        for count in range(min(allocation.survivors, len(ranked)), 1, -1):
            trials = sum(seconds[name] for name in ranked[:count]) * others
            if trials / slots <= left:
                return count
        return 1

    def _conclude(self, found: Survey, allocation: Allocation) -> FitOutcome:
        started = self.clock.spent
        print("selecting, and writing the page", flush=True)
        folders = {name: [str(folder.path) for folder in runs] for name, runs in self.trials.items()}
        skipped = [name for name in found.candidates if name not in allocation.candidates]
        tried = Tried(
            survey=found,
            settings=self.request.settings,
            lines=self.request.lines,
            steps=allocation.steps,
            folds=allocation.folds,
            runs=folders,
            stopped=self.state.stopped,
            failed=self.failures,
            skipped={name: found.candidates[name].impossible or "no time in the budget" for name in skipped},
            times=self.state.times,
            config_dir=self.request.config_dir,
        )
        answer = call(_conclude, self.request.folder, tried, started)
        self._timed("selecting, and writing the page", started)
        return FitOutcome(0, self.request.folder, answer)

    def _executor(self, trainings: int | None = None) -> Executor:
        """What runs the trials: with fewer of them than there are slots, each has more threads."""
        settings = self.request.sweep
        if settings.executor == "local" and trainings is not None and trainings < self._executor().slots:
            settings = replace(settings, workers=trainings)
        return make_executor(self.sweep, settings, self._accelerator())

    def _accelerator(self) -> str:
        typed = [line.partition("=")[2] for line in self.request.lines if line.startswith("trainer.accelerator=")]
        cpu = "trainer=cpu" in self.request.lines
        return "cpu" if cpu else typed[-1] if typed else "auto"

    def _timed(self, what: str, started: float) -> None:
        self.state.times[what] = round(self.state.times.get(what, 0.0) + self.clock.spent - started, 1)
        self.state.write(self.file)


def _survey(
    lines: list[str], candidates: dict[str, list[str]], folder: Path, workers: int, config_dir: str | None
) -> Survey:
    from audio_lightning.fit.surveying import survey

    return survey(lines, candidates, folder=folder, workers=workers, config_dir=config_dir)


def _conclude(folder: Path, tried: Tried, spent: float) -> str:
    from audio_lightning.fit.conclude import conclude

    return conclude(folder, tried, spent)


def training_seconds(candidate: Surveyed, allocation: Allocation) -> float:
    """About what a training takes, as far as its steps were timed."""
    return allocation.steps * candidate.step_seconds * (1 + VALIDATION) + TRIAL_SECONDS
