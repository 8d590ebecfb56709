"""Trainings of a fit: trials of a sweep in its folder, run round by round."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from omegaconf import OmegaConf

from audio_lightning import __version__
from audio_lightning.compare.fit_summary import TRAIN_SHARE
from audio_lightning.compare.trials import ENDED, SweepFacts, SweepFolder, TrialFolder, TrialStatus
from audio_lightning.config import compose
from audio_lightning.core.errors import FileError, Interrupted
from audio_lightning.core.messages import timestamp
from audio_lightning.fit.budget import BETWEEN, TRIAL_SECONDS, VALIDATION, Allocation
from audio_lightning.fit.refitting import EVERYTHING
from audio_lightning.fit.request import FitRequest
from audio_lightning.fit.run_names import name_run
from audio_lightning.fit.state import Training
from audio_lightning.fit.survey import Survey, Surveyed
from audio_lightning.sweeps.executors.executors import Executor
from audio_lightning.sweeps.plan import Combination, plan_trials
from audio_lightning.sweeps.progress import Progress
from audio_lightning.sweeps.runner import TrialRunner
from audio_lightning.sweeps.sources import Listed
from audio_lightning.sweeps.sweep import make_executor

VALIDATIONS = 20
"""Minimum number of validated epochs of a longer training; fewer than twice as many are validated, because small data
sets have many short epochs."""

TRAIN_ON_VALIDATION = "data.train_on_validation=true"
"""Override of trainings without validation."""
TIME_LIMIT = ("trainer.max_time",)
"""Keys that depend on the remaining time and do not distinguish candidates."""

UNCALIBRATED = "calibration=none"
"""Override of all trainings: the ensemble is calibrated as a whole (:mod:`audio_lightning.fit.calibrating`)."""

Result = tuple[TrialFolder, TrialStatus]


class Trainings:
    """Runner of the trainings of a fit.

    Args:
        request: parsed command line.
        sweep: sweep folder of the trials.
        left: function that returns the remaining seconds of the budget.

    Attributes:
        sweep: sweep folder of the trials.
        finished: folders of finished trainings by the name of the candidate, in the order of the folds.
        failures: reason of failed trainings by the name of the candidate.
    """

    def __init__(self, request: FitRequest, sweep: SweepFolder, left: Callable[[], float]) -> None:
        self.request, self.sweep, self._left = request, sweep, left
        self._best: tuple[float, TrialStatus] | None = None
        self.finished: dict[str, list[TrialFolder]] = {}
        self.failures: dict[str, str] = {}

    @cached_property
    def slots(self) -> int:
        """Number of trainings at the same time."""
        return self.executor().slots

    def executor(self, trainings: int | None = None) -> Executor:
        """Make the executor of the trials; with fewer trials than slots, each has more threads."""
        settings = self.request.sweep
        if settings.executor == "local" and trainings is not None and trainings < self.slots:
            settings = replace(settings, workers=trainings)
        return make_executor(self.sweep, settings, self._accelerator())

    def run(self, planned: Sequence[Training], monitor: str, what: str, *, ended: bool) -> None:
        """Run the missing trainings of a round, and record the trial of each.

        Args:
            planned: trainings of the round.
            monitor: metric that chooses candidates.
            what: description of the trainings for the progress display.
            ended: whether all trainings have ended before. Then only those with lost or damaged files run again;
                otherwise failed trainings run again, too.

        Raises:
            DiskError: the disk was full.
            Interrupted: Ctrl-C or SIGTERM.
        """
        for one, (folder, status) in zip(planned, self.results(planned, monitor, what, ended=ended)):
            if status.state == "done":
                self.finished.setdefault(one.name, []).append(folder)
            else:
                self.failures[one.name] = status.reason or status.state

    def results(
        self, planned: Sequence[Training], monitor: str, what: str = "trainings", *, ended: bool
    ) -> list[Result]:
        """Run trainings as :meth:`run` does; return their trials without adding them to ``finished``."""
        found = (self._ended(planned) if ended else None) or self._run(planned, monitor, what)
        for one, (folder, _) in zip(planned, found):
            one.trial = folder.path.name
        return found

    def seconds(self, name: str) -> float:
        """Return the mean duration of a candidate's trainings in seconds; 0 if none is finished."""
        times = [folder.read_status().seconds for folder in self.finished.get(name, [])]
        return sum(times) / len(times) if times else 0.0

    def fold_lines(
        self,
        candidate: str,
        number: int,
        fold: int,
        found: Survey,
        allocation: Allocation,
        limit: float,
        *,
        validated: bool,
    ) -> list[str]:
        """Return the overrides of a training on a fold.

        Args:
            candidate: name of the candidate in the settings.
            number: number of the pass; later passes have other seeds.
            fold: tested fold.
            found: survey of the data and the candidates.
            allocation: allocation of the pass.
            limit: time limit of the trial in seconds.
            validated: whether validation clips choose the epoch; otherwise they are used for training.
        """
        if found.candidates[candidate].frozen:  # its experiment sets the epochs
            length = [TRAIN_ON_VALIDATION, time_limit(limit)]
        else:
            epochs = max(1, round(allocation.steps / found.candidates[candidate].steps_an_epoch))
            length = length_lines(epochs, limit, validated=validated)
        return [*self._lines(candidate, number, found.folds[fold]), *length]

    def lines_on_everything(self, candidate: str, number: int, epochs: int, limit: float) -> list[str]:
        """Return the overrides of a training on all recordings; see :meth:`fold_lines`."""
        return [*self._lines(candidate, number, EVERYTHING), f"trainer.max_epochs={epochs}", time_limit(limit)]

    def _lines(self, candidate: str, number: int, data: Sequence[str]) -> list[str]:
        own = self.request.settings.candidates[candidate]
        seeds = self._seeds(own, number) if number else ()
        return [*own, *data, *seeds, "plots=false", UNCALIBRATED]

    def _seeds(self, own: Sequence[str], number: int) -> list[str]:
        """Return overrides with another seed for the weights, and the same seed for the folds."""
        config = compose([*self.request.lines, *own])
        return [f"seed={config.seed + number}", f"data.seed={OmegaConf.select(config, 'data.seed')}"]

    def _ended(self, planned: Sequence[Training]) -> list[Result] | None:
        """Return the results of trainings that have all ended before; None if one is missing or damaged."""
        found = []
        for one in planned:
            if one.trial is None:
                return None
            folder = TrialFolder(self.sweep.trials / one.trial)
            try:
                status = folder.read_status()
            except FileError:
                return None
            if status.state not in (*ENDED, "failed") or folder.damage(status):
                return None
            found.append((folder, status))
        return found

    def _run(self, planned: Sequence[Training], monitor: str, what: str) -> list[Result]:
        executor = self.executor(len(planned))
        combinations = [Combination([*self.request.lines, *one.lines], _choices(one), TIME_LIMIT) for one in planned]
        trials = plan_trials(combinations, quiet=True)  # the survey has printed these values
        for trial in trials:
            name, *others = (f"{key}={value}" for key, value in trial.combination.choices.items())
            training = " ".join([name.removeprefix("candidate="), *others])
            name_run(trial.config, self.request.folder, training, self.request.lines)
        self.sweep.path.mkdir(parents=True, exist_ok=True)
        self.sweep.write_facts(
            SweepFacts(self.request.name, self.request.words, ["candidate"], monitor, timestamp(), __version__)
        )
        source = Listed(self.sweep, trials, reuse=False)
        progress = Progress(
            total=source.total,
            settled=source.settled,
            slots=executor.slots,
            monitor=monitor,
            what=what,
            budget_left=self._left,
            best=self._best,
        )
        try:
            outcome = TrialRunner(source, executor, progress, retries=self.request.sweep.retries)()
        finally:
            progress.close(Counter())
            self._best = progress.best
        if outcome.signal is not None:
            raise Interrupted(128 + outcome.signal)
        by_hash = {status.hash: (folder, status) for folder, status in self.sweep.folders()}
        hashes = {tuple(trial.combination.overrides): trial.hash for trial in trials}
        return [by_hash[hashes[tuple(combination.overrides)]] for combination in combinations]

    def _accelerator(self) -> str:
        typed = [line.partition("=")[2] for line in self.request.lines if line.startswith("trainer.accelerator=")]
        cpu = "trainer=cpu" in self.request.lines
        return "cpu" if cpu else typed[-1] if typed else "auto"


def length_lines(epochs: int, limit: float, *, validated: bool) -> list[str]:
    """Return the overrides for the number of epochs, validation and the time limit of a training."""
    often = f"trainer.check_val_every_n_epoch={max(1, epochs // VALIDATIONS)}"
    return [f"trainer.max_epochs={epochs}", often if validated else TRAIN_ON_VALIDATION, time_limit(limit)]


def time_limit(seconds: float) -> str:
    """Return the override for the time limit of a training.

    Args:
        seconds: time limit of its trial, which includes the overhead of the process.
    """
    hours, rest = divmod(max(3, round(seconds - TRIAL_SECONDS / 2)), 3600)
    return f"trainer.max_time='{hours // 24:02d}:{hours % 24:02d}:{rest // 60:02d}:{rest % 60:02d}'"


def _choices(one: Training) -> dict[str, Any]:
    fold = {} if one.fold is None else {"fold": one.fold}
    return {"candidate": one.name, **fold, **({} if one.share == 1 else {TRAIN_SHARE: one.share})}


def training_seconds(candidate: Surveyed, allocation: Allocation) -> float:
    """Estimate the seconds of a training from the time per step."""
    return allocation.steps * candidate.step_seconds * (1 + BETWEEN + VALIDATION) + TRIAL_SECONDS
