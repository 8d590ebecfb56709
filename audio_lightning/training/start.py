"""Start a training: compose its configuration, check it and its run folder, train, and sum up.

Commands and the API begin here. Torch and Lightning are imported after everything cheap has been checked.
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
"""Jobs of a multirun that are composed and checked before the first one starts."""


def compose_run(overrides: Sequence[str]) -> tuple[DictConfig, RunFolder]:
    """Compose a training with its ``hydra`` node, and find the run folder that it names.

    Raises:
        ConfigError: see :func:`audio_lightning.config.compose`; also a folder that is named after several values.
    """
    config = compose(overrides, with_hydra=True)
    plain: Any = OmegaConf.to_container(config.hydra.run, resolve=False)
    for key in re.findall(r"\$\{([\w.]+)\}", str(plain["dir"])):
        if isinstance(node := OmegaConf.select(config, key), DictConfig):
            raise ConfigError(
                f"hydra.run.dir={plain['dir']}: {key} has several values; name one, "
                f"such as ${{{key}.{next(map(str, node))}}}"
            )
    return config, RunFolder(Path(config.hydra.run.dir))


def is_first_process() -> bool:
    """Whether this is the first or only process of a training; torchrun and Slurm start all of them alike."""
    return all(int(os.environ.get(name) or 0) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def check_shared_folder(config: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse to let each of several processes name the run folder by its clock.

    Raises:
        ConfigError: how to name it.
    """
    processes = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
    several = config.trainer.num_nodes > 1 or (processes > 1 and str(config.trainer.devices) != "1")
    if several and not any(line.startswith("hydra.run.dir=") for line in overrides):
        raise ConfigError(
            "a training whose processes are started by torchrun, Slurm or on several machines needs "
            "hydra.run.dir=DIR, a folder that all of them share"
        )


def check_multirun(overrides: Sequence[str]) -> None:
    """Check the jobs of ``-m`` before the first one starts.

    Raises:
        ConfigError: the first mistake in one of them.
    """
    for job in expand_multirun(overrides)[:MOST_CHECKED]:
        config = compose(job)
        check_config(config)
        # Every rank would run the whole multirun again in a folder of its own (hydra#2070).
        if str(config.trainer.devices) not in ("auto", "1") or config.trainer.num_nodes != 1:
            raise ConfigError(
                f"trainer.devices={config.trainer.devices} under -m: the jobs of a multirun share one process, which "
                "cannot start several devices for each; start one `python train.py` a combination"
            )


Then = Callable[[Path], object]
"""What to do with the folder of a run that has ended: rooms below this one write pages and cards."""


def train_in(folder: RunFolder, config: DictConfig, *, again: bool = False, then: Then | None = None) -> dict[str, Any]:
    """Train in a folder, or resume there, and print the results; a finished run is only printed, unless ``again``.

    Args:
        folder: of the run.
        config: composed and checked.
        again: go on with a finished run, too.
        then: called after a training, and not for a run that is only printed.

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
    """Train, draw the plots and print the results; without ``resume`` a folder with a run is refused.

    Args:
        config: composed and checked.
        folder: of the run.
        resume: go on where the run stopped.
        then: see :func:`train_in`.

    Returns:
        The contents of ``metrics.json``.
    """
    from audio_lightning.training.run import train

    started = time.perf_counter()
    with folder.taken():
        if not resume:
            folder.check_unbegun()  # again, for another process may have trained there since it was checked first
        folder.problems.unlink(missing_ok=True)  # of a run that they stopped
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
    """Train as one process of several; only the first one prints and writes."""
    from audio_lightning.training.run import train

    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        train(config, folder, resume=resume)


def resume_run(path: Path, overrides: Sequence[str]) -> tuple[DictConfig, RunFolder]:
    """The checked configuration of a run to resume, with what was typed beside ``resume=``, and its folder.

    Raises:
        ConfigError: see :func:`audio_lightning.training.resume.resumed_config`.
        FileError: a file of the run is damaged.
    """
    require_folder(path, A_RUN)
    folder = RunFolder(path)
    config = resumed_config(folder, overrides)
    # Modules are trusted by this command line alone: a run folder of somebody else could name any module.
    OmegaConf.update(config, "trusted_modules", list(trusted_modules()) or None, force_add=True)
    check_config(config)
    return config, folder
