"""``train.py``: one training, or one a combination under ``-m``."""

import argparse
import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from omegaconf import DictConfig, OmegaConf, open_dict

from audio_lightning.cli.exit_codes import answering
from audio_lightning.cli.output import print_next
from audio_lightning.cli.results import print_run
from audio_lightning.config import check_config, compose, config_dir, expand_multirun, quote_paths, user_extensions
from audio_lightning.config.compose import parse_overrides, search_path, single_value
from audio_lightning.config.location import choices, groups, searching
from audio_lightning.config.slips import unknown_option
from audio_lightning.config.trust import trusted_modules
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import A_RUN, require_folder
from audio_lightning.core.messages import FORMAT, RunLog, terminal_width, wrapped

if TYPE_CHECKING:
    from audio_lightning.run_folder import RunFolder

MOST_CHECKED = 64
"""Jobs of a multirun that are composed and checked before the first one starts."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``train.py`` with arguments and return its exit code.

    0: done. 1: a defect, or a job of a multirun failed. 2: a mistake in what was asked for. 130, 143: interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in ("-h", "--help") for argument in arguments):
        print(_help())
        return 0
    return answering(lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    typed, unknown = _options().parse_known_intermixed_args(arguments)
    if unknown:
        base = compose([], with_hydra=True)
        raise ConfigError(unknown_option(arguments, unknown[0], base, "python train.py"))
    overrides = quote_paths(typed.overrides, multirun=typed.multirun)
    if typed.shell_completion:
        raise ConfigError("-sc: `audio-lightning --install-completion` installs the completion of groups and keys")
    flags = [argument for argument in arguments if argument not in typed.overrides]
    with user_extensions(overrides), searching([typed.config_dir] if typed.config_dir else []):
        return _start(typed, flags, overrides)


def _options() -> argparse.ArgumentParser:
    """Hydra's options, written out; a mistake in one is an error of ours instead of the whole list."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; `python train.py --help` shows what can be given")

    parser = get_args_parser()
    parser.allow_abbrev, parser.error = False, refuse  # type: ignore[method-assign]
    return parser


def _start(typed: Any, flags: list[str], overrides: list[str]) -> int:
    resumed = [line for line in overrides if line.startswith("resume=") and line != "resume=null"]
    if resumed:
        if typed.multirun:
            raise ConfigError("resume= goes on with one run, and -m starts many: leave one of them out")
        others = [line for line in overrides if line not in resumed and not line.startswith("trust=")]
        return _resume(Path(str(single_value(parse_overrides(resumed[-1:])[0]))), others)
    if typed.cfg or typed.info or typed.hydra_help:
        compose(overrides)
    elif typed.multirun:
        _check_multirun(overrides)
    elif _is_first():
        _check_single(overrides)
    else:
        return _follow(overrides)
    return _enter_hydra(flags, overrides, multirun=typed.multirun)


def _check_single(overrides: list[str]) -> None:
    config, folder = _composed(overrides)
    _check_shared(config, overrides)
    folder.check_usable()
    check_config(config)


def _composed(overrides: list[str]) -> tuple[DictConfig, "RunFolder"]:
    """The configuration of a single run, and the folder that it names."""
    from audio_lightning.run_folder import RunFolder

    config = compose(overrides, with_hydra=True)
    plain: Any = OmegaConf.to_container(config.hydra.run, resolve=False)
    for key in re.findall(r"\$\{([\w.]+)\}", str(plain["dir"])):
        if isinstance(node := OmegaConf.select(config, key), DictConfig):
            raise ConfigError(
                f"hydra.run.dir={plain['dir']}: {key} has several values; name one, "
                f"such as ${{{key}.{next(map(str, node))}}}"
            )
    folder = RunFolder(Path(config.hydra.run.dir))
    with open_dict(config):
        del config["hydra"]
    return config, folder


def _is_first() -> bool:
    """Whether this is the first or only process of a training; torchrun and Slurm start all of them alike."""
    return all(int(os.environ.get(name) or 0) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def _check_shared(config: DictConfig, overrides: list[str]) -> None:
    """Refuse to let each of several processes choose a folder by its clock."""
    processes = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
    several = config.trainer.num_nodes > 1 or (processes > 1 and str(config.trainer.devices) != "1")
    if several and not any(line.startswith("hydra.run.dir=") for line in overrides):
        raise ConfigError(
            "a training whose processes are started by torchrun, Slurm or on several machines needs "
            "hydra.run.dir=DIR, a folder that all of them share"
        )


def _follow(overrides: list[str]) -> int:
    """Train along as one of several processes: quietly, and without Hydra, which would write files of its own."""
    config, folder = _composed(overrides)
    _check_shared(config, overrides)
    check_config(config)
    return _train_along(config, folder, resume=False)


def _train_along(config: DictConfig, folder: "RunFolder", *, resume: bool) -> int:
    from audio_lightning.training.run import train

    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        return answering(lambda: 0 if train(config, folder, resume=resume) else 1)


def _check_multirun(overrides: list[str]) -> None:
    for job in expand_multirun(overrides)[:MOST_CHECKED]:
        config = compose(job)
        check_config(config)
        # Every rank would run the whole multirun again in a folder of its own (hydra#2070).
        if str(config.trainer.devices) not in ("auto", "1") or config.trainer.num_nodes != 1:
            raise ConfigError(
                f"trainer.devices={config.trainer.devices} under -m: the jobs of a multirun share one process, which "
                "cannot start several devices for each; start one `python train.py` a combination"
            )


def _enter_hydra(flags: list[str], overrides: list[str], *, multirun: bool) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from audio_lightning.run_folder import RunFolder

    codes: list[int] = []

    @hydra.main(config_path=str(config_dir()), config_name="train", version_base="1.3")
    def job(config: DictConfig) -> float | None:
        folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
        if multirun:
            print(f"\n#{HydraConfig.get().job.num}: {' '.join(HydraConfig.get().overrides.task)}")
            config.trainer.devices = 1  # where it is auto, there may be more; see _check_multirun
        results: list[Any] = []

        def run() -> int:
            check_config(config)
            results.append(_run(config, folder))
            print_next("audio-lightning", "predict", folder.path, "FILE.wav")
            return 0

        codes.append(answering(run, folder=folder.path))
        if codes[-1] >= 128:
            sys.exit(codes[-1])
        return results[0].get(config.monitor) if results else None

    sys.argv = [sys.argv[0], *flags, *search_path(overrides)]
    job()
    failed = [code for code in codes if code]
    if multirun and failed:
        print(f"\n{len(failed)} of {len(codes)} jobs failed", file=sys.stderr)
    return max(failed, default=0)


def _resume(path: Path, overrides: list[str]) -> int:
    require_folder(path, A_RUN)
    from audio_lightning.run_folder import RunFolder
    from audio_lightning.training.resume import resumed_config

    folder = RunFolder(path)
    config = resumed_config(folder, overrides)
    # What is typed now: the folder may have been made by somebody else, who could name any module in it.
    OmegaConf.update(config, "trust", list(trusted_modules()) or None, force_add=True)
    check_config(config)
    finished = folder.metrics.exists() and not overrides
    if not _is_first():
        return 0 if finished else _train_along(config, folder, resume=True)
    if finished:
        print(f"{folder.path} is finished; trainer.max_epochs=N goes on with it")

    def run() -> int:
        train_in(folder, config, again=bool(overrides))
        print_next("audio-lightning", "predict", folder.path, "FILE.wav")
        return 0

    return answering(run, folder=folder.path)


def train_in(folder: "RunFolder", config: DictConfig, *, again: bool = False) -> dict[str, Any]:
    """Train in a folder, or go on there, and show what came out; a run that is finished is only shown.

    Args:
        folder: of the run.
        config: composed and checked.
        again: go on with a finished run, too.

    Returns:
        The contents of ``metrics.json``.
    """
    from audio_lightning.run_folder import SHOWN

    folder.check_resumable()
    if folder.metrics.exists() and not again:
        metrics = folder.read_metrics(SHOWN)
        print_run(metrics, folder.path)
        return metrics
    folder.path.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(handlers=[RunLog(folder.log)], format=FORMAT, level=logging.INFO)
    return _run(config, folder, resume=True)


def _run(config: DictConfig, folder: "RunFolder", *, resume: bool = False) -> dict[str, Any]:
    """Train and draw the plots. Lightning is imported here, after everything cheap has been checked."""
    from audio_lightning.training.run import train

    started = time.perf_counter()
    with folder.taken():
        if not resume:
            folder.check_unbegun()  # again, for another process may have trained there since it was looked at first
        folder.problems.unlink(missing_ok=True)  # of a run that they stopped
        metrics = train(config, folder, resume=resume)
        if config.plots:
            from audio_lightning.figures.run import draw_run

            draw_run(folder.path)
    print_run(metrics, folder.path)
    logging.getLogger(__name__).info("finished in %.1f s", time.perf_counter() - started)
    return metrics


def _help() -> str:
    width = terminal_width() or 80  # what every terminal has
    axes = "\n".join(
        wrapped(f"  {group}={'| '.join(choices(group))}", indent=4, width=width).replace("| ", "|")
        for group in groups()
        if group != "hydra"
    )
    return f"""\
usage: python train.py [KEY=VALUE ...]

Train, choose the best epoch on the validation clips, test it once, and write a
run folder.

Choose:
{axes}

Set, for example:
  data=folder data.root=DIR trainer.max_epochs=30 optimizer.lr=3e-4 seed=1
  hydra.run.dir=DIR

Also:
  resume=RUN_DIR            go on where a run stopped, in its folder
  trust=MODULE conf_dir=DIR classes and YAML files of your own
  -m model=cnn,resnet       a run for every combination
  --cfg job [--resolve]     show the configuration and all its keys
  --hydra-help              what else Hydra understands
"""
