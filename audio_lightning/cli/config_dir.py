"""``--config-dir DIR``: a folder with the user's own YAML files, like the Hydra option of this name."""

import argparse
from collections.abc import Sequence

from audio_lightning.core.errors import ConfigError


def take_config_dir(arguments: Sequence[str], script: str) -> tuple[str | None, list[str]]:
    """Split ``--config-dir DIR``, ``--config-dir=DIR`` or ``-cd DIR`` from the other arguments.

    Args:
        arguments: as typed.
        script: the command whose ``--help`` an error message refers to.

    Returns:
        The folder, or None without the option; and the other arguments.

    Raises:
        ConfigError: the option has no value.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir", "-cd")
    try:
        typed, others = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}; see `{script} --help`") from error
    return typed.config_dir, others
