"""A search that chooses what to try next: Optuna by ask and tell, on a study that outlives the process.

Any number of processes and machines may work on one study at once. What has to be agreed on is the number of a trial,
which the storage gives out once.
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
"""Mark on a trial of the folder that it is run in."""

HASH = "hash"
"""Mark on a trial: its identity, by which its folder is found."""

BEAT = "beat"
"""Mark on a running trial: when its machine was last known to be alive, in seconds since 1970.

Optuna's own heartbeat is that of ``study.optimize``, and only databases have it: neither asking and telling nor a
journal file do.
"""

SECONDS_BETWEEN_BEATS = 60.0

SECONDS_WITHOUT_BEAT = 1800.0
"""Silence after which a machine counts as dead: longer than a first decoding, in which nothing is said, mostly takes,
and than the clocks of two machines differ."""


@dataclass(frozen=True)
class Asked:
    """A trial that the search wants run: its number in the study, and the override and value of each key that varies.

    ``link`` has the arguments of :class:`audio_lightning.sweeps.search.pruning.Pruning`, where trials are pruned.
    """

    number: int
    lines: dict[str, str]
    choices: dict[str, Any]
    link: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A finished trial of the study: its number, the value of each objective, and what was chosen."""

    number: int
    values: dict[str, float]
    choices: dict[str, Any]


class Search:
    """A study, and the trials to run for it.

    Args:
        grid: what varies. A list of values is categorical, evenly spaced numbers are a range, ``interval(a,b)`` is
            uniform, ``tag(log,interval(a,b))`` uniform in the logarithm and ``int(interval(a,b))`` or
            ``tag(int,interval(a,b))`` whole numbers from a to b.
        settings: see :class:`SearchSettings`.
        trials: how many to run, of all processes and machines together.
        storage: see :func:`storage_url`.
        study_name: name of the study in the storage.
        objectives: see :func:`read_objectives`.
        folder: of the sweep; trials that are left running there are gone on with there.

    Raises:
        ConfigError: Optuna is missing, the space or the objectives are not for this sampler or pruner, the storage
            cannot be reached, or the study in it is another one.
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
        # Tables and study are made by whoever comes first; Optuna is not prepared for two who do.
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
        """The next trial to run; ``None`` when there are as many as wanted."""
        from audio_lightning.sweeps.search.samplers import SURPLUS

        self._give_up_dead()
        if len(self._study.get_trials(deepcopy=False)) >= self._end():
            return None
        trial = self._study.ask()
        if trial.number >= self._end():  # others asked at the same time
            trial.set_user_attr(SURPLUS, True)
            self._study.tell(trial.number, state=_state("FAIL"))
            return None
        trial.set_user_attr(MEMBER, self._member)
        trial.set_user_attr(BEAT, time.time())
        self._running[trial.number] = trial
        return self._asked(trial)

    def beat(self) -> None:
        """Mark the running trials of this process as alive, once in a while; to be called often."""
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
        """Report how a trial ended; a second time changes nothing, and one that is to go on stays as it is.

        What failed, was skipped, or has no finite value for an objective among its ``metrics``, counts as failed.
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
        """Trials of this folder that were not told: left by a sweep that was killed, or run by another process now.

        Which of the two is for the lock on the trial's folder to say.
        """
        from optuna.trial import Trial

        running = self._study.get_trials(deepcopy=False, states=(_state("RUNNING"),))
        mine = [
            Trial(self._study, trial._trial_id) for trial in running if trial.user_attrs.get(MEMBER) == self._member
        ]
        self._running |= {trial.number: trial for trial in mine}
        return [self._asked(trial) for trial in mine]

    def set_hash(self, number: int, identity: str) -> None:
        """Keep with the study the hash of a trial of this process."""
        from optuna.exceptions import UpdateFinishedTrialError

        if trial := self._running.get(number):
            with contextlib.suppress(UpdateFinishedTrialError):  # another machine has given it up
                trial.set_user_attr(HASH, identity)

    def finished(self) -> dict[str, Asked]:
        """Trials of this member that have been told, by their hashes; to be run again without pruning.

        To tell them once more changes nothing: the study knows their values, whatever became of their files.
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
        """Trials that there are to be."""
        return self._trials

    def ended(self, *, without: Iterable[int] = ()) -> Counter[State]:
        """Number of trials whose results are known, by their state.

        Those that do not count, and the numbers in ``without``, are left out.
        """
        from audio_lightning.sweeps.search.samplers import surplus

        states: dict[str, State] = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}
        left_out = {*surplus(self._study), *without}
        known = [trial for trial in self._study.get_trials(deepcopy=False) if trial.number not in left_out]
        return Counter(states[trial.state.name] for trial in known if trial.state.is_finished())

    def best(self) -> Found | None:
        """The best trial by the first objective; ``None`` before the first has ended."""
        name, direction = self.objectives[0]
        sign = 1 if direction == "maximize" else -1
        return max(self.pareto(), key=lambda found: sign * found.values[name], default=None)

    def pareto(self) -> list[Found]:
        """Pareto-optimal trials; with one objective, the best one."""
        return [self._found(trial) for trial in self._study.best_trials]

    def _give_up_dead(self) -> None:
        """Count trials of machines that no longer report as not run, so that others are asked for in their place.

        Those of this folder are left alone: the lock on each says whether it runs, and it is resumed.
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
            except UpdateFinishedTrialError:  # told, or given up, at the same time
                continue
            silence = (time.time() - beat) / 60
            print(f"trial {trial.number} is given up: its machine has not reported for {silence:.0f} min", flush=True)

    def _end(self) -> int:
        """The first number that is not wanted: those that nobody ran don't count towards the total."""
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
        """Override lines of a trial whose parameters have all been drawn."""
        return {**self._constant, **{key: axis.line(trial.params[key]) for key, axis in self._axes.items()}}

    def _agree(self, name: str, space: "dict[str, BaseDistribution]") -> None:
        """Keep with the study what it is about, or compare with what is kept there."""
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
                    f"the study {name} has {part} {json.dumps(kept[part])}, asked for were {json.dumps(wanted)}; "
                    "take another sweep.name or sweep.search.study"
                )


def _member(file: Path) -> str:
    """Mark of a folder that stays when it is moved, and that no folder of another machine has."""
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
