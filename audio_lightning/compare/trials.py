"""Folders of sweeps and trials, and their status files; written by sweeps, read by comparisons."""

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from audio_lightning.config.saved import read_saved
from audio_lightning.config.targets import check_arguments
from audio_lightning.core.errors import ConfigError, FileError
from audio_lightning.core.files import A_SWEEP, first_line, read_json, require_folder, to_json, write_json
from audio_lightning.run_folder import File, RunFolder

State = Literal["queued", "running", "done", "failed", "skipped", "interrupted", "pruned"]
"""``skipped``: incompatible choices. ``interrupted``: will be resumed. ``pruned``: stopped early by a search."""

REPETITION_KEYS = ("seed", "data.seed", "data.test_fold", "data.validation_fold")
"""Keys of repetitions; they are not part of the identity or the name of a setup."""

ENDED: tuple[State, ...] = ("done", "skipped", "pruned")
"""States of trials that are complete."""


@dataclass
class TrialStatus:
    """Status of a trial (``status.json``).

    Attributes:
        number: number of the trial in the sweep.
        hash: identity, equal for trials with equal results (see :mod:`audio_lightning.sweeps.identity`).
        state: see :data:`State`.
        overrides: its overrides in Hydra's grammar, fixed keys included.
        choices: value of each axis of the sweep, such as ``{"model": "cnn", "seed": 0}``.
        groups: choice of each group of the configuration, such as ``{"data": "demo", "model": "cnn", ...}``.
        setup: identity without seed and folds, shared by all repetitions of a configuration.
        content: fingerprint of the labelled recordings, independent of the splits.
        division: fingerprint of the splits.
        reason: why it was skipped or failed, in one line.
        attempts: number of starts.
        exit_code: exit code of its process; negative: the signal that ended it.
        started, finished: times of the last attempt, in ISO 8601 with the offset from UTC.
        seconds: duration of its processes over all attempts, in seconds.
        peak_memory_mb: peak resident set size of its process, in MB.
        host, pid: host and process that run it, or ran it.
        reused_from: folder of the trial whose result was copied; None if it was run here.
        search: trial number and pruning settings of a search; None without a search.
    """

    number: int
    hash: str
    state: State
    overrides: list[str]
    choices: dict[str, Any]
    groups: dict[str, str]
    setup: str | None = None
    content: str | None = None
    division: str | None = None
    reason: str | None = None
    attempts: int = 0
    exit_code: int | None = None
    started: str | None = None
    finished: str | None = None
    seconds: float = 0.0
    peak_memory_mb: float | None = None
    host: str | None = None
    pid: int | None = None
    reused_from: str | None = None
    search: dict[str, Any] | None = None


class TrialFolder(RunFolder):
    """Folder of a trial: a run folder with a status.

    Attributes:
        status: :class:`TrialStatus`.
        lock: lock file of the run; held by the process of the trial while it runs.
        error: traceback of a failed trial.
        latency: latency of a clip on this machine, see :mod:`audio_lightning.sweeps.latency`.
    """

    status = File("status.json")
    error = File("error.txt")
    latency = File("latency.json")

    def read_status(self) -> TrialStatus:
        """Read the status of the trial.

        Raises:
            FileError: ``status.json`` is missing or damaged.
        """
        return _read_record(self.status, TrialStatus)

    def write_status(self, status: TrialStatus) -> None:
        """Write the status of the trial."""
        write_json(self.status, asdict(status))

    def read_latency(self) -> dict[str, float]:
        """Read ``latency_ms`` from ``latency.json``; empty if there is no file.

        Raises:
            FileError: the file is damaged.
        """
        if not self.latency.exists():
            return {}
        value = read_json(self.latency).get("latency_ms")
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
            raise FileError(f"{self.latency} is damaged: expected latency_ms, a number")
        return {"latency_ms": float(value)}

    def damage(self, status: TrialStatus) -> str | None:
        """Check the files of the trial that comparison or resuming needs; return the first problem in one line."""
        try:
            self.check_files()
            if status.state == "done":
                read_saved(self.config)
                if not self.read_metrics():
                    raise FileError(f"{self.metrics} is missing or empty; restore a copy")
                self.read_latency()
                for path in (self.predictions, self.recordings):
                    if path.exists():
                        self.read_predictions(path)
                if self.per_class.exists():
                    self.read_per_class()
                if self.history.exists():
                    self.read_history()
            elif status.state not in ENDED:
                self.check_resumable()
        except FileError as error:
            return str(error)
        return None


@dataclass
class SweepFacts:
    """Facts about a sweep as a whole (``sweep.json``).

    Attributes:
        name: given name, or the hash of the grid.
        overrides: overrides of the command line.
        axes: keys that vary, in the order of the command line.
        monitor: validation metric that orders setups, such as ``validation/accuracy``.
        created: time of creation in ISO 8601.
        version: version of this package.
    """

    name: str
    overrides: list[str] = field(default_factory=list)
    axes: list[str] = field(default_factory=list)
    monitor: str = "validation/accuracy"
    created: str = ""
    version: str = ""


@dataclass(frozen=True)
class SweepFolder:
    """Files of one sweep.

    Attributes:
        path: the folder (``sweep.dir``).
        facts: :class:`SweepFacts`.
        trials: parent folder of the trials.
        results: table with one row per trial.
        leaderboard: table with one row per setup.
        report: HTML page.
        study: database of a search.
        storage: URL of that database, in a file that only its owner can read, because it may contain a password.
    """

    path: Path

    facts = File("sweep.json")
    trials = File("trials")
    results = File("results.csv")
    leaderboard = File("leaderboard.csv")
    report = File("report.html")
    study = File("study.db")
    storage = File(".storage")

    def read_facts(self) -> SweepFacts:
        """Read the facts about the sweep.

        Raises:
            ConfigError: the folder contains no sweep.
            FileError: ``sweep.json`` is damaged.
        """
        if not os.path.lexists(self.facts):
            require_folder(self.path, A_SWEEP)
            raise ConfigError(f"{self.path}: {A_SWEEP}")
        return _read_record(self.facts, SweepFacts)

    def write_facts(self, facts: SweepFacts) -> None:
        """Write the facts about the sweep."""
        write_json(self.facts, asdict(facts))

    def folders(self) -> Iterator[tuple[TrialFolder, TrialStatus]]:
        """Yield all trials with a readable status, in the order of their numbers."""
        trials = []
        for folder in self._with_status():
            with contextlib.suppress(FileError):
                trials.append((folder, folder.read_status()))
        yield from sorted(trials, key=lambda trial: trial[1].number)

    def lost(self) -> Iterator[tuple[TrialFolder, str]]:
        """Yield the trials with a damaged status, each with the problem in one line."""
        for folder in self._with_status():
            try:
                folder.read_status()
            except FileError as error:
                yield folder, str(error)

    def set_aside(self, folder: TrialFolder) -> Path:
        """Move a damaged trial into the folder ``damaged`` of the sweep, and return its new path."""
        aside = self.path / "damaged" / folder.path.name
        number = 1
        while aside.exists():
            number += 1
            aside = aside.with_name(f"{folder.path.name}-{number}")
        aside.parent.mkdir(exist_ok=True)
        folder.path.rename(aside)
        return aside

    def _with_status(self) -> list[TrialFolder]:
        return [TrialFolder(path.parent) for path in sorted(self.trials.glob("*/status.json"))]

    def trial(self, number: int, identity: str) -> TrialFolder:
        """Return the folder for a new trial, named after its number and identity; the name is never parsed."""
        return TrialFolder(self.trials / f"{number:04d}-{identity[:8]}")


Record = TypeVar("Record", TrialStatus, SweepFacts)


def _read_record(path: Path, kind: type[Record]) -> Record:
    """Read a record from a JSON file; unknown entries of later versions are ignored."""
    known = {entry.name for entry in fields(kind)}
    values = {name: value for name, value in read_json(path).items() if name in known}
    try:
        check_arguments(kind, values, {}, where=path.name)
    except ConfigError as error:
        raise FileError(f"{path} is damaged: {first_line(error)}; restore a copy") from error
    return kind(**values)


def is_free(folder: TrialFolder) -> bool:
    """Return whether no process runs the trial, independent of its status."""
    from filelock import FileLock, Timeout

    if not folder.lock.exists():  # never run; do not create a lock file
        return True
    try:
        with FileLock(folder.lock, timeout=0):
            return True
    except Timeout:
        return False


def as_text(value: Any) -> str:
    """Format a value as on the command line: strings unquoted, everything else as JSON."""
    return value if isinstance(value, str) else to_json(value)
