"""Fit: the best classifier within a time budget, by cross-validating a portfolio and selecting an ensemble.

Every training is a trial of a sweep in the folder of the fit. A killed fit therefore resumes exactly, a failure affects
one candidate only, and trials run on any device or cluster of a sweep. Decisions are stored in ``state.json``, so that
the same command makes the same decisions again after an interruption of any length.
"""

import math
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from audio_lightning import __version__
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.core.errors import ConfigError, DataError, Interrupted
from audio_lightning.core.files import check_creatable, read_json, write_json
from audio_lightning.fit.announce import over_budget, say, say_survey
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
from audio_lightning.fit.state import FitState, Training
from audio_lightning.fit.survey import Survey
from audio_lightning.fit.time_limit import within_limit
from audio_lightning.fit.timing import timed
from audio_lightning.fit.trainings import Trainings
from audio_lightning.fit.tried import what_was_tried
from audio_lightning.run_folder import FIT_STATE
from audio_lightning.sweeps.executors.forkserver import call, forkserver
from audio_lightning.sweeps.identity import digest
from audio_lightning.sweeps.plan import Combination, plan_trials
from audio_lightning.sweeps.progress import duration

AGAIN = 0.5
"""Assumed time to write the page a second time, as a share of the time for selection and the first page."""


@dataclass(frozen=True)
class FitOutcome:
    """Result of a fit.

    Attributes:
        exit_code: exit code of the command.
        folder: folder of the fit.
        answer: expected metric as a sentence; None without a model.
        over_budget: note of the page that the budget was exceeded; None if it was not.
    """

    exit_code: int
    folder: Path
    answer: str | None = None
    over_budget: str | None = None


def run_fit(request: FitRequest, running: float = 0.0) -> FitOutcome:
    """Find the best classifier within the budget; resume the fit if its folder exists.

    Args:
        request: parsed command line.
        running: seconds for which the command has already been running; they count as spent.

    Raises:
        ConfigError: a mistake in the overrides, no possible candidate, or a folder with other files.
        DataError: the recordings cannot be used.
        DiskError: the disk was full; the same command resumes the fit.
        Interrupted: Ctrl-C or SIGTERM; the same command resumes the fit.
    """
    folder = request.folder
    check_creatable(folder, key="fit.dir")
    is_new = not (folder / FIT_STATE).exists()
    lock = folder / ".lock"
    if is_new and folder.exists() and any(path != lock for path in folder.iterdir()):
        raise ConfigError(f"fit.dir={folder}: contains other files; name a new or empty folder, or that of a fit")
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with _only_fit(folder, lock), _stopped_by_sigterm():
        forkserver()
        try:
            with Clock(folder / "clock.json", running) as clock:
                return _Fit(RunningFit(request, clock)).run()
        except (ConfigError, DataError):
            if is_new and not FitState.read(folder / FIT_STATE).passes:
                _empty(folder, created)
            raise


@contextmanager
def _only_fit(folder: Path, lock: Path) -> Iterator[None]:
    """Hold the lock of the folder, so that a second command does not work on the same fit."""
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(
            f"fit.dir={folder}: another command is working on this fit; wait for it, or give another folder"
        ) from error
    try:
        yield
    finally:
        held.release()


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Raise :class:`Interrupted` on SIGTERM, as Python raises KeyboardInterrupt on Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    earlier = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _empty(folder: Path, created: Sequence[Path]) -> None:
    """Remove the files of a refused fit, and the folders that it created, innermost first, unless they have others."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    with suppress(OSError):
        for path in created:
            path.rmdir()


class _Fit:
    def __init__(self, fit: RunningFit) -> None:
        self.fit = fit

    def run(self) -> FitOutcome:
        """See :func:`run_fit`."""
        request, state = self.fit.request, self.fit.state
        if state.asked not in (None, request.asked):
            raise ConfigError(
                f"{request.folder}: holds a fit with other settings of its trainings or other candidates; give the "
                "command of that fit, or another folder by fit.dir=DIR"
            )
        state.asked = request.asked
        self.fit.save()
        edition = state.edition
        self._look()
        if self.fit.clock.earlier and self.fit.state.edition == edition and not self._is_finished():
            used = duration(self.fit.clock.earlier - self.fit.state.begun)
            say(f"continuing: {used} of {duration(self.fit.budget)} used")
        found = self._survey()
        metric = request.settings.metric or found.metrics[0]
        check_metric(metric, multilabel=found.multilabel)
        monitor = f"validation/{metric}"
        run_passes(self.fit, found, monitor)
        self._conclude(found, self._learning_curve(monitor))
        if self.fit.request.settings.refit:
            self._refit(monitor)
        results = [self.fit.state.answer or "", *([self.fit.state.refit_note] if self.fit.state.refit_note else [])]
        over = over_budget(self.fit.files.read_summary())
        return FitOutcome(0, self.fit.request.folder, "; ".join(results), *over)

    def _is_finished(self) -> bool:
        """Return whether the fit has a result, and no larger budget than before."""
        state = self.fit.state
        if state.concluded is None or (self.fit.request.settings.refit and state.refit_note is None):
            return False
        return self.fit.budget <= max(one.budget for one in state.passes)

    def _look(self) -> None:
        """List the recordings, and begin the fit again if they have changed."""
        file = self.fit.request.folder / "recordings.json"
        candidates = list(self.fit.request.settings.chosen.values())
        now = call(look, self.fit.request.lines, candidates, self.fit.request.config_dir)
        if self.fit.state.survey is not None and file.exists():
            found = difference(read_json(file), now)
            if str(found) or (found.written and not self._is_content_known()):
                changes = str(found) or f"{found.written:,} changed"
                say(
                    f"recordings have changed: {changes}. The fit begins again with {duration(self.fit.budget)} from "
                    "now on; the present model and page stay until they are replaced"
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
        """Return whether the content of recordings is unchanged, although their files were written again."""
        own = next(iter(self.fit.request.settings.chosen.values()))
        known = {status.content for _, status in self.fit.files.sweep.folders()}
        (trial,) = plan_trials([Combination([*self.fit.request.lines, *own], {})], quiet=True)
        return trial.preflight.content in known

    def _survey(self) -> Survey:
        if self.fit.state.survey is None:
            budget, started = duration(self.fit.budget), self.fit.spent
            say(f"measuring the recordings, and timing steps of each candidate; the budget is {budget}")
            request, chosen = self.fit.request, self.fit.request.settings.chosen
            found, candidates = call(survey, request.lines, chosen, request.folder, request.config_dir)
            check_metric(request.settings.metric or found.metrics[0], multilabel=found.multilabel)
            found = timed(found, candidates, self.fit.trainings.slots)
            self.fit.state.survey = embed_frozen(found, candidates, self.fit.budget_left)
            self.fit.timed("measuring and embedding the recordings, and timing the candidates", started)
        found = within_limit(self.fit.state.survey, self.fit.request.settings.limit_seconds)
        if not any(one.done for one in self.fit.state.passes):
            say_survey(found)
        return found

    def _learning_curve(self, monitor: str) -> tuple[str, list[str]]:
        """Run the trainings of a learning curve, if there is time for one; see :class:`Tried` for the result."""
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
        """Select and write the ensemble, unless that was done with the same trainings."""
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
        self.fit.state.concluded, self.fit.state.refit_note = selected_from, None
        self.fit.timed("selecting, and writing the page", started)

    def _refit(self, monitor: str) -> None:
        """Train each member of the ensemble on all recordings, if there is time."""
        state = self.fit.state
        done = state.refit_of == state.concluded and state.refit_note is not None
        if done and (state.refit or self.fit.budget <= state.refit_budget):
            return
        started = self.fit.spent
        members = [member.name for member in self.fit.files.read_summary().selected]
        waves = math.ceil(len(members) / self.fit.trainings.slots)
        plans = {name: plan_again(self.fit.trainings.finished[name]) for name in members}
        needed = waves * max(plan.seconds for plan in plans.values())
        # Reserve time to write the page a second time.
        left = self.fit.budget_left - AGAIN * state.times.get("selecting, and writing the page", 0.0)
        if state.refit_of != state.concluded or done:
            tried, lines = tried_names(state.passes), self.fit.trainings.lines_on_everything
            planned = [Training(name, None, lines(*tried[name], plans[name].epochs, left / waves)) for name in members]
            state.refit_of, state.refit_note, state.refit_budget = state.concluded, None, self.fit.budget
            state.refit = planned if needed <= left else []
            self.fit.save()
        models: dict[str, str] = {}
        note = WITHOUT_TIME.format(needed=duration(needed), left=duration(max(0.0, left)))
        if state.refit:
            say(f"training {', '.join(members)} on all recordings; {duration(self.fit.budget_left)} of the budget left")
            again = Trainings(self.fit.request, SweepFolder(self.fit.files.refits), lambda: self.fit.budget_left)
            again.run(state.refit, monitor, "members on all recordings", ended=False)
            models, note = refitted(state.refit, again.finished, again.failures)
        call(
            finish,
            self.fit.request.folder,
            self.fit.request.lines,
            self.fit.request.config_dir,
            models,
            note,
            self.fit.spent,
        )
        state.refit_note = note
        self.fit.timed("training the members on all recordings", started)
