"""Hyperparameter search: Optuna's ask-and-tell interface on a persistent study.

Any number of processes and machines may work on one study at once. They agree on trial numbers only, which the storage
assigns once.
"""

import contextlib
import json
import math
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from audio_lightning.compare.trials import State
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import write_text
from audio_lightning.sweeps.grid import Grid, values_of
from audio_lightning.sweeps.search.settings import Direction, SearchSettings
from audio_lightning.sweeps.search.storage import import_optuna, open_storage, patiently

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial


MEMBER = "member"
"""Attribute of a trial: ID of the sweep folder in which it runs."""

HASH = "hash"
"""Attribute of a trial: its identity, by which its folder is found."""

BEAT = "beat"
"""Attribute of a running trial: time of the last heartbeat of its machine, in seconds since 1970.

Optuna's own heartbeat works with ``study.optimize`` and databases only, not with ask-and-tell or a journal file.
"""

SECONDS_BETWEEN_BEATS = 60.0

SECONDS_WITHOUT_BEAT = 1800.0
"""Seconds without a heartbeat after which a machine counts as dead: longer than most first decodings, which send no
heartbeats, and than the clocks of two machines differ."""


@dataclass(frozen=True)
class Asked:
    """Trial proposed by the search.

    Attributes:
        number: number of the trial in the study.
        lines: override line of each key that varies.
        choices: value of each key that varies.
        link: arguments of :class:`audio_lightning.sweeps.search.pruning.Pruning`; empty without pruning.
    """

    number: int
    lines: dict[str, str]
    choices: dict[str, Any]
    link: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """Finished trial of the study: its number, the value of each objective, and its choices."""

    number: int
    values: dict[str, float]
    choices: dict[str, Any]


class Search:
    """Optuna study, and the trials to run for it.

    Args:
        grid: search space. A list of values is categorical, evenly spaced numbers are a range, ``interval(a,b)`` is
            uniform, ``tag(log,interval(a,b))`` is log-uniform, and ``int(interval(a,b))`` or
            ``tag(int,interval(a,b))`` are integers from a to b.
        settings: see :class:`SearchSettings`.
        trials: number of trials of all processes and machines together.
        storage: see :func:`storage_url`.
        study_name: name of the study in the storage.
        objectives: see :func:`read_objectives`.
        folder: sweep folder, in which unfinished trials are resumed.

    Raises:
        ConfigError: Optuna is missing, the sampler or pruner does not support the space or the objectives, the storage
            cannot be reached, or the study in it has another space or other objectives.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        settings: SearchSettings,
        trials: int,
        storage: str,
        study_name: str,
        objectives: list[tuple[str, Direction]],
        folder: Path,
    ) -> None:
        settings.check_objectives(len(objectives))
        optuna = import_optuna()
        from audio_lightning.sweeps.search.samplers import GridInOrder, make_pruner, make_sampler
        from audio_lightning.sweeps.search.space import axes, check_space

        self._axes, self._constant = axes(grid)
        self._running: dict[int, Trial] = {}
        self._beaten = -math.inf
        self.objectives = objectives
        space = {key: axis.distribution for key, axis in self._axes.items()}
        check_space(settings.sampler, space)
        sampler = make_sampler(settings.sampler, space, settings.seed)
        self._trials = min(trials, len(sampler)) if isinstance(sampler, GridInOrder) else trials
        folder.mkdir(parents=True, exist_ok=True)
        # The first process creates the tables and the study; Optuna fails if two do so at once.
        with FileLock(folder / ".study.lock"):
            self._member = _member(folder / ".study-member")
            self._storage = open_storage(storage)
            self._study = patiently(
                lambda: optuna.create_study(
                    study_name=study_name,
                    storage=self._storage,
                    load_if_exists=True,
                    directions=[direction for _, direction in objectives],
                    sampler=sampler,
                    pruner=make_pruner(settings.pruner),
                ),
                storage,
            )
            self._agree(study_name, space)
        self._link: dict[str, Any] = {}
        if settings.pruner != "none":
            self._link = {
                "storage": storage,
                "study": study_name,
                "pruner": settings.pruner,
                "monitor": objectives[0][0],
            }

    def ask(self) -> Asked | None:
        """Return the next trial to run; None if there are enough."""
        from audio_lightning.sweeps.search.samplers import SURPLUS

        self._give_up_dead()
        if len(self._study.get_trials(deepcopy=False)) >= self._end():
            return None
        trial = self._study.ask()
        if trial.number >= self._end():  # another process asked at the same time
            trial.set_user_attr(SURPLUS, True)
            self._study.tell(trial.number, state=_state("FAIL"))
            return None
        trial.set_user_attr(MEMBER, self._member)
        trial.set_user_attr(BEAT, time.time())
        self._running[trial.number] = trial
        return self._asked(trial)

    def beat(self) -> None:
        """Write heartbeats for the running trials of this process; call it often, most calls do nothing."""
        if not self._running or time.monotonic() - self._beaten < SECONDS_BETWEEN_BEATS:
            return
        self._beaten = time.monotonic()
        from optuna.exceptions import UpdateFinishedTrialError

        for number, trial in list(self._running.items()):
            try:
                trial.set_user_attr(BEAT, time.time())
            except UpdateFinishedTrialError:  # another machine has given it up
                del self._running[number]

    def tell(self, number: int, state: str, metrics: Mapping[str, Any]) -> None:
        """Report how a trial ended; a second report changes nothing, and a trial to be resumed stays open.

        A failed or skipped trial, or one without a finite value for an objective in ``metrics``, counts as failed.
        """
        self._running.pop(number, None)
        if state in ("queued", "running", "interrupted"):
            return
        values = [_finite(metrics.get(name)) for name, _ in self.objectives]
        if state == "done" and None not in values:
            self._study.tell(number, values, skip_if_finished=True)
        else:
            pruned = state == "pruned" and len(values) == 1
            self._study.tell(number, state=_state("PRUNED" if pruned else "FAIL"), skip_if_finished=True)

    def unfinished(self) -> list[Asked]:
        """Return the unfinished trials of this folder: left by a killed sweep, or running in another process.

        The lock on the trial's folder distinguishes the two.
        """
        from optuna.trial import Trial

        running = self._study.get_trials(deepcopy=False, states=(_state("RUNNING"),))
        mine = [
            Trial(self._study, trial._trial_id) for trial in running if trial.user_attrs.get(MEMBER) == self._member
        ]
        self._running |= {trial.number: trial for trial in mine}
        return [self._asked(trial) for trial in mine]

    def set_hash(self, number: int, identity: str) -> None:
        """Store the hash of a trial of this process in the study."""
        from optuna.exceptions import UpdateFinishedTrialError

        if trial := self._running.get(number):
            with contextlib.suppress(UpdateFinishedTrialError):  # another machine has given it up
                trial.set_user_attr(HASH, identity)

    def finished(self) -> dict[str, Asked]:
        """Return the finished trials of this folder by their hashes, to be run again without pruning.

        Reporting them again changes nothing: the study has their values, even if their files are lost.
        """
        found: dict[str, Asked] = {}
        for trial in self._study.get_trials(deepcopy=False):
            identity = trial.user_attrs.get(HASH)
            if identity and trial.state.is_finished() and trial.user_attrs.get(MEMBER) == self._member:
                lines = self._lines(trial)
                found.setdefault(identity, Asked(trial.number, lines, values_of(lines), {}))
        return found

    @property
    def total(self) -> int:
        """Number of trials to run in all."""
        return self._trials

    def ended(self, *, without: Iterable[int] = ()) -> Counter[State]:
        """Return the number of finished trials by state, without surplus trials and the numbers in ``without``."""
        from audio_lightning.sweeps.search.samplers import surplus

        states: dict[str, State] = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}
        left_out = {*surplus(self._study), *without}
        known = [trial for trial in self._study.get_trials(deepcopy=False) if trial.number not in left_out]
        return Counter(states[trial.state.name] for trial in known if trial.state.is_finished())

    def best(self) -> Found | None:
        """Return the best trial by the first objective; None before the first has ended."""
        name, direction = self.objectives[0]
        sign = 1 if direction == "maximize" else -1
        return max(self.pareto(), key=lambda found: sign * found.values[name], default=None)

    def pareto(self) -> list[Found]:
        """Return the Pareto-optimal trials; with one objective, the best trial."""
        return [self._found(trial) for trial in self._study.best_trials]

    def _give_up_dead(self) -> None:
        """Give up trials of machines without heartbeats, so that others are proposed in their place.

        Trials of this folder are excepted: a lock shows whether each runs, and they are resumed.
        """
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import Trial

        from audio_lightning.sweeps.search.samplers import SURPLUS

        for trial in self._study.get_trials(deepcopy=False, states=(_state("RUNNING"),)):
            beat = trial.user_attrs.get(BEAT)
            alive = beat is None or time.time() - beat < SECONDS_WITHOUT_BEAT
            if trial.user_attrs.get(MEMBER) == self._member or alive:
                continue
            try:
                Trial(self._study, trial._trial_id).set_user_attr(SURPLUS, time.time())
                self._study.tell(trial.number, state=_state("FAIL"), skip_if_finished=True)
            except UpdateFinishedTrialError:  # finished, or given up, at the same time
                continue
            silence = (time.time() - beat) / 60
            print(f"trial {trial.number} is given up: its machine has not reported for {silence:.0f} min", flush=True)

    def _end(self) -> int:
        """Return the first trial number beyond the total; surplus trials do not count."""
        from audio_lightning.sweeps.search.samplers import surplus

        end = self._trials
        for number in sorted(surplus(self._study)):
            end += number < end
        return end

    def _asked(self, trial: "Trial") -> Asked:
        lines = {**self._constant, **{key: axis.line(axis.draw(trial, key)) for key, axis in self._axes.items()}}
        link = {**self._link, "number": trial.number} if self._link else {}
        return Asked(trial.number, lines, values_of(lines), link)

    def _found(self, trial: "FrozenTrial") -> Found:
        names = [name for name, _ in self.objectives]
        return Found(trial.number, dict(zip(names, trial.values)), values_of(self._lines(trial)))

    def _lines(self, trial: "FrozenTrial") -> dict[str, str]:
        """Return the override lines of a trial whose parameters have all been sampled."""
        return {**self._constant, **{key: axis.line(trial.params[key]) for key, axis in self._axes.items()}}

    def _agree(self, name: str, space: "dict[str, BaseDistribution]") -> None:
        """Store objectives and space in the study, or compare them with the stored ones."""
        from optuna.distributions import distribution_to_json

        own = {
            "objectives": [list(objective) for objective in self.objectives],
            "space": {key: json.loads(distribution_to_json(axis)) for key, axis in space.items()},
        }
        kept = self._study.user_attrs
        for part, wanted in own.items():
            if part not in kept:
                self._study.set_user_attr(part, wanted)
            elif kept[part] != wanted:
                raise ConfigError(
                    f"sweep.search.study={name}: has {part} {json.dumps(kept[part])}, but this sweep has "
                    f"{json.dumps(wanted)}; choose another sweep.name or sweep.search.study"
                )


def _member(file: Path) -> str:
    """Return the unique ID of a sweep folder, which it keeps when it is moved."""
    if not file.is_file():
        write_text(file, uuid.uuid4().hex)
    return file.read_text(encoding="utf-8")


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]
