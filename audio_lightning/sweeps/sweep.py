"""Sweep: from a command line to a leaderboard."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from audio_lightning import __version__
from audio_lightning.compare.trials import State, SweepFacts, SweepFolder
from audio_lightning.config import as_plain, quote_paths
from audio_lightning.config.location import groups
from audio_lightning.config.override_checks import check_choices
from audio_lightning.config.overrides import command_line
from audio_lightning.core.cores import cores
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import check_creatable, check_owner
from audio_lightning.core.messages import timestamp
from audio_lightning.sweeps.executors.executors import Executor, LocalExecutor
from audio_lightning.sweeps.executors.forkserver import call, forkserver
from audio_lightning.sweeps.extra_trials import extra_trials
from audio_lightning.sweeps.finalize import finalize
from audio_lightning.sweeps.fusion.groups import Groups
from audio_lightning.sweeps.grid import Grid, combinations, parse_grid, values_of
from audio_lightning.sweeps.identity import digest, grid_hash
from audio_lightning.sweeps.plan import Combination, Planned, compose_trial, plan_trials
from audio_lightning.sweeps.preflight import folds_present, gpus
from audio_lightning.sweeps.progress import Progress
from audio_lightning.sweeps.runner import TrialRunner
from audio_lightning.sweeps.search.search import Found, Search
from audio_lightning.sweeps.search.settings import SearchSettings, read_objectives
from audio_lightning.sweeps.search.storage import storage_url
from audio_lightning.sweeps.settings import SweepSettings, read_settings
from audio_lightning.sweeps.sources import Listed, Searched, Source
from audio_lightning.sweeps.trials_file import read_trials_file

MOST_COMPOSED = 256
"""Maximum number of combinations of a search that are composed and checked before it starts."""

RUNNING = (
    "dir", "dry_run", "executor", "workers", "trials_per_gpu", "fuse", "timeout", "retries", "fail_fast", "reuse",
    "plots", "trials", "ray", "slurm",
)  # fmt: skip
"""Keys that set how trials are run, not which trials; an unnamed sweep keeps its folder when they change."""


@dataclass(frozen=True)
class SweepRequest:
    """Parsed command line of a sweep.

    Attributes:
        folder, name: folder and name of the sweep.
        settings: keys of ``sweep``.
        grid: keys that vary, and overrides common to all combinations.
        typed: overrides for all trials.
        overrides: words of the command line, without the password of a database.
    """

    folder: SweepFolder
    name: str
    settings: SweepSettings
    grid: Grid
    typed: list[str]
    overrides: list[str]


@dataclass(frozen=True)
class SweepPlan:
    """Planned trials of a sweep.

    Attributes:
        trials: trials of a grid or a file; empty for a search, which proposes them one by one.
        config: configuration of the first trial, for the settings that all share: devices, loggers, monitor.
        axes: keys that vary.
    """

    trials: list[Planned]
    config: DictConfig
    axes: list[str]


@dataclass(frozen=True)
class SweepResult:
    """Result of a sweep.

    Attributes:
        exit_code: 0: every trial is done or cannot work; 1: a trial failed; 130 and 143: stopped.
        states: states of the trials.
        contents: fingerprints of the data of finished trials.
        pareto: Pareto-optimal trials of a search with several objectives.
    """

    exit_code: int
    states: set[State]
    contents: set[str | None]
    pareto: list[Found] = field(default_factory=list)


def parse_sweep_args(arguments: Sequence[str], config_dir: str | Path | None = None) -> SweepRequest:
    """Parse a command line into keys of the sweep, keys that vary, and keys common to all trials.

    Args:
        arguments: overrides of the command line.
        config_dir: folder of ``--config-dir``, repeated when the command is shown.

    Raises:
        ConfigError: an argument is not in Hydra's grammar, or a key or value of ``sweep`` is unknown.
    """
    own = [line for line in arguments if _key(line).partition(".")[0] == "sweep"]
    typed = [line for line in arguments if line not in own]
    grid = parse_grid(typed)
    if not (grid.axes or grid.spaces or any(line.startswith("sweep=") or "trials_file" in line for line in own)):
        own.insert(0, "sweep=small")  # the default plan if nothing varies
    settings = read_settings(quote_paths(own))
    keys = {*grid.axes, *grid.spaces, *map(_key, grid.fixed)}
    lines = [  # axes of the settings, unless the command line sets the same keys
        f"{key}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in settings.grid.items()
        if key not in keys
    ]
    common = grid.fixed
    grid = parse_grid([*lines, *typed]) if lines else grid
    asked = [line for line in own if _key(line).removeprefix("sweep.").partition(".")[0] not in RUNNING]
    name = settings.name or grid_hash([*typed, *asked])
    shown = [re.sub(r"(://[^:/@]+):[^@/]*@", r"\1:***@", argument) for argument in command_line(arguments, config_dir)]
    return SweepRequest(SweepFolder(settings.folder(name)), name, settings, grid, common, shown)


def plan_sweep(request: SweepRequest) -> SweepPlan:
    """Compose and check the trials, or the space and the first choices of a search.

    Raises:
        ConfigError: a mistake in the overrides, or a folder that cannot be written or holds a run or a fit.
        DataError: the recordings cannot be used.
    """
    grid = request.grid
    check_owner(request.folder.path, "sweep", key="sweep.dir")
    check_creatable(request.folder.path, key="sweep.dir")
    lines = [*grid.fixed, *(line for lines in grid.axes.values() for line in lines)]
    if linked := [key for line in lines if (key := _key(line)).startswith("logger.") and key.endswith(".registry")]:
        raise ConfigError(
            f"{linked[0]}: not supported by a sweep, which has a model for each trial; train the selected setup with it"
        )
    check_choices(lines)
    forkserver()  # imports the heavy libraries while the trials are composed here
    if request.settings.search["enabled"]:
        return SweepPlan([], _check_search(request), [*grid.axes, *grid.spaces])
    if grid.spaces:
        raise ConfigError(
            f"{', '.join(grid.spaces)}: a grid cannot expand an interval; use sweep=search, or list values"
        )
    trials = plan_trials(_combinations(request))
    monitors = {trial.config.monitor for trial in trials}
    if len(monitors) > 1 and not request.settings.dry_run:
        raise ConfigError(f"monitor: the trials differ ({', '.join(sorted(monitors))}); set one for all trials")
    axes = dict.fromkeys([*grid.axes, *(key for trial in trials for key in trial.combination.choices)])
    return SweepPlan(trials, trials[0].config, list(axes))


def run_sweep(request: SweepRequest, plan: SweepPlan) -> SweepResult:
    """Run the missing trials, then write and print the results of all trials.

    Raises:
        DiskError: the disk was full; the same command continues the sweep.
    """
    sweep, settings = request.folder, request.settings
    search = None if plan.trials else _search(request, plan)
    source: Source
    if search is None:
        source = Listed(sweep, plan.trials, reuse=settings.reuse)
    else:
        source = Searched(sweep, search, request.grid.fixed, reuse=settings.reuse)
    impossible = sum(trial.preflight.impossible is not None for trial in plan.trials)
    skipped = f"; {impossible} cannot work (sweep.dry_run=true says why)" if impossible else ""
    print(f"{source.total} trials in {sweep.path}{skipped}", flush=True)
    monitor = plan.config.monitor
    sweep.write_facts(SweepFacts(request.name, request.overrides, plan.axes, monitor, timestamp(), __version__))
    executor = make_executor(sweep, settings, plan.config.trainer.accelerator)
    progress = Progress(total=source.total, settled=source.settled, slots=executor.slots, monitor=monitor)
    try:
        groups = Groups(source, settings.fuse, _known_configs(source, plan), say=progress.say)
        outcome = TrialRunner(
            source, executor, progress, retries=settings.retries, fail_fast=settings.fail_fast, groups=groups
        )()
    finally:
        progress.close(source.taken)
        finalize(sweep, settings.plots, as_plain(plan.config.logger).get("wandb"))
    statuses = [status for _, status in sweep.folders()]
    return SweepResult(
        outcome.exit_code or int(any(trial.preflight.unusable for trial in plan.trials)),
        {status.state for status in statuses},
        {status.content for status in statuses if status.state == "done"},
        search.pareto() if search and len(search.objectives) > 1 else [],
    )


def _known_configs(source: Source, plan: SweepPlan) -> dict[Path, dict[str, Any]]:
    """Return the configurations of the trials of a grid by trial folder, so that no files are read; else no entries."""
    if not isinstance(source, Listed):
        return {}
    return {folder.path: trial.plain for folder, trial in zip(source.folders, plan.trials)}


def _key(line: str) -> str:
    return line.partition("=")[0].lstrip("+~")


def _choices(lines: Iterable[str]) -> dict[str, Any]:
    return values_of({_key(line): line for line in lines})


def _combinations(request: SweepRequest) -> list[Combination]:
    settings, grid = request.settings, request.grid
    listed: Iterable[Sequence[str]]
    if settings.trials_file is not None:
        if grid.axes:
            raise ConfigError(f"sweep.trials_file: lists all trials; do not vary {', '.join(grid.axes)} as well")
        listed = read_trials_file(settings.trials_file)
    else:
        crossed = combinations(grid, zip_=settings.zip, exclude=settings.exclude)
        listed = [list(combination.values()) for combination in crossed]
    beside = extra_trials(settings.extra_trials, grid, request.typed, zip_=settings.zip)
    # First, because whole experiments take longest.
    found = [Combination([*request.typed, *lines.values()], values_of(lines)) for lines in beside]
    found += [Combination([*grid.fixed, *lines], _choices(lines)) for lines in listed]
    return _over_folds(found) if settings.folds else found


def _over_folds(found: list[Combination]) -> list[Combination]:
    """Cross every combination with the test folds of its data."""
    if any("data.test_fold" in combination.choices for combination in found):
        raise ConfigError("sweep.folds: tests on every fold in turn; remove data.test_fold")
    folds: dict[str, list[int]] = {}
    every = []
    for combination in found:
        config, *_ = compose_trial(combination)
        plain = as_plain(config)
        key = digest({**plain["data"], "seed": 0})
        if key not in folds:
            folds[key] = call(folds_present, plain)
        for fold in folds[key]:
            line = f"data.test_fold={fold}"
            every.append(Combination([*combination.overrides, line], {**combination.choices, "data.test_fold": fold}))
    return every


def _check_search(request: SweepRequest) -> DictConfig:
    """Check the settings of a search, and return the configuration of its first choices."""
    settings, grid = request.settings, request.grid
    for key in ("folds", "zip", "exclude", "extra_trials"):
        if getattr(settings, key):
            raise ConfigError(f"sweep.{key}: works with grids only, because a search samples each key; remove it")
    if settings.trials_file is not None:
        raise ConfigError("sweep.trials_file: lists all trials, but a search samples them; remove one of the two")
    if not (grid.axes or grid.spaces):
        raise ConfigError("sweep=search: no key varies; give several values, such as model=cnn,resnet")
    # Report a mistake now, not in every trial; some keys exist with some of the choices only.
    chosen = [lines if key in groups() else lines[:1] for key, lines in grid.axes.items()]
    tried = [compose_trial(Combination([*grid.fixed, *lines], {})) for lines in islice(product(*chosen), MOST_COMPOSED)]
    if all(lacking for *_, lacking in tried):
        raise tried[0][2][0]
    config = tried[0][0]
    pruner = SearchSettings(**settings.search).pruner
    if pruner != "none" and str(config.trainer.devices) not in ("auto", "1"):
        raise ConfigError(f"sweep.search.pruner={pruner}: needs trials on one device; set sweep.search.pruner=none")
    return config


def _search(request: SweepRequest, plan: SweepPlan) -> Search:
    sweep, wishes = request.folder, SearchSettings(**request.settings.search)
    objectives = read_objectives(wishes.objectives, plan.config.monitor, plan.config.metrics)
    sweep.path.mkdir(parents=True, exist_ok=True)
    storage = storage_url(wishes.storage, sweep.study)
    with os.fdopen(os.open(sweep.storage, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(storage)
    return Search(
        request.grid,
        settings=wishes,
        trials=request.settings.trials,
        storage=storage,
        study_name=wishes.study or request.name,
        objectives=objectives,
        folder=sweep.path,
    )


def make_executor(sweep: SweepFolder, settings: SweepSettings, accelerator: str) -> Executor:
    """Make the executor of ``sweep.executor`` for the devices of ``trainer.accelerator``."""
    workers = settings.workers or max(min(2, cores()), cores() // 2)
    if settings.executor == "ray":
        from audio_lightning.sweeps.executors.ray import RayExecutor

        return RayExecutor(workers=workers, timeout=settings.timeout, **settings.ray)
    if settings.executor == "slurm":
        from audio_lightning.sweeps.executors.slurm import SlurmExecutor

        return SlurmExecutor(logs=sweep.path / "slurm", timeout=settings.timeout, **settings.slurm)
    found = call(gpus) if accelerator in ("auto", "gpu", "cuda") else 0
    return LocalExecutor(workers=workers, gpus=found, trials_per_gpu=settings.trials_per_gpu, timeout=settings.timeout)
