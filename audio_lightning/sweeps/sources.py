"""Sources of trials: a fixed list (grid or file), or a search that depends on results."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_lightning.compare.trials import ENDED, State, SweepFolder, TrialFolder, TrialStatus, is_free
from audio_lightning.core.errors import ConfigError
from audio_lightning.sweeps.plan import Combination, Planned, enter, plan_trials

if TYPE_CHECKING:
    from audio_lightning.sweeps.search.search import Asked, Search


class Source:
    """Base class of sources of trials.

    Attributes:
        total: number of trials of the sweep, including trials that ended earlier.
        settled: number of these trials that are not run here, by their state; a search adds to it later.
        taken: number of results copied from each other sweep.
    """

    total: int
    settled: Counter[State]
    taken: Counter[str]

    def take(self) -> TrialFolder | None:
        """Return the next trial to run; None if none is left, or none is available before others have ended."""
        raise NotImplementedError

    def on_trial_end(self, folder: TrialFolder, status: TrialStatus) -> None:
        """Process a trial that has ended and will not be run again."""

    def beat(self) -> None:
        """Report that the sweep is alive; called a few times per second."""


class Listed(Source):
    """Planned trials of a grid or a file; for ``reuse`` see :func:`enter`."""

    def __init__(self, sweep: SweepFolder, trials: Sequence[Planned], *, reuse: bool) -> None:
        folders = enter(sweep, trials, reuse=reuse, retry_skipped=True)
        self._waiting: list[TrialFolder] = []
        self.settled: Counter[State] = Counter()
        for folder, trial in zip(folders, trials):
            state = folder.read_status().state
            if state in ENDED or trial.preflight.unusable:
                self.settled[state if state in ENDED else "failed"] += 1
            else:
                self._waiting.append(folder)
        self.folders = folders
        self.total = len(folders)
        self.taken = Counter(origin for folder in folders if (origin := _origin(folder.read_status())))

    def take(self) -> TrialFolder | None:
        """See :meth:`Source.take`."""
        return self._waiting.pop(0) if self._waiting else None


class Searched(Source):
    """Trials proposed by a search, each when a slot is free; ``fixed`` are the overrides of all trials."""

    def __init__(self, sweep: SweepFolder, search: "Search", fixed: Sequence[str], *, reuse: bool) -> None:
        self._sweep, self._search, self._fixed, self._reuse = sweep, search, list(fixed), reuse
        lost = self._lost()
        self._unfinished = [*search.unfinished(), *lost]
        self._numbers: dict[str, list[int]] = {}
        self._known: dict[str, Any] = {}
        self.total = search.total
        self.settled = search.ended(without=[asked.number for asked in lost])
        self.taken: Counter[str] = Counter()

    def take(self) -> TrialFolder | None:
        """See :meth:`Source.take`; a proposal with a known result is reported to the search at once."""
        while True:
            asked = self._unfinished.pop(0) if self._unfinished else self._search.ask()
            if asked is None:
                return None
            combination = Combination([*self._fixed, *asked.lines.values()], asked.choices)
            try:
                (trial,) = plan_trials([combination], known=self._known)
            except ConfigError:  # an invalid value of the search space
                self._search.tell(asked.number, "skipped", {})
                self.settled["skipped"] += 1
                continue
            (folder,) = enter(self._sweep, [trial], reuse=self._reuse)
            status = folder.read_status()
            self._search.set_hash(asked.number, status.hash)
            if status.hash in self._numbers:  # the same trial is running; both get its result
                self._numbers[status.hash].append(asked.number)
                continue
            if status.state in ENDED or trial.preflight.unusable:
                if origin := _origin(status):
                    self.taken[origin] += 1
                self._search.tell(asked.number, status.state, _measured(folder))
                self.settled[status.state] += 1
                continue
            # Not the storage: its URL may hold a password, and others may read this file.
            link = {name: value for name, value in asked.link.items() if name != "storage"} or {"number": asked.number}
            if status.search != link and status.state != "running":
                folder.write_status(replace(status, search=link))
            self._numbers[status.hash] = [asked.number]
            return folder

    def on_trial_end(self, folder: TrialFolder, status: TrialStatus) -> None:
        """See :meth:`Source.on_trial_end`."""
        for number in self._numbers.pop(status.hash, ()):
            if status.state != "interrupted":  # resumed together with the sweep
                self._search.tell(number, status.state, _measured(folder))

    def beat(self) -> None:
        """See :meth:`Source.beat`; informs other machines that the trials of this one are running."""
        self._search.beat()

    def _lost(self) -> list["Asked"]:
        """Return trials whose values are in the study, but whose folders are damaged, missing, or run again."""
        known = {status.hash: (folder, status) for folder, status in self._sweep.folders()}

        def is_whole(folder: TrialFolder, status: TrialStatus) -> bool:
            if status.state not in ENDED:
                return status.state == "failed"
            return not (is_free(folder) and folder.damage(status))

        return [
            asked
            for identity, asked in self._search.finished().items()
            if identity not in known or not is_whole(*known[identity])
        ]


def _origin(status: TrialStatus) -> str | None:
    """Return the sweep from which the result of a trial was copied; None if the trial was run in its own sweep."""
    return str(Path(status.reused_from).parents[1]) if status.reused_from else None


def _measured(folder: TrialFolder) -> dict[str, Any]:
    return {**folder.read_metrics(), **folder.read_latency()}
