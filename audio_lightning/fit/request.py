"""What the command line of a fit asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_lightning.config import check_config, compose
from audio_lightning.config.overrides import command_line, quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.fit.settings import FitSettings, read_settings, split_words
from audio_lightning.sweeps.identity import grid_hash
from audio_lightning.sweeps.settings import SweepSettings
from audio_lightning.sweeps.settings import read_settings as read_sweep_settings

RUNNING = ("executor", "workers", "trials_per_gpu", "retries", "ray", "slurm")
"""Keys of a sweep that say how trials run."""


@dataclass(frozen=True)
class FitRequest:
    """What a command line asks for; ``words`` are the words of the command."""

    folder: Path
    name: str
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
    _check_lines(lines, settings)
    name = grid_hash([*lines, *(word for word in own if not word.startswith("fit.dir="))])
    return FitRequest(
        settings.folder(name),
        name,
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
