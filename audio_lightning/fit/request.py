"""What the command line of a fit asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_lightning.config import check_config, compose
from audio_lightning.config.overrides import command_line, holds_path, quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.fit.settings import FitSettings, read_settings, split_words
from audio_lightning.sweeps.identity import WITHOUT_EFFECT, digest, grid_hash
from audio_lightning.sweeps.settings import SweepSettings
from audio_lightning.sweeps.settings import read_settings as read_sweep_settings

SAME_FIT = ("fit.dir", "fit.budget", "fit.refit")
"""Keys of a fit with which it is the same one: it lies elsewhere, has more time, or a step more."""

BAD_RECORDINGS = "data.bad_recordings"
"""Skipped unless it is typed otherwise: there should be an answer by the end of the budget, and the page names them."""

RUNNING = ("executor", "workers", "trials_per_gpu", "retries", "ray", "slurm")
"""Keys of a sweep that say how trials run."""


@dataclass(frozen=True)
class FitRequest:
    """What a command line asks for.

    Attributes:
        folder: where the fit lies.
        name: after everything that is asked for but the time.
        asked: digest of what the trainings are told, wherever the recordings lie and however fast and visibly they run.
        settings: of the fit.
        sweep: how its trials run.
        lines: overrides of all trainings.
        words: of the command.
        config_dir: folder of ``--config-dir``.
    """

    folder: Path
    name: str
    asked: str
    settings: FitSettings
    sweep: SweepSettings
    lines: list[str]
    words: list[str]
    config_dir: str | None


def parse_fit_args(words: Sequence[str], config_dir: str | None = None) -> FitRequest:
    """Take a command line apart: keys of the fit, of how its trials run, and of all its trainings.

    Raises:
        ConfigError: what is not in Hydra's grammar, or an unknown key or value.
    """
    own, others = split_words(words)
    settings = read_settings(quote_paths(own))
    of_sweep = [word for word in others if word.partition(".")[0] == "sweep"]
    if named := [word for word in of_sweep if word.partition("=")[0].removeprefix("sweep.") not in RUNNING]:
        raise ConfigError(f"{named[0]}: a fit names its trials itself; of a sweep it takes {', '.join(RUNNING)}")
    lines = quote_paths(word for word in others if word not in of_sweep)
    if not any(line.partition("=")[0] == BAD_RECORDINGS for line in lines):
        lines.append(f"{BAD_RECORDINGS}=skip")
    _check_lines(lines, settings)
    name = grid_hash([*lines, *(word for word in own if word.partition("=")[0] not in SAME_FIT)])
    told = {line: line.partition("=")[0].lstrip("+~") for line in lines}
    deciding = [
        line
        for line, key in told.items()
        if not (holds_path(key, line.partition("=")[2]) or WITHOUT_EFFECT.fullmatch(key))
    ]
    return FitRequest(
        settings.folder(name),
        name,
        digest([sorted(deciding), settings.chosen]),
        settings,
        read_sweep_settings(quote_paths(of_sweep)),
        lines,
        command_line(words, config_dir),
        config_dir,
    )


def _check_lines(lines: Sequence[str], settings: FitSettings) -> None:
    """Refuse what no candidate can be trained with, before anything heavy is imported."""
    for key in ("data.test_fold", "data.validation_fold", "data.train_on_validation", "resume"):
        if any(line.partition("=")[0] == key for line in lines):
            raise ConfigError(f"{key}: every fold is tested in turn here; leave it out")
    errors = []
    for own in settings.chosen.values():
        try:
            check_config(compose([*lines, *own]))
            return
        except ConfigError as error:
            errors.append(error)
    raise errors[0]
