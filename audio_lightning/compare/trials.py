"""The folder of a sweep, and what is kept there of every trial; written by sweeps, read by whoever compares them."""

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
"""``skipped``: it cannot work. ``interrupted``: it goes on where it stopped. ``pruned``: a search gave it up."""

REPETITION_KEYS = ("seed", "data.seed", "data.test_fold", "data.validation_fold")
"""Keys that repeat a setup; they are not part of its identity or its name."""

ENDED: tuple[State, ...] = ("done", "skipped", "pruned")
"""States in which there is nothing left to do."""


@dataclass
class TrialStatus:
    """What is known of a trial (``status.json``).

    Attributes:
        number: its place in the sweep.
        hash: identity: equal for trials that would compute the same (see :mod:`audio_lightning.sweeps.identity`).
        state: see :data:`State`.
        overrides: what was typed for it, in Hydra's grammar, fixed keys included.
        choices: value of each axis of the sweep, such as ``{"model": "cnn", "seed": 0}``.
        groups: choice of each group of the configuration, such as ``{"data": "demo", "model": "cnn", ...}``.
        setup: identity without seed and folds: trials that repeat one another have it in common.
        content: fingerprint of the labelled recordings, however they are divided.
        division: fingerprint of how they are divided.
        reason: why it was skipped, or failed, in one line.
        attempts: how often it was started.
        exit_code: of its process; negative for the signal that ended it.
        started, finished: of the last attempt, in ISO 8601 with the offset from UTC.
        seconds: from the start of the process to its end, over all attempts.
        peak_memory_mb: largest resident set of its process.
        host, pid: where it runs, or ran.
        reused_from: folder of the trial whose result was taken, where it was not run here.
        search: number of the trial in the study of a search, and by what it may be given up, where there is one.
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
    """The folder of a trial: that of a run, with a state.

    Attributes:
        status: :class:`TrialStatus`.
        lock: as of a run; held by the process that runs the trial for as long as it lives.
        error: traceback of a trial that failed.
        latency: what one clip takes on this machine, see :mod:`audio_lightning.sweeps.latency`.
    """

    status = File("status.json")
    error = File("error.txt")
    latency = File("latency.json")

    def read_status(self) -> TrialStatus:
        """What is known of the trial.

        Raises:
            FileError: ``status.json`` is missing or damaged.
        """
        return _read_record(self.status, TrialStatus)

    def write_status(self, status: TrialStatus) -> None:
        """Replace what is known of the trial."""
        write_json(self.status, asdict(status))

    def read_latency(self) -> dict[str, float]:
        """``latency_ms`` of ``latency.json``; empty where there is no file.

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
        """What is wrong with the files of a trial, in a line: those that are compared, or that it goes on from."""
        try:
            self.check_files()
            if status.state == "done":
                read_saved(self.config)
                if not self.read_metrics():
                    raise FileError(f"{self.metrics} is missing or empty")
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
    """What is known of a sweep as a whole (``sweep.json``).

    Attributes:
        name: as it was given, or the hash of the grid.
        overrides: the command line.
        axes: the keys that vary, in the order in which they were typed.
        monitor: the validation metric that trials are chosen by, such as ``validation/accuracy``.
        created: in ISO 8601.
        version: of this package.
    """

    name: str
    overrides: list[str] = field(default_factory=list)
    axes: list[str] = field(default_factory=list)
    monitor: str = "validation/accuracy"
    created: str = ""
    version: str = ""


@dataclass(frozen=True)
class SweepFolder:
    """The files of one sweep.

    Attributes:
        path: the folder (``sweep.dir``).
        facts: :class:`SweepFacts`.
        trials: a folder a trial.
        results: one row a trial.
        leaderboard: one row a setup.
        report: a page to show.
        study: database of a search.
        storage: URL of the database, for the trials of a search alone to read.
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
        """What is known of the sweep.

        Raises:
            ConfigError: the folder holds no sweep.
            FileError: ``sweep.json`` is damaged.
        """
        if not os.path.lexists(self.facts):
            require_folder(self.path, A_SWEEP)
            raise ConfigError(f"{self.path}: {A_SWEEP}")
        return _read_record(self.facts, SweepFacts)

    def write_facts(self, facts: SweepFacts) -> None:
        """Replace what is known of the sweep."""
        write_json(self.facts, asdict(facts))

    def folders(self) -> Iterator[tuple[TrialFolder, TrialStatus]]:
        """Every trial, in the order of their numbers; a folder without a status, or with a damaged one, is none."""
        trials = []
        for folder in self._with_status():
            with contextlib.suppress(FileError):
                trials.append((folder, folder.read_status()))
        yield from sorted(trials, key=lambda trial: trial[1].number)

    def lost(self) -> Iterator[tuple[TrialFolder, str]]:
        """Trials of which nothing is known, since their status is damaged, each with what is wrong in a line."""
        for folder in self._with_status():
            try:
                folder.read_status()
            except FileError as error:
                yield folder, str(error)

    def set_aside(self, folder: TrialFolder) -> Path:
        """Move a damaged trial out of the trials, to where it is kept."""
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
        """The folder for a new trial; the name is for people, and never taken apart."""
        return TrialFolder(self.trials / f"{number:04d}-{identity[:8]}")


Record = TypeVar("Record", TrialStatus, SweepFacts)


def _read_record(path: Path, kind: type[Record]) -> Record:
    """A JSON object as what it describes; entries that later versions have added are passed over."""
    known = {entry.name for entry in fields(kind)}
    values = {name: value for name, value in read_json(path).items() if name in known}
    try:
        check_arguments(kind, values, {}, where=path.name)
    except ConfigError as error:
        raise FileError(f"{path} is damaged: {first_line(error)}") from error
    return kind(**values)


def is_free(folder: TrialFolder) -> bool:
    """Whether no process runs the trial, whatever its status says."""
    from filelock import FileLock, Timeout

    if not folder.lock.exists():  # nor has any ever run it, and none is made to look as if
        return True
    try:
        with FileLock(folder.lock, timeout=0):
            return True
    except Timeout:
        return False


def as_text(value: Any) -> str:
    """A value as a person would type it: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else to_json(value)
