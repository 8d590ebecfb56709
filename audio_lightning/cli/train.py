"""``train.py``: one training, or with ``-m`` one training per combination."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from omegaconf import DictConfig, open_dict

from audio_lightning.cli.config_dir import take_config_dir
from audio_lightning.cli.exit_codes import exit_code_of
from audio_lightning.cli.output import print_next, trust_options
from audio_lightning.config import (
    absolutize_paths,
    check_config,
    compose,
    config_dir,
    parse_overrides,
    quote_paths,
    user_extensions,
)
from audio_lightning.config.compose import deletions, search_path
from audio_lightning.config.location import choices, groups
from audio_lightning.config.overrides import is_group, single_value
from audio_lightning.config.recipes import leave_out
from audio_lightning.config.slips import unknown_option
from audio_lightning.config.trust import trusted_modules
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.messages import terminal_width, wrapped
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.start import (
    check_multirun,
    check_shared_folder,
    compose_run,
    follow,
    is_first_process,
    resume_run,
    run_training,
    train_in,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``train.py`` with arguments and return its exit code.

    0: done. 1: an error of the program, memory or disk. 2: an invalid argument. 130, 143: a signal. A multirun returns
    the highest code of its jobs.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in ("-h", "--help") for argument in arguments):
        print(_help())
        return 0
    return exit_code_of(lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    own, arguments = take_config_dir(arguments, "python train.py")
    typed, unknown = _options().parse_known_intermixed_args(arguments)
    if unknown:
        base = compose([], with_hydra=True)
        raise ConfigError(unknown_option(arguments, unknown[0], base, "python train.py"))
    if typed.shell_completion:
        raise ConfigError("-sc: not supported; `audio-lightning --install-completion` installs shell completion")
    typed.multirun |= "hydra.mode=MULTIRUN" in typed.overrides
    overrides = quote_paths(typed.overrides, multirun=typed.multirun)
    flags = [argument for argument in arguments if argument not in typed.overrides]
    with user_extensions(overrides, own):
        return _start(typed, flags, overrides)


def _options() -> argparse.ArgumentParser:
    """Return Hydra's argument parser; an invalid option raises a ConfigError instead of printing the whole usage."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `python train.py --help`")

    parser = get_args_parser()
    parser.allow_abbrev, parser.error = False, refuse  # type: ignore[method-assign]
    return parser


def _start(typed: Any, flags: list[str], overrides: list[str]) -> int:
    resumed = [line for line in overrides if line.startswith("resume=") and line != "resume=null"]
    if resumed:
        if typed.multirun:
            raise ConfigError("resume=: continues one run, but -m starts many; leave one of them out")
        others = [line for line in overrides if line not in resumed and not line.startswith("trusted_modules=")]
        return _resume(Path(str(single_value(parse_overrides(resumed[-1:])[0]))), others)
    if typed.cfg or typed.info or typed.hydra_help:
        compose(overrides)  # reports an invalid override in one line; Hydra does the rest
        overrides = [*overrides, *deletions(overrides)]
    elif typed.multirun:
        check_multirun(overrides)
    else:
        config, folder = compose_run(overrides)
        check_shared_folder(config, overrides)
        if is_first_process():
            folder.check_usable()
        check_config(config)
        if not is_first_process():
            with open_dict(config):
                del config["hydra"]
            return exit_code_of(lambda: follow(config, folder, resume=False))
        if not (typed.config_path or typed.config_name or typed.experimental_rerun):
            return _run_job(config)
    return _enter_hydra(flags, overrides, multirun=typed.multirun)


def _run_job(config: DictConfig) -> int:
    """Run one job as ``hydra.main`` does, without composing the configuration again."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import run_job
    from hydra.types import HydraContext, RunMode

    absolutize_paths(config)
    config.hydra.mode = RunMode.RUN
    callbacks = Callbacks(config)
    callbacks.on_run_start(config=config, config_name="train")
    result = run_job(
        lambda own: _train(own, RunFolder(Path(config.hydra.runtime.output_dir))),
        config,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
        hydra_context=HydraContext(config_loader=cast(Any, None), callbacks=callbacks),  # only launchers use the loader
    )
    callbacks.on_run_end(config=config, config_name="train", job_return=result)
    code, _ = result.return_value
    return int(code)


def _enter_hydra(flags: list[str], overrides: list[str], *, multirun: bool) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig

    codes: list[int] = []

    @hydra.main(config_path=str(config_dir()), config_name="train", version_base="1.3")
    def job(config: DictConfig) -> float | None:
        if multirun:
            print(f"\n#{HydraConfig.get().job.num}: {' '.join(HydraConfig.get().overrides.task)}")
            leave_out(config, [line for line in parse_overrides(HydraConfig.get().overrides.task) if is_group(line)])
            config.trainer.devices = 1  # `auto` could mean several devices; see check_multirun
        code, value = _train(config, RunFolder(Path(HydraConfig.get().runtime.output_dir)), check=True)
        codes.append(code)
        if code >= 128:
            sys.exit(code)
        return value

    sys.argv = [sys.argv[0], *flags, *search_path(overrides)]
    job()
    failed = [code for code in codes if code]
    if multirun and failed:
        print(f"\n{len(failed)} of {len(codes)} jobs failed", file=sys.stderr)
    return max(failed, default=0)


def _train(config: DictConfig, folder: RunFolder, *, check: bool = False) -> tuple[int, float | None]:
    """Train one job; return its exit code, and the value of its monitor for Hydra sweepers that optimize it."""
    metrics: dict[str, Any] = {}

    def run() -> None:
        if check:
            check_config(config)
        metrics.update(run_training(config, folder, then=_write_card))
        print_next("audio-lightning", "predict", folder.path, "FILE.wav", *trust_options(trusted_modules()))

    code = exit_code_of(run, folder=folder.path)
    return code, metrics.get(config.monitor)


def _resume(path: Path, overrides: list[str]) -> int:
    config, folder = resume_run(path, overrides)
    finished = folder.metrics.exists() and not overrides
    if not is_first_process():
        return 0 if finished else exit_code_of(lambda: follow(config, folder, resume=True))
    if finished:
        print(f"{folder.path} is finished; trainer.max_epochs=N continues it")

    def run() -> None:
        train_in(folder, config, again=bool(overrides), then=_write_card)
        print_next("audio-lightning", "predict", folder.path, "FILE.wav", *trust_options(trusted_modules()))

    return exit_code_of(run, folder=folder.path)


def _write_card(folder: Path) -> None:
    from audio_lightning.report.model_card import write_model_card  # late: imports torch

    write_model_card(folder)


def _help() -> str:
    width = terminal_width() or 80
    axes = "\n".join(
        wrapped(f"  {group}={'| '.join(choices(group))}", indent=4, width=width).replace("| ", "|")
        for group in groups()
        if group != "hydra"
    )
    return f"""\
usage: python train.py [KEY=VALUE ...]

Train, select the best epoch on the validation clips, test it once, and write a
run folder.

Choices:
{axes}

Settings, for example:
  data=folder data.root=DIR trainer.max_epochs=30 optimizer.lr=3e-4 seed=1
  hydra.run.dir=DIR

Also:
  resume=RUN_DIR            continue an interrupted run in its folder
  trust=MODULE              allow classes of a module of your own
  --config-dir DIR          YAML files of your own, laid out like conf/
  -m model=cnn,resnet       one run for every combination
  --cfg job [--resolve]     print the configuration and all its keys
  --hydra-help              print Hydra's own options
"""
