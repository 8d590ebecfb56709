"""``sweep.py``: many trainings, and what they say together."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_lightning import __version__
from audio_lightning.cli.exit_codes import answering
from audio_lightning.cli.output import print_next, print_text
from audio_lightning.config import compose, quote_paths, user_extensions
from audio_lightning.config.compose import check_choices
from audio_lightning.config.location import choices
from audio_lightning.config.slips import unknown_option
from audio_lightning.core.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from audio_lightning.compare.trials import SweepFolder, TrialStatus
    from audio_lightning.sweeps.executors.executors import Executor
    from audio_lightning.sweeps.grid import Grid
    from audio_lightning.sweeps.plan import Combination, Planned
    from audio_lightning.sweeps.settings import SweepSettings
    from audio_lightning.sweeps.sources import Source

MOST_SHOWN = 500
"""Trials that a dry run lists."""

MOST_COMPOSED = 256
"""Combinations of choices of a search that are composed before it starts."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sweep.py`` with arguments and return its exit code.

    0: every trial is done, or cannot work. 1: a trial failed. 2: a mistake in what was asked for. 130, 143: stopped.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in ("-h", "--help") for argument in arguments):
        print(_help())
        return 0
    return answering(lambda: sweep(arguments), then="the same command goes on")


def sweep(arguments: list[str]) -> int:
    """Do what :func:`main` does, with its errors raised."""
    with user_extensions(arguments):
        return _main(arguments)


def _main(arguments: list[str]) -> int:
    from audio_lightning.sweeps.executors.forkserver import forkserver

    if flag := next((argument for argument in arguments if argument.startswith("-")), None):
        raise ConfigError(unknown_option(arguments, flag, compose([], with_hydra=True), "python sweep.py"))
    sweep, name, settings, grid = understand(arguments)
    check_choices([*grid.fixed, *(line for lines in grid.axes.values() for line in lines)])
    forkserver()  # the heavy libraries are imported there while the trials are composed here
    from audio_lightning.compare.trials import SweepFacts

    if settings.search["enabled"]:
        return _search(sweep, name, settings, grid, arguments)
    if grid.spaces:
        raise ConfigError(
            f"{', '.join(grid.spaces)}: an interval is continuous; search it with sweep=search, or list values"
        )
    planned = _plan(settings, grid)
    if settings.dry_run:
        _show(sweep, planned, settings)
        _print_without_dry_run(arguments)
        return 0
    axes = list(dict.fromkeys(key for trial in planned for key in trial.combination.choices))
    monitors = {trial.config.monitor for trial in planned}
    if len(monitors) > 1:
        raise ConfigError(f"monitor: the trials have different ones ({', '.join(sorted(monitors))}); set one for all")
    from audio_lightning.sweeps.sources import Listed

    impossible = sum(trial.preflight.impossible is not None for trial in planned)
    skipped = f"; {impossible} cannot work (sweep.dry_run=true says why)" if impossible else ""
    print(f"{len(planned)} trials in {sweep.path}{skipped}", flush=True)
    source = Listed(sweep, planned, reuse=settings.reuse)
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    sweep.write_facts(SweepFacts(name, _typed(arguments), axes, monitors.pop(), now, __version__))
    code = _run(sweep, source, settings, planned[0].config)
    return code or int(any(trial.preflight.unusable for trial in planned))


def understand(arguments: list[str]) -> "tuple[SweepFolder, str, SweepSettings, Grid]":
    """What a command line asks for: the folder of the sweep, its name, its settings, and what varies in it."""
    from audio_lightning.compare.trials import SweepFolder
    from audio_lightning.sweeps.grid import parse_grid
    from audio_lightning.sweeps.identity import grid_hash
    from audio_lightning.sweeps.settings import read_settings

    own = [line for line in arguments if line.partition("=")[0].lstrip("+~").partition(".")[0] == "sweep"]
    typed = [line for line in arguments if line not in own]
    grid = parse_grid(typed)
    if not (grid.axes or grid.spaces or any(line.startswith("sweep=") or "trials_file" in line for line in own)):
        own.insert(0, "sweep=small")  # nothing varies: a first answer
    settings, _ = read_settings(quote_paths(own))
    grid = _with_grid_of(settings, grid, typed)
    name = settings.name or grid_hash([*typed, *(line for line in own if not _is_about_running(line))])
    return SweepFolder(settings.folder(name)), name, settings, grid


RUNNING = (
    "dir", "dry_run", "executor", "workers", "trials_per_gpu", "timeout", "retries", "fail_fast", "reuse", "plots",
    "trials", "ray", "slurm",
)  # fmt: skip
"""Keys that say how trials are run, and not which; a sweep without a name keeps its folder when they change."""


def _is_about_running(line: str) -> bool:
    return line.partition("=")[0].lstrip("+").removeprefix("sweep.").partition(".")[0] in RUNNING


def _with_grid_of(settings: "SweepSettings", grid: "Grid", typed: list[str]) -> "Grid":
    """The grid with the axes of the settings, where nothing else was typed for the same keys."""
    from audio_lightning.sweeps.grid import parse_grid

    keys = {*grid.axes, *grid.spaces, *(line.partition("=")[0].lstrip("+~") for line in grid.fixed)}
    lines = [
        f"{key}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in settings.grid.items()
        if key not in keys
    ]
    return parse_grid([*lines, *typed]) if lines else grid


def _plan(settings: "SweepSettings", grid: "Grid") -> "list[Planned]":
    from audio_lightning.sweeps.grid import combinations, read_trials_file
    from audio_lightning.sweeps.plan import Combination, plan

    if settings.trials_file is not None:
        if grid.axes:
            raise ConfigError(f"sweep.trials_file lists the trials: leave {', '.join(grid.axes)} to it")
        listed = read_trials_file(settings.trials_file)
        found = [Combination([*grid.fixed, *lines], _choices(lines)) for lines in listed]
    else:
        crossed = combinations(grid, zip_=settings.zip, exclude=settings.exclude)
        found = [
            Combination([*grid.fixed, *combination.values()], _choices(combination.values())) for combination in crossed
        ]
    if settings.folds:
        found = _over_folds(found)
    return plan(found)


def _choices(lines: Any) -> dict[str, Any]:
    from audio_lightning.sweeps.grid import values_of

    return values_of({line.partition("=")[0].lstrip("+~"): line for line in lines})


def _over_folds(found: "list[Combination]") -> "list[Combination]":
    """Every combination with each fold that its data has as the test fold."""
    from omegaconf import OmegaConf

    from audio_lightning.sweeps.executors.forkserver import call
    from audio_lightning.sweeps.identity import digest
    from audio_lightning.sweeps.plan import Combination, compose_trial
    from audio_lightning.sweeps.preflight import folds_present

    if any("data.test_fold" in combination.choices for combination in found):
        raise ConfigError("sweep.folds tests on every fold in turn: leave data.test_fold out")
    folds: dict[str, list[int]] = {}
    every = []
    for combination in found:
        config, *_ = compose_trial(combination)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        key = digest({**plain["data"], "seed": 0})
        if key not in folds:
            folds[key] = call(folds_present, plain)
        for fold in folds[key]:
            line = f"data.test_fold={fold}"
            every.append(Combination([*combination.overrides, line], {**combination.choices, "data.test_fold": fold}))
    return every


def _search(sweep: "SweepFolder", name: str, settings: "SweepSettings", grid: "Grid", arguments: list[str]) -> int:
    from audio_lightning.compare.trials import SweepFacts
    from audio_lightning.config.location import groups
    from audio_lightning.sweeps.plan import Combination, compose_trial
    from audio_lightning.sweeps.search.search import Search, SearchSettings, read_objectives
    from audio_lightning.sweeps.search.storage import storage_url
    from audio_lightning.sweeps.sources import Searched

    for key, given in (("folds", settings.folds), ("zip", settings.zip), ("exclude", settings.exclude)):
        if given:
            raise ConfigError(f"sweep.{key} is for grids, and a search draws each key by itself: leave it out")
    if settings.trials_file is not None:
        raise ConfigError("sweep.trials_file lists the trials, and a search draws them: leave one of them out")
    if not (grid.axes or grid.spaces):
        raise ConfigError("there is nothing to search: let keys vary, such as model=cnn,resnet")
    # A slip of the hand is answered now, not by every trial; a key may be there with some of the choices only.
    chosen = [lines if key in groups() else lines[:1] for key, lines in grid.axes.items()]
    tried = [compose_trial(Combination([*grid.fixed, *lines], {})) for lines in islice(product(*chosen), MOST_COMPOSED)]
    if all(lacking for *_, lacking in tried):
        raise tried[0][2][0]
    config = tried[0][0]
    wishes = SearchSettings(**settings.search)
    if wishes.pruner != "none" and str(config.trainer.devices) not in ("auto", "1"):
        raise ConfigError(f"sweep.search.pruner={wishes.pruner} needs trials on one device: set pruner=none")
    if settings.dry_run:
        print(f"a search by {wishes.sampler} of {', '.join([*grid.axes, *grid.spaces])}, {settings.trials} trials")
        _print_without_dry_run(arguments)
        return 0
    objectives = read_objectives(wishes.objectives, config.monitor)
    sweep.path.mkdir(parents=True, exist_ok=True)
    storage = storage_url(wishes.storage, sweep.study)
    with os.fdopen(os.open(sweep.storage, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(storage)
    search = Search(
        grid,
        settings=wishes,
        trials=settings.trials,
        storage=storage,
        study_name=wishes.study or name,
        objectives=objectives,
        folder=sweep.path,
    )
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    facts = SweepFacts(name, _typed(arguments), [*grid.axes, *grid.spaces], config.monitor, now, __version__)
    sweep.write_facts(facts)
    source = Searched(sweep, search, grid.fixed, reuse=settings.reuse)
    print(f"{source.total} trials in {sweep.path}", flush=True)
    code = _run(sweep, source, settings, config)
    if len(objectives) > 1:
        print("Pareto-optimal trials:")
        for found in search.pareto():
            values = ", ".join(f"{key} {value:.4g}" for key, value in found.values.items())
            print(f"  {found.number}: {values} ({', '.join(f'{key}={value}' for key, value in found.choices.items())})")
    return code


def _print_without_dry_run(arguments: list[str]) -> None:
    kept = [line for line in _typed(arguments) if not line.startswith("sweep.dry_run=")]
    print_next("python", "sweep.py", *kept)


def _typed(arguments: list[str]) -> list[str]:
    """The command line as it may be shown: without the password of a database."""
    return [re.sub(r"(://[^:/@]+):[^@/]*@", r"\1:***@", argument) for argument in arguments]


def _run(sweep: "SweepFolder", source: "Source", settings: "SweepSettings", config: "DictConfig") -> int:
    from omegaconf import OmegaConf

    from audio_lightning.cli.conclude import conclude
    from audio_lightning.sweeps.progress import Progress
    from audio_lightning.sweeps.runner import TrialRunner

    executor = _executor(sweep, settings, config.trainer.accelerator)
    progress = Progress(
        total=source.total, settled=source.settled, slots=executor.slots, monitor=sweep.read_facts().monitor
    )
    try:
        outcome = TrialRunner(source, executor, progress, retries=settings.retries, fail_fast=settings.fail_fast)()
    finally:
        progress.close(source.taken)
        loggers: Any = OmegaConf.to_container(config.logger, resolve=True)
        conclude(sweep, settings.plots, loggers.get("wandb"))
    states = {status.state for _, status in sweep.folders()}
    contents = {status.content for _, status in sweep.folders() if status.state == "done"}
    if outcome.signal is not None or (not contents and states != {"skipped"}):
        print_next("python", "sweep.py", *sweep.read_facts().overrides)
    elif not contents:
        print_next("audio-lightning", "compatibility")  # which features and models go together
    else:
        print_next("audio-lightning", "refit" if len(contents) == 1 else "leaderboard", sweep.path)
    return outcome.exit_code


def _executor(sweep: "SweepFolder", settings: "SweepSettings", accelerator: str) -> "Executor":
    from audio_lightning.core.cores import cores
    from audio_lightning.sweeps.executors.executors import LocalExecutor
    from audio_lightning.sweeps.executors.forkserver import call
    from audio_lightning.sweeps.preflight import gpus

    workers = settings.workers or max(min(2, cores()), cores() // 2)
    if settings.executor == "ray":
        from audio_lightning.sweeps.executors.ray import RayExecutor

        return RayExecutor(workers=workers, timeout=settings.timeout, **settings.ray)
    if settings.executor == "slurm":
        from audio_lightning.sweeps.executors.slurm import SlurmExecutor

        return SlurmExecutor(logs=sweep.path / "slurm", timeout=settings.timeout, **settings.slurm)
    found = call(gpus) if accelerator in ("auto", "gpu", "cuda") else 0
    return LocalExecutor(workers=workers, gpus=found, trials_per_gpu=settings.trials_per_gpu, timeout=settings.timeout)


def _show(sweep: "SweepFolder", planned: "list[Planned]", settings: "SweepSettings") -> None:
    """What a dry run prints."""
    from audio_lightning.compare.trials import ENDED
    from audio_lightning.sweeps.plan import results_beside
    from audio_lightning.sweeps.progress import describe, duration

    known = {status.hash: status for _, status in sweep.folders()} if sweep.trials.is_dir() else {}
    elsewhere = results_beside(sweep) if settings.reuse else {}
    open_, skipped = [], 0
    for number, trial in enumerate(planned):
        status = trial.status(number)
        old = known.get(trial.hash)
        state = old.state if old else "known" if trial.hash in elsewhere else status.state
        if state == "known":
            status = replace(status, reason=f"done in {elsewhere[trial.hash].path}")
        skipped += state == "skipped"
        if state not in (*ENDED, "known"):
            open_.append(status)
        if number < MOST_SHOWN:
            print_text(f"{state:<11} {describe(status)}" + (f": {status.reason}" if status.reason else ""), indent=12)
    if len(planned) > MOST_SHOWN:
        print(f"... and {len(planned) - MOST_SHOWN} more")
    print(f"{len(planned)} trials, {skipped} cannot work, {len(open_)} to run; folder: {sweep.path}")
    finished = [*known.values(), *(folder.read_status() for folder in elsewhere.values())]
    seconds = _estimate(open_, [status for status in finished if status.state == "done"])
    if seconds is not None:
        print(f"about {duration(seconds)} for one at a time, from trials that are finished")


def _estimate(open_: "Sequence[TrialStatus]", done: "Sequence[TrialStatus]") -> float | None:
    """Seconds that trials may take: as long as finished ones did with the same model, or else as any did."""
    if not (open_ and done):
        return None
    total = 0.0
    for status in open_:
        alike = [other for other in done if other.groups.get("model") == status.groups.get("model")]
        taken = [other.seconds for other in alike or done]
        total += sum(taken) / len(taken)
    return total


def _help() -> str:
    return f"""\
usage: python sweep.py [KEY=VALUE,VALUE,...] [sweep=PLAN] [sweep.KEY=VALUE ...]

Train every combination, each in a process of its own, and compare them. The
same line again finishes what is missing.

Vary any key of a training (python train.py --help), in Hydra's grammar:
  feature=logmel,mfcc model=cnn,resnet optimizer=adam,sgd seed=0,1,2
  optimizer.lr=1e-3,1e-4 'model=glob(*net)'

Plans: sweep={"|".join(choices("sweep"))}

Keys of the sweep, with their meaning: {Path("conf") / "sweep" / "default.yaml"}
  sweep.name=NAME sweep.dry_run=true sweep.workers=4
  'sweep.zip=[[model,optimizer.lr]]' 'sweep.exclude=[{{model: lstm}}]'
"""
