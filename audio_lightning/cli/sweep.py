"""``sweep.py``: train all combinations of choices, and compare them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audio_lightning.cli.config_dir import take_config_dir
from audio_lightning.cli.exit_codes import exit_code_of
from audio_lightning.cli.output import print_next, trust_options
from audio_lightning.config import compose, user_extensions
from audio_lightning.config.location import choices
from audio_lightning.config.slips import unknown_option
from audio_lightning.config.trust import trusted_modules
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.text_tables import print_text

if TYPE_CHECKING:
    from audio_lightning.sweeps.sweep import SweepPlan, SweepRequest, SweepResult

MOST_SHOWN = 500
"""Largest number of trials that a dry run lists."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sweep.py`` with arguments and return its exit code.

    0: every trial is done or skipped as incompatible. 1: a trial failed, or an error of the program, memory or disk. 2:
    an invalid argument. 130, 143: a signal.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in ("-h", "--help") for argument in arguments):
        print(_help())
        return 0
    return exit_code_of(lambda: _main(arguments), then="the same command continues")


def _main(arguments: list[str]) -> int:
    config_dir, overrides = take_config_dir(arguments, "python sweep.py")
    if flag := next((argument for argument in overrides if argument.startswith("-")), None):
        raise ConfigError(unknown_option(overrides, flag, compose([], with_hydra=True), "python sweep.py"))
    from audio_lightning.sweeps.sweep import parse_sweep_args, plan_sweep, run_sweep

    with user_extensions(overrides, config_dir):
        request = parse_sweep_args(overrides, config_dir)
        plan = plan_sweep(request)
        if request.settings.dry_run:
            _print_preview(request, plan)
            return 0
        result = run_sweep(request, plan)
        _print_next(request, result)
        return result.exit_code


def _print_preview(request: "SweepRequest", plan: "SweepPlan") -> None:
    from audio_lightning.sweeps.preview import preview
    from audio_lightning.sweeps.progress import describe, duration

    settings = request.settings
    if plan.trials:
        found = preview(request.folder, plan.trials, reuse=settings.reuse, fuse=settings.fuse)
        for state, status in found.trials[:MOST_SHOWN]:
            print_text(f"{state:<11} {describe(status)}" + (f": {status.reason}" if status.reason else ""), indent=12)
        if len(found.trials) > MOST_SHOWN:
            print(f"... and {len(found.trials) - MOST_SHOWN} more")
        skipped = sum(state == "skipped" for state, _ in found.trials)
        counts = f"{len(found.trials)} trials, {skipped} cannot work, {found.open} to run"
        print(f"{counts}; folder: {request.folder.path}")
        if found.groups:
            print(
                f"sweep.fuse={settings.fuse}: {len(found.groups)} groups of {', '.join(map(str, found.groups))} trials"
            )
        if found.seconds is not None:
            print(f"about {duration(found.seconds)} one after the other, estimated from finished trials")
    else:
        sampler, axes = settings.search["sampler"], ", ".join(plan.axes)
        print(f"a search by {sampler} of {axes}, {settings.trials} trials")
    print_next("python", "sweep.py", *(word for word in request.overrides if not word.startswith("sweep.dry_run=")))


def _print_next(request: "SweepRequest", result: "SweepResult") -> None:
    if result.pareto:
        print("Pareto-optimal trials:")
    for found in result.pareto:
        values = ", ".join(f"{key} {value:.4g}" for key, value in found.values.items())
        print(f"  {found.number}: {values} ({', '.join(f'{key}={value}' for key, value in found.choices.items())})")
    if result.exit_code >= 128 or (not result.contents and result.states != {"skipped"}):
        print_next("python", "sweep.py", *request.overrides)
    elif not result.contents:
        print_next("audio-lightning", "compatibility")  # which features and models go together
    else:
        one = len(result.contents) == 1
        trust = trust_options(trusted_modules()) if one else []
        print_next("audio-lightning", "refit" if one else "leaderboard", request.folder.path, *trust)


def _help() -> str:
    return f"""\
usage: python sweep.py [KEY=VALUE,VALUE,...] [sweep=PLAN] [sweep.KEY=VALUE ...]

Train all combinations, each in a process of its own, and compare them. The same
command again runs unfinished trials only.

Vary any key of a training (python train.py --help), in Hydra's grammar:
  feature=logmel,mfcc model=cnn,resnet optimizer=adam,sgd seed=0,1,2
  optimizer.lr=1e-3,1e-4 'model=glob(*net)'

YAML files of your own: --config-dir DIR

Plans: sweep={"|".join(choices("sweep"))}

Keys of the sweep, with comments: {Path("conf") / "sweep" / "default.yaml"}
  sweep.name=NAME sweep.dry_run=true sweep.workers=4
  'sweep.zip=[[model,optimizer.lr]]' 'sweep.exclude=[{{model: lstm}}]'
"""
