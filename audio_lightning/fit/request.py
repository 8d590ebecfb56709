"""Parser of the command line of a fit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path

from audio_lightning.config import UnknownKey, check_config, compose
from audio_lightning.config.keys import defaults_of
from audio_lightning.config.location import groups
from audio_lightning.config.overrides import command_line, holds_path, quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.fit.settings import BAD_RECORDINGS, SHORT, FitSettings, read_settings, split_words
from audio_lightning.sweeps.identity import WITHOUT_EFFECT, digest, grid_hash
from audio_lightning.sweeps.settings import SweepSettings
from audio_lightning.sweeps.settings import read_settings as read_sweep_settings

SAME_FIT = ("dir", "budget", "refit")
"""Settings that do not distinguish fits: the folder, the budget and the final refit."""

RUNNING = ("executor", "workers", "trials_per_gpu", "retries", "ray", "slurm")
"""Keys of a sweep that control how trials run."""


@dataclass(frozen=True)
class FitRequest:
    """Parsed command line of a fit.

    Attributes:
        folder: folder of the fit.
        name: default name: a hash of the settings except :data:`SAME_FIT`, and of the overrides of the trainings.
        asked: digest of the candidates and of the overrides of the trainings, without paths, devices and logging.
        settings: settings of the fit.
        sweep: settings of how trials run.
        lines: overrides of all trainings.
        words: words of the command line.
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
    """Parse a command line into keys of the fit, keys of how trials run, and overrides of all trainings.

    Raises:
        ConfigError: an argument is not in Hydra's grammar, or a key or value is unknown.
    """
    own, others = split_words(words)
    settings = read_settings(quote_paths(own))
    of_sweep = [word for word in others if word.partition(".")[0] == "sweep"]
    if named := [word for word in of_sweep if word.partition("=")[0].removeprefix("sweep.") not in RUNNING]:
        raise ConfigError(f"{named[0]}: not supported by a fit; the supported keys of sweep are {', '.join(RUNNING)}")
    lines = quote_paths(word for word in others if word not in of_sweep)
    if not any(line.partition("=")[0] == BAD_RECORDINGS for line in lines):
        # Unreadable recordings do not stop a fit; its page lists them.
        lines.append(f"{BAD_RECORDINGS}=skip")
    _check_lines(lines, settings)
    values = asdict(settings)
    name = grid_hash([*lines, *(f"fit.{key}={value}" for key, value in values.items() if key not in SAME_FIT)])
    keys = {line: line.partition("=")[0].lstrip("+~") for line in lines}
    deciding = [
        line
        for line, key in keys.items()
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
    """Check the overrides of all trainings before heavy imports."""
    for key in ("data.test_fold", "data.validation_fold", "data.train_on_validation", "resume"):
        if any(line.partition("=")[0] == key for line in lines):
            raise ConfigError(
                f"{key}: not supported, because a fit tests every fold in turn and resumes by itself; remove it"
            )
    errors = []
    for own in settings.chosen.values():
        try:
            check_config(compose([*lines, *own]))
            return
        except ConfigError as error:
            errors.append(error)
    raise _with_own_keys(errors[0])


def _with_own_keys(error: ConfigError) -> ConfigError:
    """Return an error, or for an unknown key that resembles a key of the fit most, an error that suggests it."""
    if isinstance(error, UnknownKey):
        key = error.line.partition("=")[0]
        nearest = get_close_matches(key, [*SHORT, *groups(), *defaults_of()], n=1)
        if nearest and nearest[0] in SHORT:
            return ConfigError(f"there is no key {key}; did you mean {nearest[0]}?")
    return error
