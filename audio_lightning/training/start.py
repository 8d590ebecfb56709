"""Entry points of a training for the commands and the API: compose, check, train, print.

PyTorch and Lightning are imported only after all cheap checks.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config import check_config, compose, expand_multirun
from audio_lightning.config.trust import trusted_modules
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import A_RUN, require_folder
from audio_lightning.core.messages import logging_to
from audio_lightning.run_folder import SHOWN, RunFolder
from audio_lightning.training.console import print_run
from audio_lightning.training.resume import resumed_config

MOST_CHECKED = 64
"""Maximum number of multirun jobs that are composed and checked before the first one starts."""


def compose_run(overrides: Sequence[str]) -> tuple[DictConfig, RunFolder]:
    """Compose the configuration of a training with its ``hydra`` node, and return it with its run folder.

    Raises:
        ConfigError: see :func:`audio_lightning.config.compose`; also if the folder's name refers to a whole node.
    """
    config = compose(overrides, with_hydra=True)
    plain: Any = OmegaConf.to_container(config.hydra.run, resolve=False)
    for key in re.findall(r"\$\{([\w.]+)\}", str(plain["dir"])):
        if isinstance(node := OmegaConf.select(config, key), DictConfig):
            raise ConfigError(
                f"hydra.run.dir={plain['dir']}: {key} is a node with several values; use one of them, "
                f"such as ${{{key}.{next(map(str, node))}}}"
            )
    return config, RunFolder(Path(config.hydra.run.dir))


def is_first_process() -> bool:
    """Return whether this is the first or only process of a training, from the variables of torchrun and Slurm."""
    return all(int(os.environ.get(name) or 0) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def check_shared_folder(config: DictConfig, overrides: Sequence[str]) -> None:
    """Check that the processes of a training share one run folder, which the default name by the clock prevents.

    Raises:
        ConfigError: several processes, and no ``hydra.run.dir``.
    """
    processes = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
    several = (config.trainer.num_nodes or 1) > 1 or (processes > 1 and str(config.trainer.devices) != "1")
    if several and not any(line.startswith("hydra.run.dir=") for line in overrides):
        raise ConfigError(
            "hydra.run.dir: a training started by torchrun or Slurm, or on several machines, needs one folder for all "
            "its processes; set hydra.run.dir=DIR"
        )


def check_multirun(overrides: Sequence[str]) -> None:
    """Check the jobs of ``-m`` before the first one starts.

    Raises:
        ConfigError: a job has a mistake.
    """
    for job in expand_multirun(overrides)[:MOST_CHECKED]:
        config = compose(job)
        check_config(config)
        # Every rank would run the whole multirun again in its own folder (hydra#2070).
        if str(config.trainer.devices) not in ("auto", "1") or config.trainer.num_nodes != 1:
            raise ConfigError(
                f"trainer.devices={config.trainer.devices} with -m: the jobs of a multirun share one process, which "
                "cannot start several devices for each; run `python train.py` once per combination"
            )


Then = Callable[[Path], object]
"""Function called with the folder of a finished run; the commands use it to write pages and cards."""


def train_in(folder: RunFolder, config: DictConfig, *, again: bool = False, then: Then | None = None) -> dict[str, Any]:
    """Train in a folder, or resume there, and print the results; a finished run is only printed, unless ``again``.

    Args:
        folder: run folder.
        config: composed and checked configuration.
        again: continue a finished run, too.
        then: function called after a training, but not for a run that is only printed.

    Returns:
        The contents of ``metrics.json``.
    """
    folder.check_resumable()
    if folder.metrics.exists() and not again:
        metrics = folder.read_metrics(SHOWN)
        print_run(metrics, folder.path)
        return metrics
    folder.path.mkdir(parents=True, exist_ok=True)
    with logging_to(folder.log):
        return run_training(config, folder, resume=True, then=then)


def run_training(
    config: DictConfig, folder: RunFolder, *, resume: bool = False, then: Then | None = None
) -> dict[str, Any]:
    """Train, draw the plots and print the results; without ``resume``, the folder must not hold a run.

    Args:
        config: composed and checked configuration.
        folder: run folder.
        resume: continue from the last checkpoint.
        then: see :func:`train_in`.

    Returns:
        The contents of ``metrics.json``.
    """
    from audio_lightning.training.run import train

    started = time.perf_counter()
    with folder.taken():
        if not resume:
            folder.check_unbegun()  # again: another process may have trained there since the first check
        folder.problems.unlink(missing_ok=True)  # of an earlier run that ended with them
        metrics = train(config, folder, resume=resume)
        if config.plots:
            from audio_lightning.figures.run_figures import draw_run

            draw_run(folder.path)
        if then is not None:
            then(folder.path)
    print_run(metrics, folder.path)
    logging.getLogger(__name__).info("finished in %.1f s", time.perf_counter() - started)
    return metrics


def follow(config: DictConfig, folder: RunFolder, *, resume: bool) -> None:
    """Train as a further process of a training; only the first process prints and writes."""
    from audio_lightning.training.run import train

    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        train(config, folder, resume=resume)


def resume_run(path: Path, overrides: Sequence[str]) -> tuple[DictConfig, RunFolder]:
    """Return the checked configuration of a run to resume, with the overrides given with ``resume=``, and its folder.

    Raises:
        ConfigError: see :func:`audio_lightning.training.resume.resumed_config`.
        FileError: a file of the run is damaged.
    """
    require_folder(path, A_RUN)
    folder = RunFolder(path)
    config = resumed_config(folder, overrides)
    # Only this command line can trust modules: a run folder from elsewhere could name any module.
    OmegaConf.update(config, "trusted_modules", list(trusted_modules()) or None, force_add=True)
    check_config(config)
    return config, folder
